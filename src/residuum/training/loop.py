"""The training loop: fetch, step, perhaps validate, perhaps save. Each "perhaps" is a function of the step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from residuum.data.batches import Batch
from residuum.errors import UserError, shown
from residuum.evaluation.metrics import Evaluation
from residuum.progress import Reporter, duration
from residuum.run import Run
from residuum.tasks import classification
from residuum.tasks.classification import Criterion, Mix
from residuum.training.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from residuum.training.learning import Learning
from residuum.training.optimizer import make_optimizer
from residuum.training.recipe import Length, Recipe
from residuum.training.schedule import Progress, learning_rate
from residuum.training.stop import Stopped, StopRequest

SAVE_SECONDS = 120.0
"""Longest training time between two checkpoints; there is one after every epoch too."""


class Stream(Protocol):
    """Training batches as a pure function of the step."""

    def from_step(self, step: int) -> Iterator[Batch]: ...


class Diverged(UserError):
    """Training whose loss is not finite any more; the last good checkpoint was kept."""


class Watch(Protocol):
    """Looks on at training: it sees every step once, also where training was cut off and taken up again."""

    def rewind(self, step: int) -> None:
        """Forget what came after `step`: it is done again."""
        ...

    def after_backward(self, step: int, network: nn.Module, loss: float, error: float) -> None:
        """Step `step` (from 1) has its gradients, and has not been taken; `error` is the batch's, in percent."""
        ...

    def after_epoch(self, row: dict[str, Any]) -> None:
        """An epoch has ended with this line of metrics.jsonl; an exception from here ends the training."""
        ...


@dataclass
class Position:
    """How far training is, and the sums of the epoch under way: with weights and optimizer, all of its state.

    Where validation decides when to stop, `best_epoch` is the one with the lowest loss (0: before the first, -1: none
    yet), `bad_epochs` how many came after it, and `over` says that they were too many.
    """

    step: int = 0
    loss_sum: float = 0.0
    wrong: int = 0
    images: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0
    schedule: Progress = field(default_factory=Progress)
    best_loss: float = float("inf")
    best_epoch: int = -1
    bad_epochs: int = 0
    over: bool = False

    def begin_epoch(self) -> None:
        self.loss_sum, self.wrong, self.images, self.seconds = 0.0, 0, 0, 0.0

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Position:
        return cls(**{**state, "schedule": Progress.restore(state["schedule"])})


