"""Options about the model: its layers."""

from dataclasses import dataclass
from typing import Literal

from job.config.option import Options, option

Activation = Literal["relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "leaky_relu"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The network."""

    hidden: tuple[int, ...] = option(
        (350, 50),
        "Units of each hidden layer.",
        expects="whole numbers of at least 1, separated by spaces",
        valid=lambda v: all(units >= 1 for units in v),
        metavar="UNITS",
    )
    activation: Activation = option("relu", "Activation of the hidden layers.")
    dropout: float = option(
        0.0,
        "Share of each hidden layer's outputs dropped in training.",
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
