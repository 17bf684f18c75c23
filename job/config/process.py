"""Options about the process: its log and what it leaves for others to read."""

from dataclasses import dataclass
from typing import Literal

from job.config.option import Options, option

LogFormat = Literal["auto", "json", "text"]


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(Options):
    """How the run reports."""

    metrics_file: str | None = option(
        None, "File that receives the run's figures for Prometheus's textfile collector."
    )
    metrics_gateway: str | None = option(
        None,
        "URL of a Prometheus Pushgateway that receives the run's figures.",
        expects="a URL that starts with http:// or https://",
        valid=lambda v: v.startswith(("http://", "https://")),
    )
    log_format: LogFormat = option("auto", "Log lines: text on a terminal and json elsewhere.")
    termination_log: str | None = option(
        None, "File that receives the result or the reason as one JSON object."
    )
