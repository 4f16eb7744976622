"""A recipe: how a network is trained, complete, every number visible, as a value that can be printed and replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from residuum.config import STRICT
from residuum.data.augment import Augment
from residuum.errors import UserError


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum; weight decay as an L2 term, as in the paper."""

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_norms_and_biases: bool = True
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Muon:
    """Hidden convolutions turned along orthogonal directions (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    All other parameters are left to SGD. The weights keep their length, so there is no weight decay on them.

    lr          by what share of its length a weight moves at the highest rate; it follows the schedule as SGD's does
    momentum    Nesterov's
    iterations  of Newton-Schulz, which makes directions orthogonal; with fewer they are less so, for less work
    """

    lr: float = 0.03
    momentum: float = 0.9
    iterations: int = 5
    __pydantic_config__ = STRICT

    def problems(self) -> list[str]:
        """What is wrong with the fields."""
        rules = {
            "muon.lr must be a positive number": 0 < self.lr < math.inf,
            "muon.momentum must be in 0..1, 1 excluded": 0 <= self.momentum < 1,
            "muon.iterations must be in 1..20": 1 <= self.iterations <= 20,
        }
        return [rule for rule, holds in rules.items() if not holds]


@dataclass(frozen=True)
class OneCycle:
    """Linear rise from 0 to the learning rate over the `warmup` fraction of the run, then linear fall to 0."""

    warmup: float = 0.2
    kind: Literal["one-cycle"] = "one-cycle"
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Cosine:
    """Linear rise over the `warmup` fraction of the run, then half a cosine down to 0 (Loshchilov and Hutter 2017)."""

    warmup: float = 0.05
    kind: Literal["cosine"] = "cosine"
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class WarmUp:
    """A lower rate until the training error is below `until_error` percent (section 4.2: ResNet-110)."""

    lr: float = 0.01
    until_error: float = 80.0
    from_layers: int = 110
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Drops:
    """The learning rate times `factor` at each of the fractions `at` of the run (32k and 48k of 64k iterations)."""

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup: WarmUp | None = None
    kind: Literal["drops"] = "drops"
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Plateau:
    """The learning rate times `factor` when the validation error has not fallen for `patience` epochs."""

    factor: float = 0.1
    patience: int = 5
    kind: Literal["plateau"] = "plateau"
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class FineTune:
    """How a network that was trained elsewhere is fitted to new data: first its classifier, then its upper stages.

    head_epochs     passes over the features that the frozen network gives; each picture is computed once
    head_lr         the classifier's highest rate there, on features scaled to length 1 (half a cosine to 0)
    stages          how many of the upper stages learn after that; 0: the classifier alone
    decay           each stage's rate is that of the part above it times this; the classifier has the recipe's
                    (discriminative rates: Howard and Ruder 2018, arXiv 1801.06146, section 3.2)
    batch_norm      frozen: running statistics stay as they came; re-estimated: batches have their own, and running ones
                    follow; auto: re-estimated from 1,000 pictures and batches of 16 on
    patience        epochs without a lower validation loss after which training ends; 0: it goes to its end
    """

    head_epochs: int = 100
    head_lr: float = 2.0
    stages: int = 3
    decay: float = 0.5
    batch_norm: Literal["auto", "frozen", "re-estimated"] = "auto"
    patience: int = 15
    __pydantic_config__ = STRICT

    def problems(self) -> list[str]:
        """What is wrong with the fields."""
        rules = {
            "head_epochs must be at least 1": self.head_epochs >= 1,
            "head_lr must be a positive number": 0 < self.head_lr < math.inf,
            "stages must not be negative": self.stages >= 0,
            "decay must be more than 0 and at most 1": 0 < self.decay <= 1,
            "patience must not be negative": self.patience >= 0,
        }
        return [rule for rule, holds in rules.items() if not holds]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    epochs, steps     the length: exactly one of them is set
    min_steps         small sets are gone through more often, so that there are at least so many steps
    smallest_batch    on small sets batches shrink to a 32nd of the pictures, but not below this; 0: they do not
    resolution        (until fraction of the run, scale of the input size): small pictures first. Sides are rounded
                      to multiples of 4 and are never scaled below 16 pixels
    per_pixel_mean    subtract the mean picture of the training set instead of the mean of each channel
    augment           with both crop_padding and area, the first is for small pictures fed whole, the second for
                      larger ones
    muon              how convolutions without a bias, but for the first, are trained; None: as all else
    precision         auto: bfloat16 where the processor computes in it, else float32; float16 scales the loss
    accumulate        batches are computed in so many pieces, one after the other, on each process
    memory            low: activations between blocks are kept alone, the others computed again (Chen et al. 2016, arXiv
                      1604.06174): a third more arithmetic for a fraction of the memory
    ema               what is validated and kept is a moving average of the weights, with this decay for each step;
                      0: the weights themselves
    compile           torch.compile, on GPUs with CUDA graphs
    kernels           own: in bfloat16 on processors, batch norm with what follows it, the weights' gradient of 3x3
                      convolutions and, where there are AMX tiles, whole runs of blocks by our routines in C, which
                      round less often, where a compiler is found; torch: its operators
    sync_batch_norm   batch norm over the pictures of all processes, on GPUs
    class_weights     balanced: a picture counts n / (classes * pictures of its class), so that rare classes weigh as
                      much as common ones
    focal_gamma       the loss of a picture times (1 - p of its class)^gamma (Lin et al. 2017, arXiv 1708.02002, eq. 4)
    balanced_sampling every class is drawn equally often
    finetune          how weights from elsewhere are fitted to the data; None trains all layers alike
    """

    name: str
    epochs: float | None = None
    steps: int | None = None
    min_steps: int = 0
    batch_size: int = 128
    smallest_batch: int = 0
    optimizer: SGD = field(default_factory=SGD)
    muon: Muon | None = None
    schedule: OneCycle | Cosine | Drops | Plateau = field(default_factory=OneCycle)
    label_smoothing: float = 0.0
    augment: Augment = field(default_factory=Augment)
    resolution: tuple[tuple[float, float], ...] = ()
    per_pixel_mean: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    channels_last: bool = True
    accumulate: int = 1
    memory: Literal["normal", "low"] = "normal"
    ema: float = 0.0
    compile: bool = False
    kernels: Literal["own", "torch"] = "own"
    sync_batch_norm: bool = False
    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: float = 0.0
    balanced_sampling: bool = False
    finetune: FineTune | None = None
    __pydantic_config__ = STRICT

    def check(self) -> Recipe:
        """The recipe itself, or one UserError that names everything wrong with it."""
        o, found = self.optimizer, list[str]()
        if (self.epochs is None) == (self.steps is None):
            found.append("give either epochs or steps")
        rules = {
            "epochs must be more than 0": self.epochs is None or 0 < self.epochs < math.inf,
            "steps must be at least 1": self.steps is None or self.steps >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "lr must be a positive number": 0 < o.lr < math.inf,
            "momentum must be in 0..1, 1 excluded": 0 <= o.momentum < 1,
            "nesterov needs momentum": not o.nesterov or o.momentum > 0,
            "weight_decay must not be negative": 0 <= o.weight_decay < math.inf,
            "label_smoothing must be in 0..1, 1 excluded": 0 <= self.label_smoothing < 1,
            "resolution must be (fraction, scale) pairs, fractions rising, scales in 0..1": all(
                0 < scale <= 1 for _, scale in self.resolution
            )
            and [f for f, _ in self.resolution] == sorted({f for f, _ in self.resolution}),
        }
        rules |= {
            "accumulate must be in 1..batch_size": 1 <= self.accumulate <= max(self.batch_size, 1),
            "ema must be in 0..1, 1 excluded": 0 <= self.ema < 1,
            "focal_gamma must not be negative": 0 <= self.focal_gamma < math.inf,
            "class_weights and balanced_sampling both make up for rare classes: choose one": not (
                self.balanced_sampling and self.class_weights != "none"
            ),
        }
        found += [rule for rule, holds in rules.items() if not holds]
        found += self.muon.problems() if self.muon else []
        found += self.finetune.problems() if self.finetune else []
        if found:
            raise UserError(f"recipe {self.name}: " + "; ".join(found))
        self.augment.check()
        return self

    def at_lr(self, lr: float) -> Recipe:
        """The recipe with another highest learning rate; Muon's changes in proportion."""
        muon = self.muon and replace(self.muon, lr=self.muon.lr * lr / self.optimizer.lr)
        return replace(self, optimizer=replace(self.optimizer, lr=lr), muon=muon)


