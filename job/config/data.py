"""Options about the data set: where it is, which columns, how it is split."""

from dataclasses import dataclass, replace
from typing import Any, Literal
from unicodedata import normalize

from job.config.csv import Csv
from job.config.option import Options, option

FeedName = Literal["auto", "memory", "stream"]


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """What to read, and how."""

    data: str = option(
        "mnist",
        "Data set: mnist, a file or folder, or an s3:// URI.",
        makes_model=False,  # its contents count
        everyday=True,
    )
    test_data: str | None = option(
        None, "Test set, when --data does not contain one.", makes_model=False, everyday=True
    )
    label: str | None = option(None, "Column of a table that is predicted.", everyday=True)
    columns: tuple[str, ...] = option((), "The only columns of a table to learn from.")
    exclude: tuple[str, ...] = option((), "Columns of a table to leave out.", everyday=True)
    keep: tuple[str, ...] = option(
        (), "Columns of a table that predictions carry, such as a key; they are not learned from."
    )
    number: tuple[str, ...] = option((), "Columns that are numbers, whatever they look like.")
    category: tuple[str, ...] = option((), "Columns that are categories, whatever they look like.")
    text: tuple[str, ...] | None = option(
        None,
        "Columns of free text, whose words are learned from; by default those that lower the "
        "validation loss.",
        recorded=(),
    )
    csv: tuple[str, ...] = option(
        (),
        "How text files are written, KEY=VALUE: decimal, thousands, delimiter, encoding, header, "
        "missing, day-first.",
        expects="KEY=VALUE",
        valid=lambda v: bool(Csv.of(v)),
        metavar="KEY=VALUE",
    )
    group: str | None = option(
        None, "Column whose equal values stay on one side of the split; it is not learned from."
    )
    test_split: float = option(
        0.2,
        "Share of the rows held out for testing, by a hash of each row, when there is no test set.",
        expects="a number above 0 and below 1",
        valid=lambda v: 0 < v < 1,
    )
    validation_split: float | None = option(
        None,
        "Share of the training rows held out for validation; 0.1 for cnn, else 0.2 for one member, "
        "while several hold out folds in turn.",
        recorded=0.2,
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
    image_size: tuple[int, ...] = option(
        (),
        "Height and width that images are resized to.",
        expects="two whole numbers of at least 1",
        valid=lambda v: len(v) in (0, 2) and all(pixels >= 1 for pixels in v),
        metavar="PIXELS",
    )
    refuse_leakage: bool = option(
        False,
        "End when test rows also occur among the training rows, in place of a warning.",
        makes_model=False,
    )
    allow: tuple[str, ...] = option(
        (),
        "Findings about the data to accept, by the code in their warning, such as lost-rows.",
        makes_model=False,
        metavar="FINDINGS",
    )
    cache: str | None = option(
        None,
        "Folder that keeps what was read from S3, and the rows of streams, so that a retry, or "
        "another night with the same file, does not read it again; it takes at most half of its "
        "disk.",
        makes_model=False,
    )
    feed: FeedName = option(
        "auto",
        "Keep the rows in memory and on the device, or stream them; auto takes the memory "
        "if they fit.",
        recorded="memory",
        makes_model=False,  # another order of the rows, and no other model for it
    )
    requester_pays: bool = option(
        False,
        "Accept the charges of reading from a bucket whose requester pays.",
        makes_model=False,
    )
    unsigned_data: bool = option(
        False,
        "Read --data and --test-data from S3 without credentials, as public data.",
        makes_model=False,
    )

    @property
    def dialect(self) -> Csv:
        """What `csv` says."""
        return Csv.of(self.csv)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of free text that are named."""
        return self.text or ()

    def trimmed(self) -> "DataOptions":
        """The same with names as columns have them: without blanks around them, and in NFC."""

        def bare(name: str) -> str:
            return normalize("NFC", name.strip() or name)

        lists = ("columns", "exclude", "keep", "number", "category", "text")
        names: dict[str, Any] = {key: tuple(map(bare, getattr(self, key) or ())) for key in lists}
        for key in ("label", "group"):
            value = getattr(self, key)
            names[key] = value and bare(value)
        return replace(self, **names)

    def named(self) -> frozenset[str]:
        """The columns that options name."""
        lists = (self.columns, self.exclude, self.keep, self.number, self.category, self.texts)
        names = {name for each in lists for name in each} | {self.label, self.group}
        return frozenset(name for name in names if name)
