"""Words of free text, split as `keras.layers.TextVectorization` splits them by default.

Letters are made small in ASCII only, punctuation of ASCII is dropped, and what blanks separate is a
word. A token is a word, or a pair of words that follow each other.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.data.table import kinds

PUNCTUATION = r"""[!"#$%&()\*\+,\-\./:;<=>?@\[\\\]^_`{|}~']"""
"""Source: DEFAULT_STRIP_REGEX in keras/src/layers/preprocessing/text_vectorization.py."""

TOKENS = 10_000
"""Tokens in a vocabulary, the most frequent ones."""

LONGEST = 256
"""Words of a text that are read; the rest is cut off."""

RARE = 2
"""Rows that a token must occur in."""

UNKNOWN = 1
"""The code of what is not in the vocabulary; 0 is padding."""


def split(texts: Any) -> tuple[NDArray[np.int64], Any]:
    """(n + 1,) offsets and the words of (n,) texts, one after the other."""
    plain = pc.replace_substring_regex(pc.ascii_lower(texts), PUNCTUATION, "")
    lists = pc.ascii_split_whitespace(pc.fill_null(plain, ""))
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    found = lists.flatten()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    full = pc.not_equal(found, "")  # of blanks at an end
    if not pc.all(full).as_py():
        owner = np.repeat(np.arange(len(lengths)), lengths)
        owner = owner[full.to_numpy(zero_copy_only=False)]
        lengths = np.bincount(owner, minlength=len(lengths))
        found = found.filter(full)
    return np.concatenate([[0], np.cumsum(lengths)]), found


def average(coded: Any) -> float:
    """Words in a text, on average over distinct texts."""
    if not len(coded.dictionary):
        return 0.0
    offsets, _ = split(coded.dictionary)
    return float(np.diff(offsets).mean())


def vocabulary(coded: Any) -> tuple[tuple[str, ...], int]:
    """The tokens that occur in most rows, the most frequent first, and the tokens of a row to read.

    Args:
        coded: (rows,) dictionary of text.
    """
    texts = kinds.coded(coded).cast(pa.string())
    tokens, rows = _tokens(texts)
    counted = pc.value_counts(_once(tokens, rows))
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    ranked = sorted(zip(counts, names, strict=True), key=lambda each: (-each[0], each[1]))
    kept = [name for count, name in ranked if count >= RARE][:TOKENS] or [ranked[0][1]] * bool(
        ranked
    )
    offsets, _ = split(texts)
    words = int(np.quantile(np.diff(offsets), 0.99)) if len(offsets) > 1 else 1
    words = max(1, min(words, LONGEST))
    return tuple(kept), 2 * words - 1


def codes(coded: Any, tokens: tuple[str, ...], length: int) -> NDArray[np.int32]:
    """(rows, length) int32: 0 padding, 1 unknown, then the vocabulary.

    First the words of a row, then its pairs of words, as TextVectorization(ngrams=2) orders them.

    Args:
        coded: (rows,) dictionary of text.
        tokens: The vocabulary.
        length: Tokens of a row.
    """
    coded = kinds.coded(coded)
    offsets, found = split(coded.dictionary)
    counts = np.diff(offsets)
    table = np.zeros((len(coded.dictionary) + 1, length), np.int32)
    lookup = pa.array(tokens, pa.string())

    def numbers(texts: Any) -> NDArray[np.int32]:
        at = pc.fill_null(pc.index_in(texts, lookup), -1).to_numpy(zero_copy_only=False)
        result: NDArray[np.int32] = (at + 1 + UNKNOWN).astype(np.int32)
        return result

    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(found)) - np.repeat(offsets[:-1], counts)
    kept = place < length
    table[owner[kept], place[kept]] = numbers(found)[kept]
    first, second, pair_owner = _pairs(found, owner)
    place = np.arange(len(pair_owner)) - np.repeat(
        np.cumsum(np.maximum(counts - 1, 0)) - np.maximum(counts - 1, 0), np.maximum(counts - 1, 0)
    )
    place = place + counts[pair_owner]
    kept = place < length
    table[pair_owner[kept], place[kept]] = numbers(pc.binary_join_element_wise(first, second, " "))[
        kept
    ]
    at = pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy(zero_copy_only=False)
    result: NDArray[np.int32] = table[at]
    return result


def _tokens(texts: Any) -> tuple[Any, NDArray[np.int64]]:
    """All words and pairs of words, and the row of each."""
    offsets, found = split(texts)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    first, second, pair_owner = _pairs(found, owner)
    pairs = pc.binary_join_element_wise(first, second, " ")
    return pa.concat_arrays([found, pairs]), np.concatenate([owner, pair_owner])


def _pairs(found: Any, owner: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.int64]]:
    at = np.flatnonzero(owner[1:] == owner[:-1])
    return found.take(pa.array(at)), found.take(pa.array(at + 1)), owner[at]


def _once(tokens: Any, rows: NDArray[np.int64]) -> Any:
    """The tokens, each once for a row."""
    coded = tokens.dictionary_encode()
    at = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    _, first = np.unique(rows * max(len(coded.dictionary), 1) + at, return_index=True)
    return tokens.take(pa.array(np.sort(first)))
