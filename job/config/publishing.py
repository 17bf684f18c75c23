"""Options about publishing: the store, the model's name, the run's identity."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from job.config.option import Options, option

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
HEADER = re.compile(r"(?i)x-amz-[a-z0-9-]+=[^\s=](.*\S)?")
ReportRows = Literal["none", "keys", "all"]
RUN_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
IDENTITY: dict[str, Any] = {
    "expects": "letters, digits, '.', '_' and '-', at most 200",
    "valid": lambda v: bool(RUN_ID.fullmatch(v)),
}


@dataclass(frozen=True, kw_only=True)
class PublishingOptions(Options):
    """Where the model goes."""

    store: str = option(
        "./models",
        "Where models are published: a folder or s3://bucket/prefix.",
        everyday=True,
    )
    name: str | None = option(
        None,
        "Name of the model in the store; mnist for the embedded data, required otherwise.",
        expects="lower-case letters, digits, '.', '_' and '-', at most 128",
        valid=lambda v: bool(NAME.fullmatch(v)),
        everyday=True,
    )
    run_id: str | None = option(
        None,
        "Identity of the run, shared by its retries; a fresh one by default.",
        **IDENTITY,
    )
    default_run_id: str | None = option(
        None,
        "Identity of the run unless --run-id names one, such as a Kubernetes Job's name and uid.",
        **IDENTITY,
    )
    attempt: str | None = option(
        None,
        "Identity of this try at the run, such as the pod's name; a random part is added.",
        **IDENTITY,
    )
    skip_unchanged: bool = option(
        False,
        "Do nothing when nothing has changed since the champion or the newest version.",
        everyday=True,
    )
    resume_unfinished: bool = option(
        False,
        "Resume the newest unfinished run of the same data, options and versions; "
        "--run-id overrides it.",
    )
    store_timeout: float = option(
        180.0,
        "Seconds to keep trying while storage fails, at the start, in reading data and at the end.",
        expects="a number of at least 0",
        valid=lambda v: 0 <= v < float("inf"),
    )
    report_rows: ReportRows = option(
        "keys",
        "What the report shows of single test rows: none, keys (their columns of --keep, or their "
        "numbers) or all.",
    )
    upload_header: tuple[str, ...] = option(
        (),
        "Headers of every upload, such as x-amz-acl=bucket-owner-full-control.",
        expects="x-amz-NAME=VALUE each",
        valid=lambda v: all(HEADER.fullmatch(each) for each in v),
        metavar="HEADERS",
    )

    @property
    def may_resume(self) -> bool:
        """Whether the job may go on with another job's unfinished run."""
        return self.resume_unfinished and not self.run_id
