"""The configuration: every option, its default, its check and its help sentence."""

from job.config.config import BESIDE, DEFAULT_NAME, Config, Device, envvar, expect, flag

__all__ = ["BESIDE", "DEFAULT_NAME", "Config", "Device", "envvar", "expect", "flag"]
