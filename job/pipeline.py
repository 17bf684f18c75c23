"""The job's story: read this and you have read the job."""

import secrets
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from job import artifacts, data, device, evaluation, events, export, gate, log, model, report
from job import shutdown, training
from job.clock import Clock
from job.config import Config
from job.errors import GateRejected
from job.manifest import DataRecord, Draft, InputRecord
from job.progress import progress
from job.registry import Published, Registry
from job.storage import open_store


def run(config: Config) -> Mapping[str, object]:
    """Trains, evaluates and publishes one model.

    Returns:
        What the run came to, for the termination message (JSON values).

    Raises:
        GateRejected: The model was published and not promoted.
        JobError: Any other end that somebody acts on; see `job.errors`.
    """
    clock = Clock()
    run_id = config.run_id or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    attempt = config.attempt or secrets.token_hex(4)
    log.bind({"run.id": run_id, "run.attempt": attempt})
    events.run_started(config)

    registry = Registry(open_store(config.store), config.model_name)
    with clock.phase("check store"):
        published = registry.check(run_id)
    with tempfile.TemporaryDirectory(prefix="mlp-job-") as scratch:
        ...
