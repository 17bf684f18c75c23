"""From a data set to a trained model: fit(...), its loops on the device, and what resumes it."""

from job.training.calibration import Validation, ValidationScores
from job.training.fitting import Fitted, fit, order, predict
from job.training.state import EpochResult

__all__ = ["EpochResult", "Fitted", "Validation", "ValidationScores", "fit", "order", "predict"]
