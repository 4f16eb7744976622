"""Options that several commands share: the axes of a network."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Group, Parameter

from residuum.errors import UserError
from residuum.spec import Activation, Attention, Branch, Conv, Merge, Norm, Order, Shortcut, StrideIn

AXES = Group("Axes of the network", sort_key=2)


@Parameter(name="*", group=AXES)
@dataclass(frozen=True)
class Axes:
    """What is changed in a network of the catalogue; None keeps it."""

    depth: int | None = None
    "Weighted layers, for families of equally deep stages (6n+2 for CIFAR nets)."
    width: float | None = None
    "Times the channels of stem and stages: 0.5 halves them."
    output_stride: int | None = None
    "How many times smaller the last map is: 8 or 16 replace later strides by dilation."
    shortcut: Shortcut | None = None
    "none (plain), A zero-padding, B projection where shapes change, C everywhere, D pooled projection, identity."
    stride_in: StrideIn | None = None
    "The convolution of a bottleneck that strides: 1x1 (the paper) or 3x3 (torchvision)."
    branch: Branch | None = None
    "The residual branch."
    conv: Conv | None = None
    "How convolutions are carried out: in full, depthwise separable, factorised as (2+1)D."
    order: Order | None = None
    "Activation after the sum (post, 2015), before each convolution (pre, 2016), and three more; docs/catalogue.md."
    merge: Merge | None = None
    "How branch and shortcut are joined."
    norm: Norm | None = None
    "Normalisation."
    activation: Activation | None = None
    "Non-linearity."
    attention: Attention | None = None
    "Attention at the end of each branch."
    groups: int | None = None
    "Cardinality."
    base_width: int | None = None
    "Bottleneck width per 64 channels."
    dropout: float | None = None
    "Dropout rate before the last convolution of each branch."
    classes: int | None = None
    "Outputs of the classifier."
    channels: int | None = None
    "Input channels (1 for grey)."
    size: Annotated[str | None, Parameter(help="Input size: 224, or 224x192 (height x width).")] = None
    ndim: int | None = None
    "Spatial dimensions: 1, 2 or 3."

    def given(self) -> dict[str, Any]:
        """The axes that were set, as `catalog.spec` takes them."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {name: value for name, value in found.items() if value is not None}
        if "size" in found:
            found["size"] = parse_size(found["size"])
        return found


def parse_size(text: str, option: str = "--size") -> int | tuple[int, ...]:
    """224 or 224x192."""
    parts = text.lower().split("x")
    if not all(part.isdecimal() for part in parts):
        raise UserError(f'{option} is a number of pixels like 224, or 224x192, not "{text}"')
    return int(parts[0]) if len(parts) == 1 else tuple(int(part) for part in parts)


def given(axes: Axes | None) -> dict[str, Any]:
    return axes.given() if axes else {}
