"""What the written plans share."""

from __future__ import annotations

from residuum.plan.builder import Builder, Defaults, Place
from residuum.plan.nodes import NetworkPlan
from residuum.spec import Written, each


def begin(spec: Written, norm: str = "none", eps: float = 1e-5) -> Builder:
    """A builder at the pixels."""
    defaults = Defaults(2, spec.size, norm, eps=eps)
    return Builder(defaults, spec.channels, each(spec.size, 2), Place("stem"))


def then(at: Builder) -> Builder:
    """The next part of the network."""
    return Builder(at.defaults, at.channels, at.size, at.place, at.problems)


def finish(spec: Written, stem: Builder, stages: list[Builder], head: Builder) -> NetworkPlan:
    """The parts as a plan."""
    chains = tuple(stage.chain(f"stage{i}") for i, stage in enumerate(stages, start=1))
    return NetworkPlan(spec, stem.chain("stem"), chains, head.chain("head"))


def fully_connected_head(head: Builder, spec: Written, side: int, dropout_first: bool) -> None:
    """Mean over a grid of side x side, then two hidden layers of 4096 and the classifier, with dropout."""
    head.layer("adaptivepool", "pool", head.channels, output_size=(side, side))
    head.flatten()
    for number in (1, 2):
        if dropout_first:
            head.dropout(0.5, f"dropout{number}")
        head.linear(4096, f"fc{number}")
        head.act(number)
        if not dropout_first:
            head.dropout(0.5, f"dropout{number}")
    head.linear(spec.classes, "fc")
