"""One frozen Config: every default, every check and every help sentence, written once."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from job.errors import UsageError

Activation = Literal["relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "leaky_relu"]
Device = Literal["auto", "cpu", "gpu"]
LogFormat = Literal["auto", "json", "text"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

DEFAULT_NAME = "mnist"
BESIDE = frozenset(
    {
        *("data", "test_data"),  # they count by their contents
        *("store", "name", "run_id", "attempt", "checkpoint_every", "skip_unchanged"),
        *("default_run_id", "resume_unfinished", "cache", "refuse_leakage", "allow"),
        *("store_timeout",),
        *("min_accuracy", "min_recall", "margin", "confidence", "rejection_ok"),
        *("device", "log_format", "termination_log", "metrics_file"),
    }
)
"""Options that do not make the model; a new option makes it until it is named here."""
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
AT_LEAST_1: dict[str, Any] = {"expects": "a whole number of at least 1", "valid": lambda v: v >= 1}
RUN_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    expects: str = "",
    valid: Callable[[Any], bool] | None = None,
) -> Any:
    """A field of Config with its help sentence and its check.

    Args:
        default: The value when neither option nor environment gives one.
        help: The option's help text and the README's row.
        expects: What a valid value is, in words; for the error message.
        valid: True for a valid value; never asked about None.
    """
    metadata = {"help": help, "expects": expects, "valid": valid}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything `mlp-job train` can be told.

    Raises:
        UsageError: A value is out of its range, or two options contradict each other.
    """

    data: str = option("mnist", "Data set: mnist, a file or folder, or an s3:// URI.")
    test_data: str | None = option(None, "Test set, when --data does not contain one.")
    label: str | None = option(None, "Column of a table that is predicted.")
    columns: tuple[str, ...] = option((), "The only columns of a table to learn from.")
    exclude: tuple[str, ...] = option((), "Columns of a table to leave out.")
    number: tuple[str, ...] = option((), "Columns that are numbers, whatever they look like.")
    category: tuple[str, ...] = option((), "Columns that are categories, whatever they look like.")
    text: tuple[str, ...] = option((), "Columns of free text, whose words are learned from.")
    csv: tuple[str, ...] = option(
        (),
        "How text files are written, KEY=VALUE: decimal, thousands, delimiter, encoding, header, "
        "missing, day-first.",
    )
    allow: tuple[str, ...] = option(
        (), "Findings about the data that are accepted, such as lost-class."
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
    image_size: tuple[int, ...] = option(
        (),
        "Height and width that images are resized to.",
        expects="two whole numbers of at least 1",
        valid=lambda v: len(v) in (0, 2) and all(pixels >= 1 for pixels in v),
    )
    refuse_leakage: bool = option(
        False, "End when test rows also occur among the training rows, in place of a warning."
    )
    class_weights: bool = option(False, "Weigh each class by its rarity in the training loss.")
    cache: str | None = option(
        None, "Folder that keeps what was read from S3, so that a retry reads it no second time."
    )
    store: str = option("./models", "Where models are published: a folder or s3://bucket/prefix.")
    name: str | None = option(
        None,
        "Name of the model in the store; mnist for the embedded data, required otherwise.",
        expects="lower-case letters, digits, '.', '_' and '-', at most 128",
        valid=lambda v: bool(NAME.fullmatch(v)),
    )
    run_id: str | None = option(
        None,
        "Identity of the run, shared by its retries; a fresh one by default.",
        expects="letters, digits, '.', '_' and '-', at most 200",
        valid=lambda v: bool(RUN_ID.fullmatch(v)),
    )
    default_run_id: str | None = option(
        None,
        "Identity of the run unless --run-id names one, such as a Kubernetes Job's name and uid.",
        expects="letters, digits, '.', '_' and '-', at most 200",
        valid=lambda v: bool(RUN_ID.fullmatch(v)),
    )
    attempt: str | None = option(
        None,
        "Identity of this try at the run, such as the pod's name; a random part is added.",
        expects="letters, digits, '.', '_' and '-', at most 200",
        valid=lambda v: bool(RUN_ID.fullmatch(v)),
    )
    hidden: tuple[int, ...] = option(
        (350, 50),
        "Units of each hidden layer.",
        expects="whole numbers of at least 1, separated by spaces",
        valid=lambda v: all(units >= 1 for units in v),
    )
    activation: Activation = option("relu", "Activation of the hidden layers.")
    dropout: float = option(
        0.0,
        "Share of each hidden layer's outputs dropped in training.",
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
    epochs: int = option(
        10,
        "Passes over the training rows.",
        **AT_LEAST_1,
    )
    batch_size: int = option(
        250,
        "Rows in each gradient step.",
        **AT_LEAST_1,
    )
    learning_rate: float = option(
        0.001,
        "Adam's learning rate.",
        expects="a number above 0",
        valid=lambda v: 0 < v < float("inf"),
    )
    validation_split: float = option(
        0.2,
        "Share of the training rows held out for validation.",
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
    patience: int | None = option(
        None,
        "Stop after this many epochs without a lower validation loss, and keep the best weights.",
        **AT_LEAST_1,
    )
    seed: int = option(
        0,
        "Seed of the initial weights, the order of the rows and dropout.",
        expects="a whole number from 0 to 2**32 - 1",
        valid=lambda v: 0 <= v < 2**32,
    )
    precision: Precision = option("float32", "Keras dtype policy of the layers.")
    device: Device = option(
        "auto", "Where to train; auto takes a GPU that works, and says so when there is none."
    )
    xla: bool = option(True, "Compile training with XLA.")
    min_accuracy: float | None = option(
        None,
        "Lowest test accuracy at which the model is promoted.",
        expects="a number from 0 to 1",
        valid=lambda v: 0 <= v <= 1,
    )
    min_recall: float | None = option(
        None,
        "Lowest recall of any class at which the model is promoted.",
        expects="a number from 0 to 1",
        valid=lambda v: 0 <= v <= 1,
    )
    margin: float = option(
        0.005,
        "Accuracy that the model may lose against the champion and the best version before it.",
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
    confidence: float = option(
        0.95,
        "How sure it must be that no more than the margin is lost.",
        expects="a number from 0.5 to below 1",
        valid=lambda v: 0.5 <= v < 1,
    )
    rejection_ok: bool = option(
        False, "End with exit code 0 when the model is published and not promoted."
    )
    skip_unchanged: bool = option(
        False, "Do nothing when nothing has changed since the champion or the newest version."
    )
    resume_unfinished: bool = option(
        False,
        "Resume the newest unfinished run of the same data, options and versions; "
        "--run-id overrides it.",
    )
    metrics_file: str | None = option(
        None, "File that receives the run's figures for Prometheus's textfile collector."
    )
    checkpoint_every: float | None = option(
        None,
        "Seconds between checkpoints; by default as often as costs at most 2 % of the time.",
        expects="a number of at least 0",
        valid=lambda v: 0 <= v < float("inf"),
    )
    store_timeout: float = option(
        180.0,
        "Seconds to keep trying while storage fails, at the start, in reading data and at the end.",
        expects="a number of at least 0",
        valid=lambda v: 0 <= v < float("inf"),
    )
    log_format: LogFormat = option("auto", "Log lines: text on a terminal and json elsewhere.")
    termination_log: str | None = option(
        None, "File that receives the result or the reason as one JSON object."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            expect(field, getattr(self, field.name))
        if self.name is None and self.data != "mnist":
            raise UsageError(
                "--name: expected a name for the model, since --data is not mnist. Received: none.",
                hint="Add --name, so that this data's models compete among themselves only.",
            )
        if self.patience is not None and self.validation_split == 0:
            raise UsageError(
                "--patience: expected a validation split above 0 to watch. "
                "Received: --validation-split 0.",
                hint="Leave --patience out, or hold out some rows with --validation-split 0.2.",
            )

    def making(self) -> dict[str, object]:
        """The options that make the model; the others say where, how and whether to publish it."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in BESIDE}

    @property
    def model_name(self) -> str:
        """The model's name in the store."""
        return self.name or DEFAULT_NAME


def expect(field: "dataclasses.Field[Any]", value: Any) -> None:
    """Raises UsageError for a value out of the range of its field of Config."""
    valid = field.metadata["valid"]
    if value is not None and valid is not None and not valid(value):
        raise UsageError(
            f"{flag(field.name)}: expected {field.metadata['expects']}. Received: {value!r}.",
            hint="`mlp-job COMMAND --help` lists the options.",
        )


def flag(field: str) -> str:
    """The command-line spelling of a field of Config."""
    return "--" + field.replace("_", "-")


def envvar(field: str) -> str:
    """The environment variable of a field of Config."""
    return "MLP_JOB_" + field.upper()
