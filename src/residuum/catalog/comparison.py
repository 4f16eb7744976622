"""Networks the papers compare with; their plans are written directly."""

from __future__ import annotations

from residuum.catalog.entries import Entry
from residuum.spec import Written

_SOURCES = {
    "alexnet": "Krizhevsky 2014, arXiv 1404.5997",
    **dict.fromkeys(("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"), "Simonyan and Zisserman 2015, arXiv 1409.1556"),
    "googlenet": "Szegedy et al. 2015, arXiv 1409.4842",
    "squeezenet1_0": "Iandola et al. 2016, arXiv 1602.07360",
    "squeezenet1_1": "Iandola et al. 2016, arXiv 1602.07360",
}

ENTRIES = (
    *(Entry(name, "comparison", Written(name), source, f"torchvision {name}") for name, source in _SOURCES.items()),
    Entry(
        "squeezenet1_0_bypass", "comparison", Written("squeezenet1_0_bypass"),
        "Iandola et al. 2016, Fig. 2 middle: simple bypass",
    ),
)  # fmt: skip
