"""Which parts of a network learn, at what rate, and how their batch norms behave: what fine-tuning decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from residuum.nets.norms import Switchable
from residuum.plan import NetworkPlan
from residuum.training.recipe import FineTune

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, Switchable)
"""The norms that keep running statistics."""
ENOUGH_PICTURES = 1_000
ENOUGH_IN_A_BATCH = 16
"""From so many training pictures, and so many in a batch, on, batches have statistics of their own."""


@dataclass(frozen=True)
class Learning:
    """Parts of the network (names of the plan's stem, stages and head) that learn, and their share of the rate.

    Every other part is frozen: no gradients, and its norms and dropout as in use. Where `batch_norm` is "frozen" the
    norms of the parts that learn keep their running statistics too, and learn scale and shift alone.
    """

    rates: Mapping[str, float]
    batch_norm: Literal["frozen", "re-estimated"]

    def freeze(self, network: nn.Module) -> None:
        """Only the parts that learn get gradients."""
        for name, part in network.named_children():
            part.requires_grad_(name in self.rates)

    def settle_modes(self, network: nn.Module) -> None:
        """After network.train(): what is frozen goes back to how it is in use."""
        for name, part in network.named_children():
            if name not in self.rates:
                part.eval()
        if self.batch_norm == "frozen":
            for module in network.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()


def choose_learning(plan: NetworkPlan, settings: FineTune, pictures: int, batch_size: int) -> Learning:
    """The head at the full rate, then stage by stage from the top down, each at `decay` of the one above.

    With more stages asked for than there are, the stem learns too, slower still.
    """
    below = [part.name for part in reversed((plan.stem, *plan.stages))]
    parts = [plan.head.name, *below[: settings.stages]]
    batch_norm = settings.batch_norm
    if batch_norm == "auto":
        enough = pictures >= ENOUGH_PICTURES and batch_size >= ENOUGH_IN_A_BATCH
        batch_norm = "re-estimated" if enough else "frozen"
    return Learning({name: settings.decay**place for place, name in enumerate(parts)}, batch_norm)
