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

from job.data.place import BLOCK_ROWS, MEMORY, Place

Hashes = NDArray[np.uint64]

SLOTS, MOST_BITS = 16, 26
"""Places for each test row where training rows are looked for, and bits of the number of all."""


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
    change = np.subtract if out else np.add
    for start, found in _values(array, _text(name.encode()), meaning):
        sums = total[start : start + len(found)]
        change(sums, found, out=sums)


def mix(total: Hashes) -> None:
    """Mixes sums into the hashes of their rows, in place."""
    spare = np.empty(min(len(total), BLOCK_ROWS), np.uint64)
    for start in range(0, len(total), BLOCK_ROWS):
        part = total[start : start + BLOCK_ROWS]
        shifted = spare[: len(part)]
        part ^= np.right_shift(part, np.uint64(30), out=shifted)
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part ^= np.right_shift(part, np.uint64(27), out=shifted)
        part *= np.uint64(0x94D049BB133111EB)
        part ^= np.right_shift(part, np.uint64(31), out=shifted)


def mixed(z: Hashes) -> Hashes:
    """(n,) the same bits, mixed; a fresh array."""
    found = z.copy()
    mix(found)
    return found


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


def duplicates(train: Hashes, test: Hashes, place: Place = MEMORY) -> int:
    """How many test rows also occur among the training rows.

    Only the training rows that share their first bits with a test row are sorted, in their place.
    """
    if not len(train) or not len(test):
        return 0
    bits = min((SLOTS * len(test)).bit_length(), MOST_BITS)

    def slot(hashes: Hashes) -> NDArray[np.int64]:
        return (hashes >> np.uint64(64 - bits)).view(np.int64)

    taken = np.zeros(1 << bits, np.bool_)
    for start in range(0, len(test), BLOCK_ROWS):
        taken[slot(test[start : start + BLOCK_ROWS])] = True
    near = np.empty(len(train), np.bool_)
    for start in range(0, len(train), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        np.take(taken, slot(train[rows]), out=near[rows], mode="clip")
    known = place.taken(train, place.where(near, "duplicates"), "duplicates")
    if not len(known):
        return 0
    known.sort()
    count = 0
    for start in range(0, len(test), BLOCK_ROWS):
        block = test[start : start + BLOCK_ROWS]
        at = np.minimum(np.searchsorted(known, block), len(known) - 1)
        count += int(np.count_nonzero(known[at] == block))
    return count


def _values(
    array: Any, salt: np.uint64, meaning: Callable[[str], float]
) -> Iterator[tuple[int, Hashes]]:
    """The first row of each block, and (n,) hashes of its values with a column's; 0 for missing."""
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
        table = np.append(_salted(_texts(array.dictionary, meaning), salt), np.uint64(0))
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
            yield start, _salted(_numeric(floats.to_numpy()), salt)
        else:
            yield start, _salted(_numeric(floats.to_numpy(zero_copy_only=False)), salt)


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
    hashes = (floats + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    hashes ^= np.uint64(0x9E3779B97F4A7C15)
    mix(hashes)
    hashes |= np.uint64(1)
    return _without(hashes, np.isnan(floats))


def _salted(values: Hashes, salt: np.uint64) -> Hashes:
    """(n,) the same with a column's; 0 where they are."""
    missing = values == 0
    values += salt
    mix(values)
    return _without(values, missing)


def _without(hashes: Hashes, missing: NDArray[np.bool_]) -> Hashes:
    if missing.any():
        hashes[missing] = 0
    return hashes


def _text(data: Any) -> np.uint64:
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little") | 1)
