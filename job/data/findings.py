"""Findings: what the job found in a data set or had to assume, as values; `sentence` words one.

A code is what `--allow` takes. Those in HOLDING keep a new version from being promoted.
"""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

SHOWN = 80
"""Characters of a name or a value in a sentence."""

FEW = 5
"""Values that a sentence names."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a data set that a person should know.

    Attributes:
        code: Which kind; see WORDS.
        column: The column, class or file it is about; empty for the whole.
        count: Rows, values or files that it concerns.
        of: How many there were.
        values: Some of them, as text.
    """

    code: str
    column: str = ""
    count: int = 0
    of: int = 0
    values: tuple[str, ...] = ()


HOLDING = ("lost-class", "lost-rows")
"""Findings that hold back a promotion when there is a champion, unless `--allow` names them."""

QUOTING = (
    "ambiguous-dates", "ambiguous-numbers", "bad-rows", "bad-values", "comment-lines", "encoding",
    "leading-zeros", "missing-signs", "mixed-column", "no-header", "odd-rows", "odd-values",
    "second-header", "short-rows", "title-lines", "total-rows", "units", "unseen-values",
)  # fmt: skip
"""Findings whose `values` are cells or lines of the data, in place of names."""

LOST_SHARE = 0.1
"""Share of the labelled rows that may be lost to assumptions before it counts."""


def sentence(finding: Finding) -> str:
    """A finding in words, with the option that decides otherwise."""
    return WORDS[finding.code](finding)


def without_cells(finding: Finding) -> Finding:
    """The finding without what it quotes of single rows."""
    quotes = finding.values and finding.code in QUOTING
    return replace(finding, values=("…",)) if quotes else finding