@dataclass(frozen=True)
class Length:
    """A run's length in steps, and where its epochs end."""

    images: int
    batch_size: int
    steps: int

    def epoch_end(self, epoch: int) -> int:
        """The step after which `epoch` (from 0) is over: every picture has been seen once more."""
        return min(-(-(epoch + 1) * self.images // self.batch_size), self.steps)

    def epoch_of(self, step: int) -> int:
        """The epoch that step `step` (from 0) belongs to."""
        return step * self.batch_size // self.images


def fit(
    recipe: Recipe, *, images: int, size: tuple[int, int], whole: bool, layers: int, chiral: bool
) -> tuple[Recipe, Length]:
    """The recipe settled for a data set and network, nothing left to choose, and its length in steps.

    `whole` says that pictures are fed whole, at the input's `size`. `chiral` data (handwriting) are never mirrored.
    The paper's warm-up applies from its depth on.
    """
    recipe.check()
    batch_size, augment, schedule = recipe.batch_size, recipe.augment, recipe.schedule
    if recipe.smallest_batch:
        batch_size = min(batch_size, max(recipe.smallest_batch, 2 ** int(math.log2(max(images / 32, 1)))))
    if augment.crop_padding and augment.area:
        augment = replace(augment, area=None) if whole else replace(augment, crop_padding=0)
    augment = replace(augment, mirror=False) if chiral else augment
    if isinstance(schedule, Drops) and schedule.warmup and layers < schedule.warmup.from_layers:
        schedule = replace(schedule, warmup=None)
    steps = recipe.steps
    if steps is None:
        assert recipe.epochs is not None
        steps = max(-(-int(recipe.epochs * images) // batch_size), 1, recipe.min_steps)
    settled = replace(recipe, batch_size=batch_size, augment=augment, schedule=schedule)
    augment.check(size)
    return settled, Length(images, batch_size, steps)


def resolution_at(recipe: Recipe, fraction: float, size: int) -> int:
    """The training side, in pixels, at a fraction (0..1) of the run."""
    for until, scale in recipe.resolution:
        if fraction < until:
            return min(max(4 * round(size * scale / 4), 16), size)
    return size
