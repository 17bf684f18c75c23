"""Logging, set up once: JSON lines for machines, plain text and a progress bar for a person."""

import functools
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TextIO, cast

from job import __version__
from job.process.stdio import Lossy

if TYPE_CHECKING:
    from rich.console import Console

Form = Literal["json", "text"]

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR

logger = logging.getLogger("mlp_job")


def setup(form: Form, stream: TextIO) -> None:
    """Sends our events to `stream` in one of two forms, and library chatter to standard error.

    Args:
        form: json writes one object a line; text writes the messages alone.
        stream: Standard output for `train`, standard error for the other commands.
    """
    stream = cast(TextIO, Lossy(stream))
    logger.handlers = [_json_handler(stream) if form == "json" else _TextHandler(stream)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("tensorflow").addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    """False for TensorFlow's warning that the same function was traced for several networks."""
    return "tf.function retracing" not in record.getMessage()


def bind(fields: Mapping[str, object]) -> None:
    """Adds fields, such as run.id, to every following JSON line."""
    for handler in logger.handlers:
        static = getattr(handler.formatter, "static_fields", None)
        if static is not None:
            static.update(fields)


def event(name: str, message: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Logs one event.

    Args:
        name: The event's name: a noun and a past participle, as in `epoch.ended`.
        message: The event as a person reads it, one line.
        level: A level of `logging`.
        fields: The event's own values: finite numbers, strings, lists and objects of them.
    """
    logger.log(level, message, extra={"event.name": name, **fields})


def terminal() -> "Console | None":
    """The terminal on which a person reads our text, or None when nobody watches."""
    for handler in logger.handlers:
        if isinstance(handler, _TextHandler) and handler.console.is_terminal:
            return handler.console
    return None


def one_line(text: str) -> str:
    """The text with control characters escaped, so that no input can forge a line or a colour."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: ascii(m[0])[1:-1], text)


def _json_handler(stream: TextIO) -> logging.Handler:
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter(
            ["timestamp", "levelname", "message"],
            rename_fields={"levelname": "severity_text"},
            static_fields={"service.version": __version__},
            timestamp=True,
            json_serializer=functools.partial(json.dumps, allow_nan=False),
        )
    )
    return handler


class _TextHandler(logging.Handler):
    """Messages for a person; prints above a live progress bar on the same console."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__()
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record; warnings and errors stand out."""
        style = {"WARNING": "yellow", "ERROR": "bold red"}.get(record.levelname)
        self.console.print(one_line(record.getMessage()), style=style, soft_wrap=True)
        hint = getattr(record, "hint", "")
        if hint:
            self.console.print(f"→ {one_line(hint)}", soft_wrap=True)
        if record.exc_info:
            self.console.print(logging.Formatter().formatException(record.exc_info), soft_wrap=True)
