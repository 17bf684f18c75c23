"""What a user says about how data is to be read: the data group of the configuration."""

from job.config import DataOptions as Reading
from job.config.csv import Csv

__all__ = ["Csv", "Reading"]
