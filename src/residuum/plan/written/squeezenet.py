"""SqueezeNet 1.0, 1.1 and 1.0 with simple bypass (Iandola et al. 2016, arXiv 1602.07360, Fig. 2)."""

from __future__ import annotations

from functools import partial

from residuum.plan.builder import Builder
from residuum.plan.nodes import Block, Chain, NetworkPlan
from residuum.plan.written.parts import begin, finish, then
from residuum.spec import Written

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Squeeze and expand widths of the fire modules 2 to 9."""


def _squeezenet(spec: Written, width: int, kernel: int, groups: tuple[int, ...], bypass: bool = False) -> NetworkPlan:
    """A max-pool before each group of fire modules."""
    stem = begin(spec)
    stem.conv(width, kernel, 2, padding=0)
    stem.act()
    at, stages, fires = stem, [], iter(FIRES)
    for count in groups:
        at = then(at)
        at.maxpool(3, 2, 0, ceil=True)
        for number in range(1, count + 1):
            squeeze, expand = next(fires)
            fire = at.fork()
            _fire(fire, squeeze, expand)
            same = bypass and 2 * expand == at.channels
            shortcut = Chain("shortcut") if same else None
            empty = Chain("before"), Chain("after")
            node = Block(f"block{number}", empty[0], (fire.chain("branch"),), shortcut, "add", empty[1])
            at.append(node, fire.channels, fire.size)
        stages.append(at)
    head = then(at)
    head.dropout(0.5)
    head.conv(spec.classes, 1)
    head.act()
    head.global_pool()
    head.flatten()
    return finish(spec, stem, stages, head)


def _fire(at: Builder, squeeze: int, expand: int) -> None:
    """Fire module (section 3.1): 1x1 to few channels, then 1x1 and 3x3 side by side."""
    at.conv(squeeze, 1, name="squeeze")
    at.act()
    one, three = at.fork(), at.fork()
    for branch, kernel in (one, 1), (three, 3):
        branch.conv(expand, kernel)
        branch.act()
    at.join("expand", [one, three])


squeezenet1_0 = partial(_squeezenet, width=96, kernel=7, groups=(3, 4, 1))
squeezenet1_1 = partial(_squeezenet, width=64, kernel=3, groups=(2, 2, 4))
squeezenet1_0_bypass = partial(_squeezenet, width=96, kernel=7, groups=(3, 4, 1), bypass=True)
