"""Work for several real processes, connected by gloo as torchrun connects them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parts import digits

from commands import SLOW_IMPORTS
from residuum import catalog
from residuum.data.augment import Augment
from residuum.data.batches import TrainBatches
from residuum.data.preprocessing import Preprocessing
from residuum.nets.network import make_network
from residuum.plan import make_plan
from residuum.processes import ALONE, Processes, join, pieces_of
from residuum.spec import AnySpec
from residuum.tasks.classification import Criterion, balanced_weights
from residuum.training.engine import Engine
from residuum.training.recipe import Recipe

VIEW = Preprocessing((8, 8), 8, 1, (0.3,), (0.4,))


def in_processes(count: int, work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What `work(processes, *arguments)` gives in each of `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SLOW_IMPORTS)
    started = [
        context.Process(target=_one, args=(rank, count, port, work, folder, arguments), daemon=True)
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        assert process.exitcode == 0, process.exitcode
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def _one(rank: int, count: int, port: int, work: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    with join("cpu") as processes:
        found = work(processes, *arguments)
    torch.save(found, folder / f"{rank}.pt")


def spec(norm: str, **axes: Any) -> AnySpec:
    return catalog.spec("resnet20", depth=8, classes=10, channels=1, size=8, norm=norm, **axes)


def gradients(processes: Processes, norm: str, pieces: int, batch_size: int, **extra: Any) -> dict[str, torch.Tensor]:
    """Gradients, loss and errors of one batch, in float64, cut into so many pieces in all."""
    share = pieces_of(processes, pieces)
    augment = Augment(crop_padding=1, **extra.get("augment", {}))
    recipe = Recipe("hand", steps=1, batch_size=batch_size, precision="float32", channels_last=False)
    axes = extra.get("axes", {})
    network = make_network(make_plan(spec(norm, **axes)), generator=torch.Generator().manual_seed(0)).double()
    weights = balanced_weights(digits().labels[:1000] % 7, 10) if extra.get("weighted") else None
    engine = Engine(
        network, recipe, torch.device("cpu"), torch.float32, Criterion(0.1, weights), None, processes, share, 5
    )
    batches = TrainBatches(
        digits(), preprocessing=VIEW, augment=augment, batch_size=batch_size, seed=3, pieces=share
    ).from_step(7)
    own = [next(batches) for _ in range(share.own)]
    for batch in own:
        batch.inputs = batch.inputs.double()
    engine.connect()
    engine.train_mode()
    outcome = engine.gradients(7, own)
    found = {name: each.grad.clone() for name, each in network.named_parameters() if each.grad is not None}
    assert len(found) == len(list(network.parameters()))
    engine.share_statistics()
    return found | {"loss": torch.tensor(outcome.loss), "wrong": torch.tensor(outcome.wrong),
                    "images": torch.tensor(outcome.images)}  # fmt: skip


def alone(*arguments: Any, **extra: Any) -> dict[str, torch.Tensor]:
    return gradients(ALONE, *arguments, **extra)
