"""The configuration of a run: six groups of options, with flat names for flags and manifests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from job.config.data import DataOptions
from job.config.gate import GateOptions
from job.config.model import ModelOptions
from job.config.option import described
from job.config.process import ProcessOptions
from job.config.publishing import PublishingOptions
from job.config.training import TrainingOptions, parse_threshold
from job.errors import DataError, UsageError

DEFAULT_NAME = "mnist"
GROUPS: Mapping[str, type] = {
    "data": DataOptions,
    "model": ModelOptions,
    "training": TrainingOptions,
    "gate": GateOptions,
    "publishing": PublishingOptions,
    "process": ProcessOptions,
}
GROUP_OF = {name: group for group, cls in GROUPS.items() for name in described(cls)}
"""Option → its group."""
OPTIONS = {name: each for cls in GROUPS.values() for name, each in described(cls).items()}
"""Every option, by name, in the order of the help."""
MODEL_OPTIONS = tuple(
    name
    for name, each in OPTIONS.items()
    if GROUP_OF[name] in ("data", "model", "training") and each.makes_model
)
"""The options that make the model; the others say where, how and whether to publish it."""
ALWAYS_HASHED = frozenset(
    {
        *("label", "columns", "exclude", "number", "category", "group", "test_split"),
        *("validation_split", "image_size", "hidden", "activation", "dropout", "epochs"),
        *("batch_size", "learning_rate", "class_weights", "patience", "seed", "precision", "xla"),
    }
)
"""The options in the oldest fingerprints; a newer option never joins them."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every option of `mlp-job train`.

    Raises:
        UsageError: Two options contradict each other.
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    publishing: PublishingOptions = field(default_factory=PublishingOptions)
    process: ProcessOptions = field(default_factory=ProcessOptions)

    def __post_init__(self) -> None:
        if self.publishing.name is None and self.data.data != "mnist":
            raise UsageError(
                "--name: expected a name for the model, since --data is not mnist. Received: none.",
                hint="Add --name, so that this data's models compete among themselves only.",
            )
        alone = (self.model.members or 1) == 1  # several hold out rows in turn
        if alone and self.training.patience is not None and self.data.validation_split == 0:
            raise UsageError(
                "--patience: expected a validation split above 0 to watch. "
                "Received: --validation-split 0.",
                hint="Leave --patience out, or hold out some rows with --validation-split 0.2.",
            )
        rule = self.training.threshold
        if (
            alone
            and rule
            and self.data.validation_split == 0
            and parse_threshold(rule)[0] != "value"
        ):
            raise UsageError(
                f"--threshold: expected validation rows to choose it on. Received: {rule!r} and "
                "--validation-split 0.",
                hint="Name the threshold itself, such as 0.3, or hold out some rows.",
            )

    @classmethod
    def of(cls, **values: Any) -> "Config":
        """From flat names, as on the command line: `Config.of(epochs=3, hidden=(64,))`."""
        if unknown := set(values) - set(OPTIONS):
            raise TypeError(f"expected options of Config. Received: {', '.join(sorted(unknown))}.")
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        groups: dict[str, Any] = {
            name: group(**{key: values[key] for key in described(group) if key in values})
            for name, group in GROUPS.items()
        }
        return cls(**groups)

    @classmethod
    def recorded(cls, config: Mapping[str, Any]) -> "Config":
        """Reads the configuration in a manifest, of whatever version of this program.

        An option that the manifest lacks has the value with which that version behaved; one
        that only a later version has is ignored.

        Raises:
            DataError: A value that this version does not have.
        """
        import msgspec

        values = {name: config.get(name, each.recorded) for name, each in OPTIONS.items()}
        for name, each in OPTIONS.items():
            if values[name] is None and not each.takes_none:
                values[name] = each.recorded
        try:
            groups: dict[str, Any] = {
                name: msgspec.convert({key: values[key] for key in described(group)}, group)
                for name, group in GROUPS.items()
            }
            return cls(**groups)
        except (msgspec.ValidationError, UsageError) as exc:
            raise DataError(
                f"Expected a recorded configuration that this version can read. Received: {exc}",
                hint="Use the version of mlp-job that published it, or a newer one.",
            ) from exc

    def flat(self) -> dict[str, Any]:
        """Option → value, as a manifest records it."""
        return {name: getattr(getattr(self, group), name) for name, group in GROUP_OF.items()}

    def replaced(self, **values: Any) -> "Config":
        """A copy with other values, by their flat names."""
        return Config.of(**self.flat() | values)

    def model_options(self) -> dict[str, Any]:
        """The options that make the model, for a fingerprint that outlives upgrades.

        An option that is newer than fingerprints is left out at the value with which versions
        behaved that did not have it: what they made and what this makes is then the same.
        """
        flat = self.flat()
        return {
            name: flat[name]
            for name in MODEL_OPTIONS
            if name in ALWAYS_HASHED or flat[name] != OPTIONS[name].recorded
        }

    @property
    def model_name(self) -> str:
        """The model's name in the store."""
        return self.publishing.name or DEFAULT_NAME
