"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015, arXiv 1409.1556, configurations D and E), with and without norm."""

from __future__ import annotations

from functools import partial

from residuum.plan.nodes import NetworkPlan
from residuum.plan.written.parts import begin, finish, fully_connected_head, then
from residuum.spec import Written


def _vgg(spec: Written, depths: tuple[int, ...], norm: str) -> NetworkPlan:
    stem = begin(spec, norm)
    at, stages = stem, []
    for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
        at = then(at)
        for number in range(1, depth + 1):
            at.conv(width, 3, number=number, bias=True)
            at.norm(number)
            at.act(number)
        at.maxpool(2, 2, 0)
        stages.append(at)
    head = then(at)
    fully_connected_head(head, spec, 7, dropout_first=False)
    return finish(spec, stem, stages, head)


vgg16 = partial(_vgg, depths=(2, 2, 3, 3, 3), norm="none")
vgg16_bn = partial(_vgg, depths=(2, 2, 3, 3, 3), norm="batch")
vgg19 = partial(_vgg, depths=(2, 2, 4, 4, 4), norm="none")
vgg19_bn = partial(_vgg, depths=(2, 2, 4, 4, 4), norm="batch")
