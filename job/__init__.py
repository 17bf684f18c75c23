"""A GPU batch training job: train, evaluate and publish a Keras MLP classifier."""

__version__ = "0.1.0"
