"""Several processes, on one machine or many, that train one network together: who takes part, and what is said
between them. torchrun starts them; torch.distributed connects them (gloo on processors, NCCL on NVIDIA's GPUs)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from residuum.errors import Elsewhere, UserError

PATIENCE = timedelta(hours=2)
"""How long one process waits for another: reading a large data set may take it that long."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among all: `rank` 0..count-1, `local` its number on its machine. Rank 0 writes and speaks."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """Which of n rows, cut into `count` ranges as alike as can be, are this process's."""
        return piece(n, self.rank, self.count)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that all processes go through; what goes wrong in one of them ends it for all, and is said once."""
        error: UserError | None = None
        try:
            yield
        except UserError as raised:
            error = raised
        said = self.gather(None if error is None else str(error))
        failed = next((rank for rank, text in enumerate(said) if text is not None), None)
        if failed is None:
            return
        if self.rank == failed and error is not None:
            raise error
        raise Elsewhere(str(said[failed]))

    def gather(self, value: Value) -> list[Value]:
        """The value of every process, by rank, in all of them."""
        if self.count == 1:
            return [value]
        found: list[Value | None] = [None] * self.count
        with connected():
            dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes of a float64 tensor on the CPU."""
        if self.count > 1:
            with connected():
                dist.all_reduce(values)
        return values

    def highest(self, values: Tensor) -> Tensor:
        """The highest value over the processes of a tensor on the CPU, element by element."""
        if self.count > 1:
            with connected():
                dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def mean_(self, tensors: list[Tensor]) -> None:
        """Replace floating-point tensors by their means over the processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().double().flatten().cpu() for tensor in tensors])
        flat = self.total(flat) / self.count
        start = 0
        for tensor in tensors:
            tensor.data.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def all_rows(self, own: np.ndarray, n: int) -> np.ndarray:
        """The (n, ...) rows of which every process has its `rows(n)`."""
        if self.count == 1:
            return own
        longest = -(-n // self.count)
        padded = torch.zeros((longest, *own.shape[1:]), dtype=torch.from_numpy(own).dtype)
        padded[: len(own)] = torch.from_numpy(own)
        found = [torch.empty_like(padded) for _ in range(self.count)]
        with connected():
            dist.all_gather(found, padded)
        parts = [piece(n, rank, self.count) for rank in range(self.count)]
        return np.concatenate([f[: p.stop - p.start].numpy() for f, p in zip(found, parts, strict=True)])


ALONE = Processes()


def piece(n: int, number: int, of: int) -> slice:
    """The range `number` of n rows that are cut into `of` ranges as alike as can be."""
    return slice(number * n // of, (number + 1) * n // of)


@contextmanager
def join(device: str | None) -> Iterator[Processes]:
    """Meet the others where torchrun started this process; alone otherwise. UserError where they cannot be met."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if dist.is_initialized():  # by the program that uses the library
        yield Processes(rank, count, local)
        return
    gpu = device in (None, "auto", "cuda") and torch.cuda.is_available()
    if gpu:
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local + 1} of this machine has no GPU of its own ({torch.cuda.device_count()} there); "
                f"give torchrun --nproc-per-node {torch.cuda.device_count()}, or train with --device cpu"
            )
        torch.cuda.set_device(local)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the other processes cannot be met: {str(error).splitlines()[0]}") from None
    try:
        yield Processes(rank, count, local)
    finally:
        dist.destroy_process_group()


@contextmanager
def connected() -> Iterator[None]:
    """What needs the other processes: that one of them is gone becomes a sentence."""
    try:
        yield
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise UserError(
            "another process of this training has ended; what was saved last was kept: start all of them again with "
            "train --resume FOLDER (any number of processes)"
        ) from None


def _lost(error: RuntimeError) -> bool:
    """Whether an error is torch's for a process that cannot be reached; gloo's have no class of their own."""
    known = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in known)


@dataclass(frozen=True)
class Pieces:
    """How batches are cut for gradients: into `of` pieces, of which this process takes `own`, from `first` on.

    A piece is what a batch norm sees at once. The pieces of a batch are the same for any number of processes that
    share them, and so are its gradients, but for the order in which floating-point numbers are added.
    """

    first: int = 0
    own: int = 1
    of: int = 1

    def cuts(self, batch_size: int) -> list[slice]:
        """The rows of each own piece; UserError where there are more pieces than pictures."""
        if self.of > batch_size:
            raise UserError(
                f"a batch of {batch_size} pictures cannot be cut into {self.of} pieces; give a larger --batch-size, "
                "fewer processes or a smaller accumulate"
            )
        return [piece(batch_size, number, self.of) for number in range(self.first, self.first + self.own)]


WHOLE = Pieces()


def pieces_of(processes: Processes, of: int) -> Pieces:
    """The share of a process in batches of `of` pieces; each process takes one where they cannot be shared evenly."""
    if of % processes.count:
        of = processes.count
    own = of // processes.count
    return Pieces(processes.rank * own, own, of)
