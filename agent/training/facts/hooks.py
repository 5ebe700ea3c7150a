"""What a training reports while it goes on, and what it calls back; imports nothing heavy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class StepLoss:
    """The mean loss per answer token of one optimizer step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Hooks:
    """What a training calls back. Each is called in the process that trains, between two steps."""

    check: Callable[[], None] = lambda: None  # raises what ends the training; the state is saved
    on_step: Callable[[StepLoss], None] = lambda _: None
    on_model: Callable[["nn.Module"], None] = lambda _: None  # the model, before its first step
    idle: Callable[[], bool] = lambda: False  # something useful while another run trains; True: did


NO_HOOKS = Hooks()
