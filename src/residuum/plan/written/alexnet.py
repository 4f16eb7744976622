"""AlexNet in one column (Krizhevsky 2014, arXiv 1404.5997), as torchvision has it."""

from __future__ import annotations

from residuum.plan.nodes import NetworkPlan
from residuum.plan.written.parts import begin, finish, fully_connected_head, then
from residuum.spec import Written


def alexnet(spec: Written) -> NetworkPlan:
    """Five convolutions with biases and no norm, three max-pools, three fully connected layers."""
    stem = begin(spec)
    stem.conv(64, 11, 4, padding=2)
    stem.act()
    stem.maxpool(3, 2, 0)
    at, stages = stem, []
    for convs in ([(192, 5)], [(384, 3), (256, 3), (256, 3)]):
        at = then(at)
        for number, (width, kernel) in enumerate(convs, start=1):
            at.conv(width, kernel, number=number)
            at.act(number)
        at.maxpool(3, 2, 0)
        stages.append(at)
    head = then(at)
    fully_connected_head(head, spec, 6, dropout_first=True)
    return finish(spec, stem, stages, head)
