"""The command line: the only reader of the environment, the only error → exit code mapping."""

import contextlib
import errno
import itertools
import os
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import typer

from job.commands.app import load
from job.config import envvar, flag
from job.errors import DeviceOutOfMemory, JobError, Preempted, UsageError
from job.process import environment, log, shutdown, stdio, termination

LOG_SECONDS = 1
"""How long the termination message waits until the log has the reason."""

app = load()


def main() -> None:
    """Runs one command and ends the process with its exit code."""
    stdio.reopen()
    arguments = sys.argv[1:]
    note = _early(arguments, "termination_log")
    shutdown.install(partial(_last_words, note))
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
            if not {"--help", "--version"} & set(arguments):
                environment.expect_memory()
                environment.check(os.environ, _variables())
            outcome = app(arguments, prog_name="mlp-job", standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
        if isinstance(outcome, Mapping):
            _write(note, termination.succeeded(outcome))
    except (JobError, shutdown.Stop, typer.TyperException) as exc:
        error = shutdown.reason() or _as_job_error(exc, arguments)
    except Exception as exc:  # the program's edge: a signal in a library's guise, or else a bug
        error = shutdown.reason() or out_of_memory(exc)
        bug = None if error else exc
    if error:
        code = error.exit_code
        error.details = {**shutdown.noted(), **error.details}
    if code:
        # The log comes first, but where nobody reads it the message does not wait for it.
        logged = threading.Thread(target=_log_failure, args=(error, bug), daemon=True)
        try:
            logged.start()
        except RuntimeError:  # without memory there is no thread
            _write(note, termination.failed(code, error))
            _log_failure(error, bug)
            return code
        logged.join(LOG_SECONDS)
        _write(note, termination.failed(code, error))
        logged.join()
    return code


def _last_words(note: str | None, error: JobError) -> None:
    """What a thread says that ends the process; after a signal only the message, which is sure."""
    _write(note, termination.failed(error.exit_code, error))
    if not isinstance(error, Preempted):
        _log_failure(error, None)


def _variables() -> set[str]:
    """The environment variables of all options of all commands."""
    commands = typer.main.get_group(app).commands.values()
    return {
        parameter.envvar
        for command in commands
        for parameter in command.params
        if isinstance(parameter.envvar, str)
    }


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
    message = exc.format_message()
    if not message.endswith((".", "?")):
        message += "."
    option = getattr(getattr(exc, "param", None), "name", None)
    received = _early(arguments, option) if option else None
    if received and "Received: " not in message:
        message += f" Received: {received!r}."
    command = next((word for word in arguments if not word.startswith("-")), "")
    known = command in typer.main.get_group(app).commands
    hint = (
        f"`mlp-job {command} --help` lists the options."
        if known
        else "`mlp-job --help` lists the commands."
    )
    if message.startswith("Got unexpected extra argument"):
        hint = f"A list is one quoted word, as in --keep 'id day'; {hint}"
    return UsageError(message, hint=hint)


def out_of_memory(exc: BaseException | None) -> DeviceOutOfMemory | None:
    """What a library raises, or raises anew as its own, when memory is spent; else None."""
    while exc is not None:
        spent = isinstance(exc, MemoryError) or getattr(exc, "errno", 0) == errno.ENOMEM
        if spent or str(exc) == "can't start new thread":
            return DeviceOutOfMemory(
                "Memory: expected enough for this command. "
                f"Received: {type(exc).__name__}: {str(exc)[:200] or 'there is no more'}.",
                hint="Give the container or `ulimit` more memory, or take less at once: "
                "--feed stream, a smaller --batch-size, a smaller model.",
            )
        exc = exc.__cause__ or exc.__context__
    return None


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
    """Writes the termination message; a failure is logged and does not change the end."""
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
