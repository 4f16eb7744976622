"""One step of training, on one process or many: forward, backward and update of a network as a recipe has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from residuum.data.batches import Batch
from residuum.devices import keep_freed_memory
from residuum.errors import UserError
from residuum.nets.network import Network
from residuum.processes import ALONE, WHOLE, Pieces, Processes, connected
from residuum.tasks import classification
from residuum.tasks.classification import Criterion, Mix
from residuum.training.learning import Learning
from residuum.training.optimizer import make_optimizer
from residuum.training.quick import TORCH, pick_kernels, quick
from residuum.training.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What a batch gave: its mean loss, and how many of its pictures were classified wrong."""

    loss: float
    wrong: int
    images: int

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.loss))

    @property
    def error(self) -> float:
        """In percent."""
        return 100.0 * self.wrong / self.images


@dataclass
class Engine:
    """A network about to be trained: on its device, with its optimizer.

    `processes` share every batch; this one computes `pieces` of it. Random numbers within the network (dropout,
    stochastic depth) are a function of seed, step and piece.
    """

    network: nn.Module
    recipe: Recipe
    device: torch.device
    precision: torch.dtype
    criterion: Criterion
    learning: Learning | None = None
    processes: Processes = ALONE
    pieces: Pieces = WHOLE
    seed: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)
    average: AveragedModel | None = field(init=False, default=None)
    _scaler: torch.amp.GradScaler = field(init=False)
    _run: Callable[..., Tensor] = field(init=False)
    _linked: DistributedDataParallel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        network, recipe = self.network, self.recipe
        network.to(self.device)
        if recipe.sync_batch_norm:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)
        if recipe.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(network, Network):
            network.frugal = recipe.memory == "low"
        if self.device.type == "cpu":
            keep_freed_memory(recipe.memory != "low")
        rates: Mapping[str, float] | None = None
        if self.learning is not None:
            self.learning.freeze(network)
            rates = self.learning.rates
        self.optimizer = make_optimizer(network, recipe.optimizer, rates, recipe.muon, self.precision)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        if recipe.ema:
            average = get_ema_multi_avg_fn(recipe.ema)
            self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self._run = network if pick_kernels(recipe, self.device, self.precision) == TORCH else quick(network)

    def connect(self) -> None:
        """Link the processes, once weights and optimizer are as training begins or goes on."""
        if self.processes.count > 1:
            # running statistics are averaged when they are needed; torch 2.13 renames the switch, 2.10 has the old name
            with connected(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                self._run = self._linked = DistributedDataParallel(
                    self._run, broadcast_buffers=False, gradient_as_bucket_view=True,
                    device_ids=[torch.cuda.current_device()] if self.device.type == "cuda" else None,
                )  # fmt: skip
        if self.recipe.compile:
            # on GPUs small networks wait for launches: CUDA graphs do them in one
            mode = "reduce-overhead" if self.device.type == "cuda" else None
            self._run = torch.compile(self._run, mode=mode)

    @property
    def result(self) -> nn.Module:
        """What training has come to: the moving average where the recipe keeps one, else the network itself."""
        if self.average is None or not int(self.average.n_averaged):
            return self.network
        return self.average.module

    def train_mode(self) -> None:
        self.network.train()
        if self.learning is not None:
            self.learning.settle_modes(self.network)

    def gradients(self, step: int, batch: Sequence[Batch]) -> Outcome:
        """Those of the mean loss over the whole batch of step `step` (from 0), given this process's pieces."""
        pieces = [self._moved(piece) for piece in batch]
        weight = torch.tensor([self.criterion.count(targets, mix) for _, targets, mix in pieces], dtype=torch.float64)
        images = torch.tensor([float(sum(len(piece.targets) for piece in batch))], dtype=torch.float64)
        weight, images = self.processes.total(torch.cat((weight.sum()[None], images))).tolist()
        self.optimizer.zero_grad(set_to_none=True)
        loss, wrong = torch.zeros((), device=self.device), torch.zeros((), dtype=torch.int64, device=self.device)
        for number, (inputs, targets, mix) in enumerate(pieces):
            torch.manual_seed(_seed(self.seed, step, self.pieces.first + number))
            with connected(), self._alone_until(number + 1 == len(pieces)):
                with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                    logits = self._run(inputs)
                share = self.criterion.total(logits, targets, mix) / weight
                # DistributedDataParallel divides by the number of processes
                self._scaler.scale(share * self.processes.count).backward()
            loss, wrong = loss + share.detach(), wrong + classification.wrong(logits.detach(), targets)
        sums = self.processes.total(torch.stack((loss.double(), wrong.double())).cpu()).tolist()
        self._scaler.unscale_(self.optimizer)
        return Outcome(sums[0], round(sums[1]), round(images))

    def update(self, lr: float) -> None:
        """A step of the optimizer along the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)

    def share_statistics(self) -> None:
        """Running statistics become the mean of those that the processes found."""
        for module in (self.network, self.average):
            if module is not None:
                self.processes.mean_([each for each in module.buffers() if each.is_floating_point()])

    def finish(self) -> None:
        """The network becomes the result of training."""
        if self.result is not self.network:
            self.network.load_state_dict(self.result.state_dict())

    def state(self) -> dict[str, Any]:
        """What is neither network, average nor optimizer, as JSON values."""
        return {"scaler": self._scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._scaler.load_state_dict(dict(state["scaler"]))

    def _moved(self, batch: Batch) -> tuple[Tensor, Tensor, Mix | None]:
        mix = None
        if batch.partners is not None and batch.shares is not None:
            mix = Mix(batch.partners.to(self.device), batch.shares.to(self.device))
        return batch.inputs.to(self.device), batch.targets.to(self.device), mix

    def _alone_until(self, last: bool) -> Any:
        """Gradients are exchanged with the last piece alone."""
        return nullcontext() if last or self._linked is None else self._linked.no_sync()


def refuse_device(recipe: Recipe, device: torch.device) -> None:
    """UserError where a recipe asks for what a device does not have."""
    if recipe.sync_batch_norm and device.type != "cuda":
        raise UserError("sync_batch_norm needs a GPU (torch's does); leave it out, or train with --device cuda")


def _seed(seed: int, step: int, piece: int) -> int:
    return int(np.random.SeedSequence([seed, step, piece]).generate_state(1, np.uint64)[0])
