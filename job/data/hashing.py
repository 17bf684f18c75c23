"""Hashes of rows that are the same tonight and next year: the split, and duplicates, rest on them.

A row's hash is the sum over its columns of a mixed (name, value) hash, mixed again: independent of
the order of rows and columns, of the files, and of columns without a value. A number's value is
its float64, so that 1, 1.0, True and their texts are one, and a column's type has no say; any other
text's is the BLAKE2b of its UTF-8 bytes.

Source of the mixing: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014 (SplitMix64's finalizer, variant 13 of Stafford).
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.place import BLOCK_ROWS

Hashes = NDArray[np.uint64]

CACHED = 1 << 14
"""Rows that are mixed at once: what the processor's cache holds."""


def number(text: str) -> float:
    """The number that a text stands for; NaN when it is none."""
    truth = {"true": 1.0, "false": 0.0}.get(text.strip().lower())
    if truth is not None:
        return truth
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan


def no_number(_: str) -> float:
    """For columns whose types are known: a text is a text, as in "0100" and "100"."""
    return math.nan


def column(name: str, array: Any) -> Hashes:
    """(n,) uint64 hashes of a column's values with its name; 0 for missing ones.

    Those of a row's columns add up to what `mixed` makes the row's hash of.
    """
    found = np.zeros(len(array), np.uint64)
    add(found, name, array)
    return found


def add(
    total: Hashes,
    name: str,
    array: Any,
    *,
    meaning: Callable[[str], float] = number,
    out: bool = False,
) -> None:
    """Adds a column's hashes to the sums of its rows, in place and block by block.

    Args:
        total: (n,) the sums.
        name: The column.
        array: (n,) Arrow int64, float64, bool, text, times or null.
        meaning: The number that a text stands for; NaN for none.
        out: Take them out again.
    """
    salt = _text(name.encode())
    for start, values in _values(array, meaning):
        present = values != 0
        values += salt
        found = mixed(values)
        found *= present
        sums = total[start : start + len(found)]
        (np.subtract if out else np.add)(sums, found, out=sums)


def mix(total: Hashes) -> None:
    """Mixes sums into the hashes of their rows, in place."""
    for start in range(0, len(total), BLOCK_ROWS):
        total[start : start + BLOCK_ROWS] = mixed(total[start : start + BLOCK_ROWS])


def contents(items: list[bytes]) -> Hashes:
    """(n,) uint64 hashes of byte strings."""
    return np.fromiter((_text(item) for item in items), np.uint64, len(items))


def arrays(x: NDArray[Any]) -> Hashes:
    """(n,) uint64 hashes of the rows of an array, by their bytes."""
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    return np.fromiter((_text(row.data) for row in flat), np.uint64, len(x))


def held_out(hashes: Hashes, share: float) -> NDArray[np.bool_]:
    """(n,) whether a row belongs to the test side: a fixed share of all hashes there can be."""
    return hashes < np.uint64(int(share * 2**64))


def duplicates(known: Hashes, test: Hashes) -> int:
    """How many test rows also occur among the training rows, whose hashes are sorted."""
    if not len(known):
        return 0
    count = 0
    for start in range(0, len(test), BLOCK_ROWS):
        block = test[start : start + BLOCK_ROWS]
        at = np.minimum(np.searchsorted(known, block), len(known) - 1)
        count += int(np.count_nonzero(known[at] == block))
    return count


def _values(array: Any, meaning: Callable[[str], float]) -> Iterator[tuple[int, Hashes]]:
    """The first row of each block, and (n,) never 0 but for missing values; a fresh array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(array.type):
        return
    if pa.types.is_string(array.type):
        array = pc.dictionary_encode(array)
    if pa.types.is_dictionary(array.type) and isinstance(array, pa.ChunkedArray):
        one = array.num_chunks == 1
        array = array.chunk(0) if one else array.unify_dictionaries().combine_chunks()
    if pa.types.is_dictionary(array.type):
        table = np.append(_texts(array.dictionary, meaning), np.uint64(0))
        array = array.indices
        for start in range(0, len(array), BLOCK_ROWS):
            codes = pc.fill_null(array.slice(start, BLOCK_ROWS), len(table) - 1)
            yield start, table[codes.to_numpy(zero_copy_only=False)]
        return
    for start in range(0, len(array), BLOCK_ROWS):
        block = array.slice(start, BLOCK_ROWS)
        if pa.types.is_timestamp(array.type):
            block = block.cast(pa.int64())
        floats = block.cast(pa.float64(), safe=False)  # NumPy has NaN for null
        if isinstance(floats, pa.ChunkedArray):
            yield start, _numeric(floats.to_numpy())
        else:
            yield start, _numeric(floats.to_numpy(zero_copy_only=False))


def _texts(distinct: Any, meaning: Callable[[str], float]) -> Hashes:
    """(n,) hashes of texts, 0 for null: of the number that one stands for, or of its bytes."""
    found = np.zeros(len(distinct), np.uint64)
    for i, text in enumerate(distinct.to_pylist()):
        if text is not None:
            value = meaning(text)
            found[i] = _text(text.encode()) if math.isnan(value) else _numeric(np.array([value]))[0]
    return found


def _numeric(floats: NDArray[np.float64]) -> Hashes:
    """(n,) never 0 but for NaN."""
    bits = (floats + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    bits ^= np.uint64(0x9E3779B97F4A7C15)
    hashes = mixed(bits)
    hashes |= np.uint64(1)
    return np.multiply(hashes, ~np.isnan(floats), out=hashes)


def _text(data: Any) -> np.uint64:
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)


def mixed(z: Hashes) -> Hashes:
    """(n,) the same bits, mixed; a fresh array."""
    mixed = np.empty(len(z), np.uint64)
    for first in range(0, len(z), CACHED):
        part = z[first : first + CACHED]
        part = part ^ (part >> np.uint64(30))
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part ^= part >> np.uint64(27)
        part *= np.uint64(0x94D049BB133111EB)
        mixed[first : first + CACHED] = part ^ (part >> np.uint64(31))
    return mixed