@dataclass
class Trainer:
    """A network on its way through a recipe. `validate` evaluates it, or is None where nothing is held out.

    criterion   by default the recipe's cross-entropy
    learning    the parts that learn, where not all do alike
    patience    epochs without a lower validation loss after which training ends, and the best epoch's weights are
                kept; 0: it goes to its end, and the last ones are kept
    prepare     what comes before the first step; gives the validation loss it leads to, or None
    """

    network: nn.Module
    recipe: Recipe
    length: Length
    batches: Stream
    validate: Callable[[], Evaluation] | None
    name_of: Callable[[int], str]
    run: Run
    reporter: Reporter
    device: torch.device
    precision: torch.dtype
    watch: Watch | None = None
    criterion: Criterion | None = None
    learning: Learning | None = None
    patience: int = 0
    prepare: Callable[[], float | None] | None = None

    def train(self) -> Position:
        """Train to the end from the run's checkpoint, or from the start where it has none.

        Stopped after a signal (state saved); Diverged when the loss is not finite (last good checkpoint kept).
        """
        optimizer = self.ready()
        at = self._resume(optimizer)
        with StopRequest() as stop, self.reporter.track("training", "steps") as update:
            batches = self.batches.from_step(at.step)
            since = saved = time.perf_counter()
            self.train_mode()
            while at.step < self.length.steps and not at.over:
                epoch = self.length.epoch_of(at.step)
                lr = learning_rate(self.recipe, at.step, self.length.steps, at.schedule)
                self.step(next(batches), optimizer, lr, at)
                now = time.perf_counter()
                at.seconds, at.total_seconds, since = (
                    at.seconds + now - since,
                    at.total_seconds + now - since,
                    now,
                )
                update(at.step, self.length.steps, self._text(epoch, at, lr))
                epoch_is_over = at.step == self.length.epoch_end(epoch)
                if epoch_is_over:
                    self._end_epoch(epoch, at, lr)
                if epoch_is_over or stop.signal_number is not None or now - saved > SAVE_SECONDS:
                    save_checkpoint(self.run.checkpoint, self.network, optimizer, asdict(at))
                    since = saved = time.perf_counter()
                if stop.signal_number is not None and at.step < self.length.steps and not at.over:
                    raise Stopped(stop.signal_number, at.step)
        if at.best_epoch >= 0:
            load_weights(self.run.best, self.network)
        return at

    def ready(self) -> torch.optim.Optimizer:
        """Put the network where and as it is trained, and give its optimizer."""
        self.network.to(self.device)
        if self.recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rates = None
        if self.learning is not None:
            self.learning.freeze(self.network)
            rates = self.learning.rates
        return make_optimizer(self.network, self.recipe.optimizer, rates)

    def train_mode(self) -> None:
        self.network.train()
        if self.learning is not None:
            self.learning.settle_modes(self.network)

    def _resume(self, optimizer: torch.optim.Optimizer) -> Position:
        at = Position()
        if self.run.checkpoint.exists():
            at = Position.restore(load_checkpoint(self.run.checkpoint, self.network, optimizer))
        elif self.prepare is not None:
            loss = self.prepare()
            if self.patience and loss is not None:
                at.best_loss, at.best_epoch = loss, 0
                save_weights(self.run.best, self.network)
            save_checkpoint(self.run.checkpoint, self.network, optimizer, asdict(at))
        self.run.forget_after(at.step)
        if self.watch is not None:
            self.watch.rewind(at.step)
        if at.step:
            self.reporter.say(f"going on after step {at.step} of {self.length.steps}")
        return at

    def step(self, batch: Batch, optimizer: torch.optim.Optimizer, lr: float, at: Position) -> None:
        """Forward, backward, update; a loss that is not finite stops before the update."""
        inputs, targets = batch.inputs.to(self.device), batch.targets.to(self.device)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits = self.network(inputs)
        mix = None
        if batch.partners is not None and batch.shares is not None:
            mix = Mix(batch.partners.to(self.device), batch.shares.to(self.device))
        criterion = self.criterion or Criterion(self.recipe.label_smoothing)
        loss = criterion(logits, targets, mix)
        value, wrong = loss.item(), int(classification.wrong(logits.detach(), targets))
        if value != value or abs(value) == float("inf"):
            names = ", ".join(shown(self.name_of(int(index))) for index in batch.indices[:8])
            more = f" and {len(batch.indices) - 8} more" if len(batch.indices) > 8 else ""
            raise Diverged(
                f"training diverged: the loss of step {at.step + 1} is {value} (learning rate {lr:.3g}; pictures "
                f"{names}{more}); the last good checkpoint was kept; use a lower learning rate (--lr)"
            )
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.watch is not None:
            self.watch.after_backward(at.step + 1, self.network, value, 100.0 * wrong / len(targets))
        optimizer.step()
        at.step, at.images = at.step + 1, at.images + len(targets)
        at.loss_sum, at.wrong = at.loss_sum + value * len(targets), at.wrong + wrong
        at.schedule.after_step(self.recipe, 100.0 * wrong / len(targets))

    def _end_epoch(self, epoch: int, at: Position, lr: float) -> None:
        """Validate, write one line of metrics, tell the person, begin the next epoch."""
        summary = None
        if self.validate is not None:
            summary = self.validate().summary()
            self.train_mode()
        train_error = 100.0 * at.wrong / at.images
        row = {
            "epoch": epoch + 1,
            "step": at.step,
            "seconds": round(at.total_seconds, 3),
            "images_per_second": round(at.images / at.seconds, 2),
            "lr": lr,
            "train_loss": at.loss_sum / at.images,
            "train_top1_error": train_error,
            "val_loss": summary["loss"] if summary else None,
            "val_top1_error": summary["top1_error"] if summary else None,
        }
        self.run.append(row)
        if self.watch is not None:
            self.watch.after_epoch(row)
        at.schedule.after_epoch(self.recipe, summary["top1_error"] if summary else train_error)
        if summary and self.patience:
            self._judge(epoch, at, summary["loss"])
        held_out = f"  val error {row['val_top1_error']:.2f}%" if summary else ""
        left = duration(at.total_seconds / at.step * (self.length.steps - at.step))
        self.reporter.say(
            f"epoch {epoch + 1}  step {at.step}/{self.length.steps}  loss {row['train_loss']:.4f}  lr {lr:.4g}"
            f"{held_out}  {row['images_per_second']:.0f} images/s  {left} left"
        )
        at.begin_epoch()

    def _judge(self, epoch: int, at: Position, loss: float) -> None:
        """Keep the weights of the best epoch so far; too many worse ones end training."""
        if loss < at.best_loss:
            at.best_loss, at.best_epoch, at.bad_epochs = loss, epoch + 1, 0
            save_weights(self.run.best, self.network)
        else:
            at.bad_epochs += 1
            at.over = at.bad_epochs >= self.patience

    def _text(self, epoch: int, at: Position, lr: float) -> str:
        if not at.images:
            return ""
        return (
            f"epoch {epoch + 1}  loss {at.loss_sum / at.images:.4f}  lr {lr:.4g}  "
            f"{at.images / max(at.seconds, 1e-9):.0f} images/s"
        )
