"""The named networks: each a spec and where it is from. A variant is one line: `spec("resnet50", groups=32)`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from residuum.errors import UserError, nearest, shown
from residuum.spec import CIFAR_STEM, IMAGENET_STEM, NetworkSpec, Stage, check, with_depth

PAPER = "He et al. 2015, arXiv 1512.03385"


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue."""

    name: str
    family: str
    spec: NetworkSpec
    source: str


def _imagenet(depths: tuple[int, ...], **axes: Any) -> NetworkSpec:
    """Table 1: widths 64 to 512, each stage but the first halving the map."""
    stages = tuple(Stage(d, 64 * 2**i, 1 if i == 0 else 2) for i, d in enumerate(depths))
    return NetworkSpec(IMAGENET_STEM, stages, **axes)


def _cifar(depth: int, **axes: Any) -> NetworkSpec:
    """Section 4.2: 6n+2 layers, widths 16, 32, 64 on maps of 32, 16, 8, option A everywhere."""
    stages = (Stage(1, 16), Stage(1, 32, 2), Stage(1, 64, 2))
    return with_depth(NetworkSpec(CIFAR_STEM, stages, **{"shortcut": "A", "size": 32, "classes": 10} | axes), depth)


CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)

_BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *(
            Entry(
                f"plain{n}",
                "plain (ImageNet)",
                _imagenet(d, shortcut="none"),
                f"{PAPER}, Fig. 3 middle, Table 2",
            )
            for n, d in _BASIC.items()
        ),
        *(Entry(f"resnet{n}", "ResNet (ImageNet)", _imagenet(d), f"{PAPER}, Table 1") for n, d in _BASIC.items()),
        *(
            Entry(f"resnet{n}", "ResNet (ImageNet)", _imagenet(d, branch="bottleneck"), f"{PAPER}, Table 1")
            for n, d in _BOTTLENECK.items()
        ),
        *(
            Entry(f"plain{n}", "plain (CIFAR)", _cifar(n, shortcut="none"), f"{PAPER}, section 4.2")
            for n in CIFAR_DEPTHS
        ),
        *(Entry(f"resnet{n}", "ResNet (CIFAR)", _cifar(n), f"{PAPER}, section 4.2") for n in CIFAR_DEPTHS),
    )
}


def entry(name: str) -> Entry:
    """The entry of a name, or a UserError with the nearest right one."""
    if name not in CATALOG:
        raise UserError(f'unknown model "{shown(name)}"; {nearest(name, CATALOG)}')
    return CATALOG[name]


def spec(name: str, *, depth: int | None = None, **axes: Any) -> NetworkSpec:
    """The spec of a named network with axes changed: `spec("resnet50", shortcut="C", classes=10)`.

    `depth` gives another member of a family whose stages are equally deep (6n+2 for CIFAR nets).
    """
    known = {field.name for field in fields(NetworkSpec)}
    for axis in axes:
        if axis not in known:
            raise UserError(f'a network has no axis "{shown(axis)}"; {nearest(axis, known | {"depth"})}')
    found = check(replace(entry(name).spec, **axes))
    return found if depth is None else with_depth(found, depth)
