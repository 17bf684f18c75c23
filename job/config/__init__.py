"""The configuration: every option, its default, its check and its help sentence."""

from job.config.config import DEFAULT_NAME, GROUP_OF, MODEL_OPTIONS, OPTIONS, Config
from job.config.data import DataOptions
from job.config.gate import GateOptions
from job.config.model import ModelOptions
from job.config.option import Option, envvar, flag
from job.config.process import ProcessOptions
from job.config.publishing import PublishingOptions
from job.config.training import Device, TrainingOptions

__all__ = [
    "DEFAULT_NAME",
    "GROUP_OF",
    "MODEL_OPTIONS",
    "OPTIONS",
    "Config",
    "DataOptions",
    "Device",
    "GateOptions",
    "ModelOptions",
    "Option",
    "ProcessOptions",
    "PublishingOptions",
    "TrainingOptions",
    "envvar",
    "flag",
]
