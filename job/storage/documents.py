"""JSON documents in a store: a frozen dataclass to bytes and back, checked on the way in."""

import threading
from typing import TypeVar

from job.errors import DataError

T = TypeVar("T")

_preparing = threading.Lock()


def encode(document: object) -> bytes:
    """The document as JSON, with sorted keys: the same bytes for the same values."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def decode(
    data: bytes,
    kind: type[T],
    *,
    uri: str,
    hint: str = "The file is damaged, or a newer mlp-job wrote it.",
) -> T:
    """The dataclass that JSON stands for; unknown keys are a newer writer's and are left out.

    Args:
        data: The JSON text, UTF-8.
        kind: The dataclass; every field is checked against its type.
        uri: Where the text was read; for the error message.
        hint: What to do when it is no such document.

    Raises:
        DataError: No JSON, a missing key or a value of another type.
    """
    import msgspec

    with _preparing:  # a thread that meets a dataclass half prepared crashes inside msgspec
        decoder = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise DataError(
            f"{uri}: expected a {kind.__name__.lower()} in JSON. Received: {exc}.",
            hint=hint,
        ) from exc