def holding(findings: Iterable[Finding], allowed: Iterable[str]) -> tuple[Finding, ...]:
    """The findings that keep a version from being promoted.

    Args:
        findings: Of its data.
        allowed: Codes that the user accepts.
    """
    return tuple(each for each in findings if each.code in HOLDING and each.code not in allowed)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each code and column, with the sums of their counts."""
    found: dict[tuple[str, str], Finding] = {}
    for each in findings:
        key = (each.code, each.column)
        before = found.get(key)
        if before is None:
            found[key] = each
        else:
            values = tuple(dict.fromkeys((*before.values, *each.values)))[:FEW]
            count, of = before.count + each.count, before.of + each.of
            found[key] = replace(before, count=count, of=of, values=values)
    return tuple(found.values())


def _name(finding: Finding) -> str:
    return f"Column {finding.column[:SHOWN]!r}"


def _some(finding: Finding) -> str:
    shown = ", ".join(repr(value[:40]) for value in finding.values[:FEW])
    return shown + (", …" if len(finding.values) > FEW else "")


def _rows(count: int, noun: str = "row") -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _of(finding: Finding) -> str:
    return f"{_rows(finding.count, 'value')} of {finding.of:,}"


def _does(finding: Finding, verb: str) -> str:
    """The verb as the count wants it."""
    return f"{verb}s" if finding.count == 1 else verb


def _is(finding: Finding) -> str:
    return "is" if finding.count == 1 else "are"


def _has(finding: Finding) -> str:
    return "has" if finding.count == 1 else "have"


def _first(finding: Finding, before: str = "") -> str:
    """An example with a blank; empty where values are not shown."""
    return f"{before}{finding.values[0][:40]!r} " if finding.values else ""


def _read(finding: Finding) -> str:
    return f"; read as {finding.values[1]}" if len(finding.values) > 1 else ""


def _share(finding: Finding) -> str:
    return f"{finding.count / max(finding.of, 1):.1%}"


def _left_out(reason: str) -> Callable[[Finding], str]:
    return lambda f: f"{_name(f)} is left out: {reason.format(count=f'{f.count:,}')}."


def _leakage(why: str, remedy: str, columns: str) -> Callable[[Finding], str]:
    return lambda f: (
        f"{f.count:,} of {f.of:,} test rows also {_does(f, 'occur')} among the training rows, and "
        f"the test flatters the model: {why}; {remedy}"
        f"{f' ({columns} {_some(f)})' if f.values else ''}."
    )


WORDS: dict[str, Callable[[Finding], str]] = {
    # Files.
    "copied-file": lambda f: (
        f"{_rows(f.count, 'file')} of {f.of:,} {_has(f)} the same contents as another "
        f"({_some(f)}): their rows count twice; remove the copies, or name the files that are "
        "meant."
    ),
    "packed-twice": lambda f: (
        f"{_rows(f.count, 'file')} of {f.of:,} {_does(f, 'lie')} there twice, packed and not "
        f"({_some(f)}): their rows count twice; remove one of the two, or name the files that "
        "are meant."
    ),
    # Images.
    "damaged": lambda f: (
        f"{f.count:,} of {f.of:,} images ({_share(f)}) cannot be read and {_is(f)} left out: "
        f"{', '.join(f.values)}."
    ),
    "resized": lambda f: (
        f"{f.count:,} of {f.of:,} images {_has(f)} another size and {_is(f)} resized to "
        f"{f.values[0]} "
        "(height × width); --image-size decides."
    ),
    "only-images": lambda f: (
        f"{_name(f)} names images, and those are learned from; other columns are left out "
        f"({_some(f)}). `--exclude` with its name learns from the others."
    ),
    "folder-without-images": lambda f: (
        f"{_rows(f.count, 'folder')} without images left out ({_some(f)})."
    ),
    "nested-folders": lambda f: (
        f"Every class folder holds the same folders ({_some(f)}), and the outer ones are taken as "
        "the classes; if the inner ones are meant, put them at the top."
    ),
    # What the file looks like.
    "encoding": lambda f: (
        f"{f.column}: {_rows(f.count, 'value')} {_is(f)} not UTF-8 ({_some(f)}) and read as "
        "Windows-1252; `--csv encoding=NAME` names another encoding."
    ),
    "no-header": lambda f: (
        f"{f.column}: the first line looks like values ({_some(f)}), so the columns are named x0, "
        "x1, …; `--csv header=yes` takes it as names."
    ),
    "title-lines": lambda f: (
        f"{f.column}: {_rows(f.count, 'line')} above the header left out ({_some(f)}); "
        "`--csv header=LINE` says which line has the names."
    ),
    "second-header": lambda f: (
        f"{f.column}: the line below the header has no values ({_some(f)}) and is left out."
    ),
    "short-rows": lambda f: (
        f"{f.column}: {_rows(f.count)} at the end with another number of fields than the header "
        f"left out ({_some(f)})."
    ),
    "total-rows": lambda f: (
        f"{f.column}: {_rows(f.count)} of totals at the end left out ({_some(f)})."
    ),
    "odd-rows": lambda f: (
        f"{f.column}: {_rows(f.count)} of {f.of:,} with another number of fields than the header "
        f"left out ({_some(f)}); a field that holds the delimiter needs quotes."
    ),
    "bad-rows": lambda f: (
        f"{f.column}: {_rows(f.count)} of {f.of:,} with another number of fields than the header "
        f"answered as rows of missing values ({_some(f)})."
    ),
    "repeated-header": lambda f: (
        f"{f.column}: {_rows(f.count)} that {_does(f, 'repeat')} the header left out."
    ),
    "nul-bytes": lambda f: (
        f"{f.column}: NUL bytes at the end of {_rows(f.count, 'line')} left out."
    ),
    "comment-lines": lambda f: (
        f"{f.column}: {_rows(f.count, 'line')} that {_does(f, 'begin')} with # left out "
        f"({_some(f)})."
    ),
    "repeated-name": lambda f: (
        f"{f.column}: more than one column has the name {_some(f)}; the later ones get a number."
    ),
    "unnamed-column": lambda f: f"{f.column}: columns without a name are called {_some(f)}.",
    "several-sheets": lambda f: (
        f"{f.column}: only the first sheet with rows, {_some(f)}, of {f.of} is read."
    ),
    # Rows.
    "unlabelled-rows": lambda f: f"{_rows(f.count)} without a label {_is(f)} left out.",
    "lost-rows": lambda f: (
        f"{f.count:,} of {f.of:,} labelled rows ({_share(f)}) {_is(f)} left out because of "
        "what had to be assumed; `--allow lost-rows` accepts that."
    ),
    # Columns.
    "constant-column": _left_out("it has one value in all training rows"),
    "empty-column": _left_out("it has no values"),
    "nearly-empty": lambda f: (
        f"{_name(f)} is left out: it has no name and {f.count:,} values in {f.of:,} rows, as where "
        f"text before it holds delimiters; `--category {shlex.quote(f.column)}` keeps it."
    ),
    "huge-numbers": _left_out("its numbers are too large to tell apart as floating-point numbers"),
    "identifier": _left_out("it looks like an identifier ({count} different values)"),
    "unique-numbers": lambda f: (
        f"{_name(f)} has another whole number in each of {f.count:,} rows: if it is an identifier, "
        "--exclude leaves it out; --number says that it is a quantity."
    ),
    "free-text": lambda f: (
        f"{_name(f)} is left out: it looks like an identifier or free text ({f.count:,} different "
        "values); --text learns from its words, --category from whole values."
    ),
    "index-column": _left_out("it is the index of the rows"),
    "text-column": lambda f: (
        f"{_name(f)} is free text: its words and pairs of words are learned from."
    ),
    "unusable-type": lambda f: (
        f"{_name(f)} is left out: its type is {_some(f)}; expected numbers, text, booleans, dates "
        "or times."
    ),
    # Values.
    "mixed-column": lambda f: (
        f"{_name(f)} is taken as a category: {_of(f)} {_is(f)} not numeric "
        f"({_some(f)}); --number takes {'it' if f.count == 1 else 'those'} as missing."
    ),
    "leading-zeros": lambda f: (
        f"{_name(f)} is taken as codes: {_of(f)} {_does(f, 'begin')} with a zero ({_some(f)}); "
        "--number takes it as a quantity."
    ),
    "units": lambda f: (
        f"{_name(f)}: {_first(f)}is read as {f.values[1] if len(f.values) > 1 else 'a number'}, "
        "and so are the others like it; --category takes the column as it is written."
    ),
    "odd-values": lambda f: (
        f"{_name(f)}: {_of(f)} cannot be read like the others and {_does(f, 'count')} as missing "
        f"({_some(f)}); --category takes the column as it is written."
    ),
    "missing-signs": lambda f: (
        f"{_name(f)}: {_of(f)} {_does(f, 'count')} as missing ({_some(f)}); "
        "--category takes the column as it is written."
    ),
    "too-large": lambda f: (
        f"{_name(f)}: {_of(f)} infinite or too large for float32 {_does(f, 'count')} as missing."
    ),
    "ambiguous-numbers": lambda f: (
        f"{_name(f)}: {_first(f)}may have a decimal sign or separate thousands{_read(f)}. "
        "`--csv decimal=SIGN` decides."
    ),
    "ambiguous-dates": lambda f: (
        f"{_name(f)}: {_first(f, 'in ')}day or month may come first{_read(f)}. "
        "`--csv day-first=yes` or `day-first=no` decides."
    ),
    # Labels.
    "similar-labels": lambda f: (
        "Labels that differ only in capitals, blanks or zeros in front are classes of their own: "
        f"{_some(f)}."
    ),
    "missing-as-class": lambda f: (
        f"The label {f.column[:SHOWN]!r} is a class, in {f.count:,} of {f.of:,} rows; "
        f"`--csv missing={shlex.quote(f.column[:SHOWN])}` takes it as a missing value."
    ),
    "lost-class": lambda f: (
        f"No training row has the label {f.column[:SHOWN]!r}: its {_rows(f.count)} on the test "
        f"side {_is(f)} left out, and the model cannot answer it; more rows of it, or "
        "`--allow lost-class`."
    ),
    "class-without-test-rows": lambda f: (
        f"No test row has the label {f.column[:SHOWN]!r} ({_rows(f.count, 'training row')}): "
        "nothing is measured for it."
    ),
    "uneven-classes": lambda f: (
        f"The classes are uneven: {f.of:,} training rows of {f.values[0]} and {f.count:,} of "
        f"{f.values[1]}; --class-weights weighs rare ones up."
    ),
    # Splits.
    "leakage": _leakage(
        "both sets have them",
        "remove them from one, or learn from a column that tells them apart",
        "left out are",
    ),
    "few-different-rows": _leakage(
        "the columns that are learned from have few values, so that different things look alike",
        "more columns would tell them apart",
        "left out are",
    ),
    "leakage-of-groups": _leakage(
        "rows of different groups are alike in all that is learned from",
        "without --group equal rows stay on one side",
        "left out are",
    ),
    "leakage-by-recipe": _leakage(
        "test rows are chosen by columns that are not learned from, too",
        "--exclude with their names and a new --name choose the test rows without them",
        "these are",
    ),
    "leakage-by-spelling": _leakage(
        "the same values are written in different ways, such as $5 and 5",
        "write them in one way, or give equal rows the same value in --group",
        "left out are",
    ),
    "group-missing": lambda f: (
        f"{f.count:,} of {f.of:,} rows {_has(f)} no value in --group {f.column[:SHOWN]!r}: each "
        "belongs to no other row."
    ),
    "split-moved": lambda f: (
        f"Columns that chose the test rows are not there any more ({_some(f)}): test rows may have "
        "been trained on before."
    ),
    "held-out-share": lambda f: (
        f"{f.count:,} of {f.of:,} rows of {f.column} {_is(f)} scored: the test share that a hash "
        "holds out of training; --test-data scores all rows of a file."
    ),
    # A new version, at the gate.
    "class-never-found": lambda f: (
        f"The model never answers {f.column[:SHOWN]!r}, which {f.count:,} of {f.of:,} test rows "
        f"{_is(f)}; --class-weights or --threshold may help, `--allow class-never-found` accepts "
        "it."
    ),
    "no-better-than-baseline": lambda f: (
        f"On {_rows(f.count, 'test row')} the model is not shown to be better than always "
        f"answering {f.column[:SHOWN]!r}: {f.values[0]} {f.values[1]} against {f.values[2]}; "
        "`--allow no-better-than-baseline` accepts it."
    ),
    "shuffled-labels": lambda f: (
        f"About {f.count} % of the training labels look shuffled: the model ranks its training "
        f"rows with a ROC AUC of {f.values[0]}, the champion ranked its own with {f.values[1]}; "
        "look at the labels, or `--allow shuffled-labels`."
    ),
    "slow-decline": lambda f: (
        f"The last {f.count} versions, this one included, became worse by {f.values[0]} each: no "
        "single step shows, the trend does; `--allow slow-decline` accepts it."
    ),
    # Rows for a model that exists.
    "new-columns": lambda f: (
        f"Columns that training did not have, and that are ignored: {_some(f)}."
    ),
    "kept-missing": lambda f: (
        f"{_name(f)} of --keep is not there, and is empty in the predictions of "
        f"{_rows(f.count)}{f'; the nearest columns are {_some(f)}' if f.values else ''}."
    ),
    "unseen-values": lambda f: (
        f"{_name(f)}: {_share(f)} of the values were not seen in training ({_some(f)})."
    ),
    "newly-missing": lambda f: (
        f"{_name(f)}: {_share(f)} of the values are missing; in training none were."
    ),
    "bad-values": lambda f: (
        f"{_name(f)}: {_of(f)} cannot be read as in training and {_does(f, 'count')} as missing "
        f"({_some(f)})."
    ),
}
