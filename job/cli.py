"""The command line: the only reader of the environment, the only error → exit code mapping."""

import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from job import __version__
from job.commands.versions import COMMANDS, AsJson, Ref, registry_of
from job.config import GROUP_OF, MODEL_OPTIONS, Config, DataOptions, envvar, flag
from job.config.options import config_option, from_config
from job.errors import JobError, UsageError
from job.process import log, shutdown, stdio, termination

DOCTOR_OPTIONS = (
    *("data", "test_data", "requester_pays", "unsigned_data", "refuse_leakage"),
    *("store", "name", "upload_header", "device"),
)

app = typer.Typer(
    help="Train, evaluate and publish a Keras MLP classifier.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOG_SECONDS = 1
"""How long the termination message waits until the log has the reason."""


def main() -> None:
    """Runs one command and ends the process with its exit code."""
    stdio.reopen()
    arguments = sys.argv[1:]
    note = _early(arguments, "termination_log")
    shutdown.install(lambda error: _write(note, termination.failed(error.exit_code, error)))
    stream = sys.stdout if arguments[:1] == ["train"] else sys.stderr
    form = _early(arguments, "log_format")
    if form not in ("json", "text"):
        form = "text" if stream.isatty() else "json"
    log.setup("json" if form == "json" else "text", stream)
    code = _run(arguments, note)
    with contextlib.suppress(OSError if stream is sys.stdout else BrokenPipeError):
        sys.stdout.flush()
    # Every file is closed and every child is gone by now. An orderly exit would wait for threads
    # that nobody needs and take TensorFlow apart, close to a second.
    os._exit(code)


def _run(arguments: list[str], note: str | None) -> int:
    """Runs one command; maps its end to an exit code and a termination message."""
    code, error, bug = 1, None, None
    try:
        with shutdown.heard():
            outcome = app(arguments, prog_name="mlp-job", standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
        if isinstance(outcome, Mapping):
            _write(note, termination.succeeded(outcome))
    except (JobError, shutdown.Stop, typer.TyperException) as exc:
        error = shutdown.reason() or _as_job_error(exc, arguments)
    except Exception as exc:  # the program's edge: a signal in a library's guise, or else a bug
        error = shutdown.reason()
        bug = None if error else exc
    if error:
        code = error.exit_code
        error.details = {**shutdown.noted(), **error.details}
    if code:
        # The log comes first, but where nobody reads it the message does not wait for it.
        logged = threading.Thread(target=_log_failure, args=(error, bug), daemon=True)
        logged.start()
        logged.join(LOG_SECONDS)
        _write(note, termination.failed(code, error))
        logged.join()
    return code


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise UsageError(
            "Expected a command. Received: none.", hint="`mlp-job train` is the main job."
        )


@app.command()
@from_config()
def train(**values: Any) -> Mapping[str, object]:
    """Train, evaluate and publish a model: the main job."""
    from job import pipeline

    return pipeline.run(Config.of(**values))


def _use(data: str, test_data: str | None, requester_pays: bool, unsigned_data: bool) -> None:
    """Sets how a command reads its data from S3."""
    from job.storage import Access, use

    options = DataOptions(
        data=data, test_data=test_data, requester_pays=requester_pays, unsigned_data=unsigned_data
    )
    use(Access.of(options))


@app.command()
def evaluate(
    ref: Ref,
    data: str | None = config_option("data", default=None),
    test_data: str | None = config_option("test_data"),
    requester_pays: bool = config_option("requester_pays"),
    unsigned_data: bool = config_option("unsigned_data"),
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    as_json: AsJson = False,
) -> None:
    """Score a published version, by default on the data that its manifest names."""
    from job.commands import show
    from job.inference import scoring

    _use(data or "", test_data, requester_pays, unsigned_data)
    registry = registry_of(store, name)
    manifest, metrics = scoring.evaluate(registry, ref, data=data, test_data=test_data)
    show.evaluation(manifest, metrics, as_json=as_json)


@app.command()
def predict(
    ref: Ref,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="New rows: IDX, .npy, .npz, .csv, .parquet, .jsonl or images; or s3://.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help=".csv, .parquet or .jsonl.")
    ],
    requester_pays: bool = config_option("requester_pays"),
    unsigned_data: bool = config_option("unsigned_data"),
    store: str = config_option("store"),
    name: str | None = config_option("name"),
) -> None:
    """Write the class and the probabilities of new rows, streamed."""
    from job.inference import scoring

    _use(rows, None, requester_pays, unsigned_data)
    count = scoring.predict(registry_of(store, name), ref, rows, output)
    log.event("predicted", f"{count:,} rows written to {output}", rows=count, output=output)


@app.command("data")
@from_config(name for name, group in GROUP_OF.items() if group == "data" and name != "data")
def inspect_data(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As --data of train.")],
    as_json: AsJson = False,
    **values: Any,
) -> None:
    """Print what the job sees: rows, columns, classes, missing values, problems."""
    from job.commands import inspection, show_data
    from job.process.scratch import scratch
    from job.storage import Access, use

    reading = DataOptions(data=data, **values)
    use(Access.of(reading))
    with scratch() as folder:
        seen = inspection.inspect(
            data,
            test_uri=reading.test_data,
            reading=reading,
            scratch=Path(reading.cache) if reading.cache else folder,
        )
    show_data.inspection(seen, as_json=as_json)
    if seen.error:
        raise seen.error


@app.command()
@from_config((*DOCTOR_OPTIONS, *MODEL_OPTIONS))
def doctor(
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Prove that a killed and resumed run ends with the same bits here."
        ),
    ] = False,
    as_json: AsJson = False,
    **values: Any,
) -> None:
    """Prove GPU, driver, disk, data and store before GPU time is spent."""
    from job.commands import doctor as checks
    from job.commands import show

    config = Config.of(**values)
    done = checks.run(config, resume=resume)
    show.diagnosis(done, as_json=as_json)
    for check in done:
        if check.error:
            raise check.error


