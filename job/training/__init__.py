"""From a data set to a trained model: fit(...), its loops on the device, and what resumes it."""

from job.training.fitting import Fitted, fit, order, predict

__all__ = ["Fitted", "fit", "order", "predict"]
