"""What a user says about how data is to be read: options that are not in the data itself."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options of `Config` of the same names that bear on reading; see there.

    Attributes:
        label: The column that is predicted.
        columns: The only columns to use; all others when empty.
        exclude: Columns to leave out.
        number: Columns that are numbers, whatever they look like.
        category: Columns that are categories, whatever they look like.
        group: The column whose values stay on one side of the split.
        test_split: Share of the rows held out for testing when there is no test set.
        image_size: Height and width that images are resized to; as they are when empty.
        refuse_leakage: End when test rows also occur among the training rows.
        allow: Codes of findings that are accepted; see `job.data.findings`.
    """

    label: str | None = None
    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    group: str | None = None
    test_split: float = 0.2
    image_size: tuple[int, ...] = ()
    refuse_leakage: bool = False
    allow: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: object) -> "Reading":
        """From anything that has attributes of these names, such as a Config."""
        return cls(
            **{
                field.name: getattr(options, field.name)
                for field in fields(cls)
                if hasattr(options, field.name)
            }
        )

    @classmethod
    def recorded(cls, config: Any) -> "Reading":
        """From the configuration that a manifest holds; what it lacks has its default."""
        known: dict[str, Any] = {
            f.name: config[f.name] for f in fields(cls) if config.get(f.name) is not None
        }
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in known.items()
        }
        return cls(**given)
