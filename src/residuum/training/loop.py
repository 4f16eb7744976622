"""The training loop: fetch, step, perhaps validate, perhaps save. Each "perhaps" is a function of the step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from torch import nn

from residuum.data.batches import Batch
from residuum.errors import UserError, shown
from residuum.evaluation.metrics import Evaluation, NotFinite
from residuum.processes import ALONE, WHOLE, Pieces, Processes
from residuum.progress import Reporter, duration
from residuum.run import Run
from residuum.tasks.classification import Criterion
from residuum.training.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from residuum.training.engine import Engine
from residuum.training.learning import Learning
from residuum.training.recipe import Length, Recipe
from residuum.training.schedule import Progress, learning_rate
from residuum.training.stop import Stopped, StopRequest

SAVE_SECONDS = 120.0
"""Longest training time between two checkpoints; there is one after every epoch too."""


class Stream(Protocol):
    """Training batches as a pure function of the step: for each step, one after the other, the own pieces."""

    def from_step(self, step: int) -> Iterator[Batch]: ...


class Diverged(UserError):
    """Training whose loss, or whose network's outputs, are not finite any more; the last checkpoint was kept."""


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
    """A network on its way through a recipe. `validate` evaluates a network, or is None where nothing is held out.

    criterion   by default the recipe's cross-entropy
    learning    the parts that learn, where not all do alike
    patience    epochs without a lower validation loss after which training ends, and the best epoch's weights are
                kept; 0: it goes to its end, and the last ones are kept
    prepare     what comes before the first step; gives the validation loss it leads to, or None
    processes   those that train together, each of which computes its `pieces` of every batch
    """

    network: nn.Module
    recipe: Recipe
    length: Length
    batches: Stream
    validate: Callable[[nn.Module], Evaluation] | None
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
    processes: Processes = ALONE
    pieces: Pieces = WHOLE
    seed: int = 0

    def train(self) -> Position:
        """Train to the end from the run's checkpoint, or from the start where it has none.

        Stopped after a signal (state saved); Diverged when loss or outputs are not finite (checkpoint kept).
        """
        engine = self.ready()
        at = self._resume(engine)
        engine.connect()
        with StopRequest(patient=self.processes.count > 1) as stop, self.reporter.track("training", "steps") as update:
            batches = self.batches.from_step(at.step)
            since = saved = time.perf_counter()
            engine.train_mode()
            while at.step < self.length.steps and not at.over:
                epoch = self.length.epoch_of(at.step)
                lr = learning_rate(self.recipe, at.step, self.length.steps, at.schedule)
                self.step(engine, list(islice(batches, self.pieces.own)), lr, at)
                now = time.perf_counter()
                at.seconds, at.total_seconds, since = (
                    at.seconds + now - since,
                    at.total_seconds + now - since,
                    now,
                )
                update(at.step, self.length.steps, self._text(epoch, at, lr))
                epoch_is_over = at.step == self.length.epoch_end(epoch)
                signal_number, save = self._agreed(stop.signal_number, now - saved > SAVE_SECONDS)
                if epoch_is_over:
                    self._end_epoch(engine, epoch, at, lr)
                if epoch_is_over or signal_number or save:
                    self._save(engine, at)
                    since = saved = time.perf_counter()
                if signal_number and at.step < self.length.steps and not at.over:
                    raise Stopped(signal_number, at.step)
        engine.finish()
        if at.best_epoch >= 0:
            load_weights(self.run.best, self.network)
        return at

    def ready(self) -> Engine:
        """The network where and as it is trained."""
        criterion = self.criterion or Criterion(self.recipe.label_smoothing)
        return Engine(
            self.network, self.recipe, self.device, self.precision, criterion, self.learning, self.processes,
            self.pieces, self.seed,
        )  # fmt: skip

    def _agreed(self, signal_number: int | None, save: bool) -> tuple[int, bool]:
        """What any process was told, all do at the same step; the first one's clock says when to save."""
        flags = torch.tensor([signal_number or 0, int(save and self.processes.first)])
        flags = self.processes.highest(flags).tolist()
        return flags[0], bool(flags[1])

    def _save(self, engine: Engine, at: Position) -> None:
        engine.share_statistics()
        if self.processes.first:
            state = asdict(at) | {"engine": engine.state()}
            save_checkpoint(self.run.checkpoint, self.network, engine.optimizer, state, engine.average)

    def _resume(self, engine: Engine) -> Position:
        at = Position()
        if self.run.checkpoint.exists():
            state = load_checkpoint(self.run.checkpoint, self.network, engine.optimizer, engine.average)
            engine.restore(state.pop("engine"))
            at = Position.restore(state)
        elif self.prepare is not None:
            with self.processes.together():
                loss = self.prepare() if self.processes.first else None
            loss = self.processes.gather(loss)[0]
            if self.patience and loss is not None:
                at.best_loss, at.best_epoch = loss, 0
                self._keep_best(engine)
            self._save(engine, at)
        self.run.forget_after(at.step)
        if self.watch is not None:
            self.watch.rewind(at.step)
        if at.step:
            self.reporter.say(f"going on after step {at.step} of {self.length.steps}")
        return at

    def step(self, engine: Engine, pieces: Sequence[Batch], lr: float, at: Position) -> None:
        """Forward, backward, update; a loss that is not finite stops before the update."""
        found = engine.gradients(at.step, pieces)
        if not found.finite:
            indices = [int(index) for piece in pieces for index in piece.indices]
            names = ", ".join(shown(self.name_of(index)) for index in indices[:8])
            more = f" and {len(indices) - 8} more" if len(indices) > 8 else ""
            raise Diverged(
                f"training diverged: the loss of step {at.step + 1} is {found.loss} (learning rate {lr:.3g}; pictures "
                f"{names}{more}); the last good checkpoint was kept; use a lower learning rate (--lr)"
            )
        if self.watch is not None:
            self.watch.after_backward(at.step + 1, self.network, found.loss, found.error)
        engine.update(lr)
        at.step, at.images = at.step + 1, at.images + found.images
        at.loss_sum, at.wrong = at.loss_sum + found.loss * found.images, at.wrong + found.wrong
        at.schedule.after_step(self.recipe, found.error)

    def _end_epoch(self, engine: Engine, epoch: int, at: Position, lr: float) -> None:
        """Validate, write one line of metrics, tell the person, begin the next epoch."""
        engine.share_statistics()
        summary = None
        if self.validate is not None:
            try:
                summary = self.validate(engine.result).summary()
            except NotFinite as error:
                raise Diverged(f"training diverged after step {at.step}. {error}") from None
            engine.train_mode()
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
            self._judge(engine, epoch, at, summary["loss"])
        held_out = f"  val error {row['val_top1_error']:.2f}%" if summary else ""
        left = duration(at.total_seconds / at.step * (self.length.steps - at.step))
        self.reporter.say(
            f"epoch {epoch + 1}  step {at.step}/{self.length.steps}  loss {row['train_loss']:.4f}  lr {lr:.4g}"
            f"{held_out}  {row['images_per_second']:.0f} images/s  {left} left"
        )
        at.begin_epoch()

    def _judge(self, engine: Engine, epoch: int, at: Position, loss: float) -> None:
        """Keep the weights of the best epoch so far; too many worse ones end training."""
        if loss < at.best_loss:
            at.best_loss, at.best_epoch, at.bad_epochs = loss, epoch + 1, 0
            self._keep_best(engine)
        else:
            at.bad_epochs += 1
            at.over = at.bad_epochs >= self.patience

    def _keep_best(self, engine: Engine) -> None:
        if self.processes.first:
            save_weights(self.run.best, engine.result)

    def _text(self, epoch: int, at: Position, lr: float) -> str:
        if not at.images:
            return ""
        return (
            f"epoch {epoch + 1}  loss {at.loss_sum / at.images:.4f}  lr {lr:.4g}  "
            f"{at.images / max(at.seconds, 1e-9):.0f} images/s"
        )
