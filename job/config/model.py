"""Options about the model: its layers."""

from dataclasses import dataclass
from typing import Literal

from job.config.option import AT_LEAST_1, Options, option

Model = Literal["auto", "mlp", "tabular", "cnn", "mlp cnn"]
Activation = Literal["relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "leaky_relu"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The network."""

    model: Model = option(
        "auto",
        "The network: mlp, tabular (of a table), cnn (of images), 'mlp cnn' (both, averaged), or "
        "auto, which is tabular for tables, else mlp.",
        recorded="mlp",
    )
    members: int | None = option(
        None,
        "Networks trained together and averaged, of each family; 1 for mlp and cnn, 5 for tabular, "
        "fewer with many rows.",
        **AT_LEAST_1,
        recorded=1,
    )
    hidden: tuple[int, ...] | None = option(
        None,
        "Units of each hidden layer; 350 50 for mlp, 192 192 192 for tabular, fewer for many rows. "
        "Of cnn, channels of each stage, chosen by the image size.",
        recorded=(350, 50),
        expects="whole numbers of at least 1, separated by spaces",
        valid=lambda v: all(units >= 1 for units in v),
        metavar="UNITS",
    )
    activation: Activation = option("relu", "Activation of the hidden layers.")
    dropout: float | None = option(
        None,
        "Share of each hidden layer's outputs dropped in training; 0 for mlp, 0.1 for tabular. Of "
        "cnn, of the last stage's; 0.",
        recorded=0.0,
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
