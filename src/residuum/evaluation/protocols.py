"""Protocols: which views of a picture a network is shown, and how its answers are averaged.

center              the shorter side resized, the centre cropped: what prediction does
single-view         the whole picture, once (He et al. 2015, section 4.2, of CIFAR's 32x32 pictures)
flip                the centre and its mirror image (Simonyan and Zisserman 2015, arXiv 1409.1556, section 3.2)
ten-crop            four corners and the centre, and their mirror images (Krizhevsky et al. 2012, section 4.1)
fully-convolutional the whole resized picture, the network at every position (Sermanet et al. 2014; He et al. 2015, 3.4)
multi-scale         likewise at several sizes (He et al. 2015, section 3.4: shorter sides 224, 256, 384, 480 and 640)

Krizhevsky et al. and Simonyan and Zisserman average what leaves the softmax, so probabilities are averaged unless told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from residuum.config import STRICT
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError, nearest, shown
from residuum.evaluation.runtime import Runtime

Name = Literal["center", "single-view", "flip", "ten-crop", "fully-convolutional", "multi-scale"]
Average = Literal["probabilities", "logits"]
Crop = Literal["top-left", "top-right", "bottom-left", "bottom-right", "center"]

TAKES: dict[str, tuple[str, ...]] = {
    "center": ("resize", "crop"),
    "single-view": (),
    "flip": ("resize", "crop", "average"),
    "ten-crop": ("resize", "crop", "average"),
    "fully-convolutional": ("resize", "average"),
    "multi-scale": ("sides", "average"),
}
"""The options of each protocol; any other is refused."""

SIDES = (224, 256, 384, 480, 640)
"""The paper's shorter sides for a network of 224 pixels; scaled in proportion for others."""


@dataclass(frozen=True)
class View:
    """What a network is shown of a picture.

    resize     the shorter side that the picture is brought to, or several, one after the other; None: the picture is
               brought to `size` as it is
    size       (height, width) of a crop; None: the resized picture is shown whole, and the network made fully
               convolutional
    crops      where crops are taken; none where the picture is shown whole
    mirror     each view is shown a second time, mirrored
    """

    resize: int | tuple[int, ...] | None
    size: tuple[int, int] | None
    channels: int
    crops: tuple[Crop, ...] = ("center",)
    mirror: bool = False
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if any(side < 1 for side in (*self.sides, *(self.size or ()))):
            least = min(*self.sides, *(self.size or ()), 1)
            raise UserError(f"sides of pictures and crops must be at least 1 pixel, and one of them is {least}")
        if len(set(self.sides)) < len(self.sides):
            raise UserError(f"each of the sides {', '.join(map(str, self.sides))} may be given once")
        if self.size is None and (self.crops or not self.sides):
            raise UserError("a picture that is shown whole needs a resize and takes no crops")
        if self.size is not None and bool(self.crops) != (self.resize is not None):
            raise UserError("crops need a resize, and a resize to one size needs crops")
        if self.size is not None and any(side < max(self.size) for side in self.sides):
            raise UserError(
                f"a picture resized to a shorter side of {self.sides[0]} is smaller than the crop of {self.size[0]}x"
                f"{self.size[1]}: give a --resize of at least {max(self.size)}, or a smaller --crop"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """The shorter sides, one for each pass over the pictures."""
        return () if self.resize is None else (self.resize,) if isinstance(self.resize, int) else self.resize

    @property
    def dense(self) -> bool:
        """Whether the network is made fully convolutional."""
        return self.size is None


@dataclass(frozen=True)
class Protocol:
    """How one network's answer to a picture comes about: its views, and what of them is averaged."""

    name: Name
    view: View
    average: Average | None


@dataclass(frozen=True)
class Member:
    """A model of an ensemble: what it is called, the digest of its content (`Model.digest`), and what it is shown."""

    name: str
    digest: str
    view: View
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Record:
    """How a number was made, in full, as it is stored with it.

    `average` is of the views of one network, None where there is but one. The members of an `ensemble`, of which
    `view` is the first's, are joined by the mean of their probabilities. Logits were divided by the `temperature`.
    """

    name: Name
    data: str
    data_digest: str
    split: str
    view: View
    average: Average | None = None
    ensemble: tuple[Member, ...] = ()
    precision: str = "float32"
    backend: str = "torch"
    temperature: float = 1.0
    __pydantic_config__ = STRICT


def record(
    protocol: Protocol, manifest: Manifest, split: str, temperature: float = 1.0, runtime: Runtime | None = None
) -> Record:
    """A protocol at work on a part of a data set; without a `runtime`, by torch in float32."""
    found = Record(
        protocol.name, manifest.argument, manifest.digest, split, protocol.view, protocol.average,
        temperature=temperature,
    )  # fmt: skip
    return found if runtime is None else replace(found, backend=runtime.backend, precision=runtime.precision)


def choose_protocol(
    name: str,
    preprocessing: Preprocessing,
    *,
    resize: int | None = None,
    crop: int | tuple[int, int] | None = None,
    sides: tuple[int, ...] | None = None,
    average: str | None = None,
) -> Protocol:
    """The protocol of this name for a model of this preprocessing; UserError for an option that it does not take.

    What is not given is the model's own; where its pictures are fed whole, without a margin around the centre crop, the
    protocols that look beyond the centre resize by the 8/7 that photos have (256 for 224).
    """
    if name not in TAKES:
        raise UserError(f'there is no protocol "{shown(name)}"; {nearest(name, TAKES)}')
    given = {"resize": resize, "crop": crop, "sides": sides, "average": average}
    strange = [f"--{option}" for option, value in given.items() if value is not None and option not in TAKES[name]]
    if strange:
        takes = " and ".join(f"--{option}" for option in TAKES[name]) or "no options"
        raise UserError(f"protocol {name} does not take {' or '.join(strange)}: it takes {takes}")
    if average is not None and average not in get_args(Average):
        raise UserError(f'--average is "{shown(average)}": choose probabilities or logits')
    size = (crop, crop) if isinstance(crop, int) else crop or preprocessing.size
    averaged = cast(Average, average or "probabilities") if "average" in TAKES[name] else None
    known = cast(Name, name)
    return Protocol(known, _view(known, preprocessing, resize, size, sides), averaged)


def _view(
    name: Name, preprocessing: Preprocessing, resize: int | None, size: tuple[int, int], sides: tuple[int, ...] | None
) -> View:
    channels, nominal = preprocessing.channels, max(preprocessing.size)
    margin = preprocessing.resize if preprocessing.resize > nominal else round(nominal * 8 / 7)
    if name == "single-view":
        return View(None, preprocessing.size, channels, ())
    if name == "fully-convolutional":
        return View(margin if resize is None else resize, None, channels, ())
    if name == "multi-scale":
        scaled = tuple(round(side * nominal / 224) for side in SIDES)
        return View(scaled if sides is None else sides, None, channels, ())
    if name == "ten-crop":
        return View(margin if resize is None else resize, size, channels, get_args(Crop), mirror=True)
    own = preprocessing.resize if resize is None else resize
    return View(own, size, channels, mirror=name == "flip")