for command in COMMANDS:
    app.command()(command)


def _early(arguments: list[str], field: str) -> str | None:
    """The value of an option that is needed even when the rest of the command line is wrong."""
    value = os.environ.get(envvar(field)) or None
    for word, following in itertools.pairwise([*arguments, ""]):
        if word == flag(field):
            value = following or value
        elif word.startswith(flag(field) + "="):
            value = word.partition("=")[2] or value
    return value


def _as_job_error(
    exc: JobError | shutdown.Stop | typer.TyperException, arguments: list[str]
) -> JobError:
    if isinstance(exc, shutdown.Stop):
        return exc.error
    if isinstance(exc, JobError):
        return exc
    message = exc.format_message().replace("Value error, ", "").rstrip(".") + "."
    option = getattr(getattr(exc, "param", None), "name", None)
    received = _early(arguments, option) if option else None
    if received and "Received: " not in message:
        message += f" Received: {received!r}."
    return UsageError(message, hint="`mlp-job COMMAND --help` lists the options.")


def _log_failure(error: JobError | None, bug: Exception | None) -> None:
    if error is None:
        text = "This is a bug in mlp-job."
        log.logger.error(text, exc_info=bug, extra={"event.name": "run.ended"})
        return
    log.event(
        "run.ended",
        error.message,
        level=log.ERROR,
        error=type(error).__name__,
        exit_code=error.exit_code,
        hint=error.hint,
        details=error.details,
    )


def _write(note: str | None, body: bytes) -> None:
    """Writes the termination message; a failure is told and does not change the end."""
    if note is None:
        return
    try:
        Path(note).write_bytes(body)
    except OSError as exc:
        log.event(
            "termination_log.failed",
            f"--termination-log: expected a file that can be written. Received: {exc}.",
            level=log.WARNING,
        )
