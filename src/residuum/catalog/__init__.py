"""The named networks: each a spec and where it is from. A variant is one line: `spec("resnet50", groups=32)`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from residuum.catalog import comparison, dense, inception_resnet, others, resnets
from residuum.catalog.entries import Entry
from residuum.errors import UserError, nearest, shown
from residuum.plan import check, dilated, layers_of_depth, with_depth, with_width
from residuum.spec import AnySpec, Written

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *resnets.ENTRIES,
        *dense.ENTRIES,
        *others.ENTRIES,
        *inception_resnet.ENTRIES,
        *comparison.ENTRIES,
    )
}


def entry(name: str) -> Entry:
    """The entry of a name, or a UserError with the nearest right one."""
    if name not in CATALOG:
        raise UserError(f'unknown model "{shown(name)}"; {nearest(name, CATALOG)}')
    return CATALOG[name]


def spec(
    name: str, *, depth: int | None = None, width: float | None = None, output_stride: int | None = None, **axes: Any
) -> AnySpec:
    """The spec of a named network with axes changed: `spec("resnet50", shortcut="C", classes=10)`.

    `depth` gives another member of a family whose stages are equally deep (6n+2 for CIFAR nets), `width` multiplies the
    channels of stem and stages, `output_stride` (8, 16) replaces later strides by dilation.
    """
    base = entry(name).spec
    known = {field.name for field in fields(base)}
    fixed = isinstance(base, Written)
    known = known - {"network"} if fixed else known | {"depth", "width", "output_stride"}
    for axis in axes:
        if axis not in known:
            why = "is kept for comparison as it is and" if fixed else ""
            raise UserError(f'{name} {why} has no axis "{shown(axis)}"; {nearest(axis, known)}'.replace("  ", " "))
    found = check(replace(base, **axes))
    if depth is not None:
        found = with_depth(found, depth)
    if width is not None:
        found = check(with_width(found, width))
    return found if output_stride is None else dilated(found, output_stride)


def member(name: str, found: AnySpec) -> str:
    """The name of the entry a spec was made from, with its layers where the entry has another number of them."""
    layers = layers_of_depth(found)
    known = name in CATALOG and layers_of_depth(CATALOG[name].spec) != layers
    return f"{name} of {layers} layers" if known else name


__all__ = ["CATALOG", "Entry", "entry", "member", "spec"]
