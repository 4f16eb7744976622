"""Augment: the random changes a training picture goes through, as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from residuum.errors import UserError

MOST_OPERATIONS = 4
"""RandAugment's operations on one picture; the paper uses two."""


@dataclass(frozen=True)
class Augment:
    """Random crop, mirror, scale and colour; everything off by default.

    `crop_padding` pixels are added on each side (zeros after normalisation, or a reflection) before a random crop of
    the input size. `mirror` flips left-right half of the time; "alternating" draws whether to flip a picture the first
    time only, and then takes turns, so that two epochs show both sides (Jordan 2024, arXiv 2404.00498, section 3.6).
    `area` crops a random share of the picture in that range, its aspect ratio log-uniform in 3/4..4/3 (Szegedy et al.
    2015, "Going deeper with convolutions", section 6). `shorter_side` scales the shorter side to an integer uniform in
    the range, ends included, then crops the input size (He et al. 2016, section 3.4). `colour` is the standard
    deviation of AlexNet's shift along the principal components of the training pixels (Krizhevsky et al. 2012, section
    4.1); 0.1 there. `reduced` crops from the picture at 1/2, 1/4 or 1/8 of its size where that leaves the shorter side
    twice the input's: large photos are then decoded faster, and those of small sets only once.

    `rand_augment` is (operations, strength 0..10): so many drawn for each picture (Cubuk et al. 2019, arXiv
    1909.13719). `erasing` is the share of pictures of which a rectangle is made the mean (Zhong et al. 2017, arXiv
    1708.04896). `mixup` and `cutmix` are the alpha of the Beta distribution of a picture's share in a mixture with
    another one of its batch (Zhang et al. 2017, arXiv 1710.09412), or of its area beside a patch of the other one
    (Yun et al. 2019, arXiv 1905.04899); with both, half of the pictures are treated either way.
    """

    crop_padding: int = 0
    padding: Literal["zero", "reflect"] = "zero"
    mirror: bool | Literal["alternating"] = False
    area: tuple[float, float] | None = None
    shorter_side: tuple[int, int] | None = None
    colour: float = 0.0
    reduced: bool = False
    rand_augment: tuple[int, float] | None = None
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def check(self, size: tuple[int, int] | None = None) -> None:
        """Raises one UserError naming all problems; with the input's (height, width), also those that need
        it."""
        problems = []
        if self.crop_padding < 0:
            problems.append(f"crop_padding must not be negative, and is {self.crop_padding}")
        if self.padding not in ("zero", "reflect"):
            problems.append(f'padding must be "zero" or "reflect", not "{self.padding}"')
        if self.mirror not in (False, True, "alternating"):
            problems.append(f'mirror must be false, true or "alternating", not "{self.mirror}"')
        if size is not None and self.padding == "reflect" and self.crop_padding >= min(size):
            problems.append(f"a reflection can pad at most {min(size) - 1} pixels here, not {self.crop_padding}")
        if self.area is not None and self.shorter_side is not None:
            problems.append("area and shorter_side are two ways to choose the scale: give one of them")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            problems.append(f"area must be a range within 0..1, not {self.area}")
        if self.shorter_side is not None:
            low, high = self.shorter_side
            least = 1 if size is None else max(size)
            if not least <= low <= high:
                problems.append(f"shorter_side must be a range from at least {least}, not {self.shorter_side}")
        if not (math.isfinite(self.colour) and self.colour >= 0):
            problems.append(f"colour must not be negative, and is {self.colour}")
        if self.rand_augment is not None:
            count, strength = self.rand_augment
            if not (1 <= count <= MOST_OPERATIONS and 0 <= strength <= 10):
                problems.append(
                    f"rand_augment is (operations 1..{MOST_OPERATIONS}, strength 0..10), not {self.rand_augment}"
                )
        if not 0 <= self.erasing <= 1:
            problems.append(f"erasing is a share of pictures in 0..1, not {self.erasing}")
        for name in ("mixup", "cutmix"):
            alpha = getattr(self, name)
            if not (math.isfinite(alpha) and alpha >= 0):
                problems.append(f"{name} must not be negative, and is {alpha}")
        if problems:
            raise UserError("augmentation: " + "; ".join(problems))

    @property
    def rescales(self) -> bool:
        """Whether the picture's own pixels are needed, rather than its evaluation view."""
        return self.area is not None or self.shorter_side is not None
