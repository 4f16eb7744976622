"""A network as it is trained on a processor: the same modules, fewer passes over memory.

Where batch norm is followed by ReLU, or by the addition of a shortcut and ReLU, one operation does it all; 3x3
convolutions have a faster gradient. Parameters, buffers and their names are those of the network: the twin holds the
same modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from residuum.kernels import SHORTCUT, Link, chain, chains, convolve, convolves, kernels, links, normalise, normalises
from residuum.nets.blocks import Gated, Pieces, Plain, Residual, ScaleBy, SideBySide, SoftThreshold, TwoBranches
from residuum.nets.merges import Add
from residuum.nets.network import Network, steps
from residuum.training.recipe import Recipe

CONTAINERS = (Network, Residual, TwoBranches, Gated, Plain, ScaleBy, SideBySide, Pieces, SoftThreshold)
"""Modules whose forward uses their children as wholes: those may be others that do the same."""
TORCH = "torch"
"""Training by torch's operators alone."""


def pick_kernels(recipe: Recipe, device: torch.device, precision: torch.dtype) -> str:
    """By which routines a network is trained: "torch", or the compiler that made ours."""
    apply = recipe.kernels == "own" and not recipe.compile and device.type == "cpu" and precision == torch.bfloat16
    found = kernels() if apply else None
    return TORCH if found is None else found.compiler


class NormAct(nn.Module):
    """y = act(norm(x)), act ReLU or nothing."""

    def __init__(self, norm: nn.BatchNorm2d, act: nn.ReLU | None) -> None:
        super().__init__()
        self.norm, self.act = norm, act

    def forward(self, x: Tensor) -> Tensor:
        return _join(self.norm, self.act, x, None)


class Convolution(nn.Module):
    """y = conv(x)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if _watched(self.conv) else convolve(self.conv, x)


class NormAddAct(nn.Module):
    """y = relu(norm(last of branch) + shortcut(u)), u = before(x): a residual block whose branch ends in batch norm."""

    def __init__(self, block: Residual, branch: nn.Module, norm: nn.BatchNorm2d, act: nn.ReLU | None) -> None:
        super().__init__()
        self.before, self.shortcut, self.branch = quick(block.before), quick(block.shortcut), branch
        self.norm, self.act = norm, act

    def forward(self, x: Tensor) -> Tensor:
        u = self.before(x)
        return _join(self.norm, self.act, self.branch(u), self.shortcut(u))


class Entry(nn.Module):
    """A block up to its last convolution: start(u) and shortcut(u), u = before(x); and `rest`, what is left of it."""

    def __init__(self, block: Residual | Plain, link: Link) -> None:
        super().__init__()
        # parameters in the order of NormAddAct's: processes with and without tiles must agree on it
        self.before = quick(block.before)
        self.shortcut = quick(block.shortcut) if isinstance(block, Residual) else None
        self.start = _chain(_modules(block.branch)[:-2])
        self.conv, self.norm, self.act = _chain([link.conv]), link.norm, link.act

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        u = self.before(x)
        return self.start(u), None if self.shortcut is None else self.shortcut(u)

    def rest(self, start: Tensor, shortcut: Tensor | None) -> Tensor:
        return _join(self.norm, self.act, self.conv(start), shortcut)


class Chained(nn.Module):
    """Blocks one after the other whose convolutions keep size and width, as one operation.

    Of the first one, where it changes either, it has the last convolution.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        entry = None if _links(blocks[0], 0) else _entry(blocks[0])
        self.entry = entry and Entry(*entry)
        self.links = [entry[1]] if entry else []
        others = blocks[1:] if entry else blocks
        for block in others:
            self.links += _links(block, len(self.links))
        self.blocks = nn.Sequential(*map(quick, others))

    def forward(self, x: Tensor) -> Tensor:
        start, shortcut = (x, None) if self.entry is None else self.entry(x)
        watched = _watched(*(each for link in self.links for each in (link.conv, link.norm, link.act)))
        if not watched and chains(self.links, start, shortcut):
            return chain(self.links, start, shortcut)
        return self.blocks(start if self.entry is None else self.entry.rest(start, shortcut))


def _join(norm: nn.BatchNorm2d, act: nn.ReLU | None, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """act(norm(x) + shortcut), in one operation where there is one."""
    if not _watched(norm, act) and normalises(norm, x, shortcut):
        return normalise(norm, x, shortcut, act is not None)
    y = norm(x) if shortcut is None else norm(x) + shortcut
    return y if act is None else act(y)


def quick(module: nn.Module) -> nn.Module:
    """The twin of a network or of a part of it, in training mode; the module itself where nothing can be won."""
    if kernels() is None or _watched(module):
        return module
    if type(module) is nn.Sequential:
        return _chain(_modules(module))
    if type(module) is Network and not module.frugal:
        children = {
            name: child if _watched(child) else _chain(_linked(_modules(child)))
            for name, child in module.named_children()
        }
        return _twin(module, children)
    if type(module) is Residual and type(module.merge) is Add:
        found = _joined(module)
        if found is not None:
            return found
    if type(module) not in CONTAINERS:
        return module
    return _twin(module, {name: child and quick(child) for name, child in module._modules.items()})


def _twin(module: nn.Module, children: dict[str, nn.Module | None]) -> nn.Module:
    twin = copy(module)
    twin._modules = children
    twin.training = True
    return twin


def _watched(*modules: nn.Module | None) -> bool:
    """Whether hooks wait for one of the modules to be called."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
        if module is not None
    )


def _joined(block: Residual) -> NormAddAct | None:
    """A residual block with its last norm, addition and activation as one; None where it is of another kind."""
    *branch, last = _modules(block.branch) or [block]
    act, *more = _modules(block.after) or [None]
    if type(last) is not nn.BatchNorm2d or more or not (act is None or type(act) is nn.ReLU):
        return None
    return NormAddAct(block, _chain(branch), last, act)


def _linked(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """The modules, those that make a chain one after the other as one."""
    runs = list[list[nn.Module]]()
    for module in modules:
        if runs and _links(module, 0) and _entry(runs[-1][-1]):
            runs[-1].append(module)
        else:
            runs.append([module])
    return [Chained(run) if _entry(run[0]) else run[0] for run in runs]


def _links(block: nn.Module, start: int) -> list[Link]:
    """A block's convolutions, its input being activation `start` of a chain; none where it is of another kind."""
    layers, residual = _layers(block), isinstance(block, Residual)
    if not isinstance(block, Residual | Plain) or not layers or len(layers) % 3 or _modules(block.before):
        return []
    if isinstance(block, Residual) and _modules(block.shortcut):
        return []
    found = [_link(*layers[at : at + 3]) for at in range(0, len(layers), 3)]
    links = [link for link in found if link is not None]
    return [*links[:-1], replace(links[-1], joined=start if residual else None)] if len(links) == len(found) else []


def _entry(block: nn.Module) -> tuple[Residual | Plain, Link] | None:
    """A block and its last convolution; None where a chain cannot begin with that. Any block of links has it."""
    layers = _layers(block)
    link = _link(*layers[-3:]) if len(layers) >= 3 else None
    if link is None or not isinstance(block, Residual | Plain):
        return None
    return block, replace(link, joined=SHORTCUT if isinstance(block, Residual) else None)


def _layers(block: nn.Module) -> list[nn.Module]:
    """Branch and activation of a block that adds its shortcut, or has none; nothing where it is of another kind."""
    if not isinstance(block, Residual | Plain) or type(block) not in (Residual, Plain) or _watched(block):
        return []
    if isinstance(block, Residual) and type(block.merge) is not Add:
        return []
    after = _modules(block.after)
    return [*_modules(block.branch), *after] if len(after) == 1 else []


def _link(conv: nn.Module, norm: nn.Module, act: nn.Module) -> Link | None:
    if not (type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and type(act) is nn.ReLU and links(conv, norm)):
        return None
    return Link(conv, norm, act, None)


def _modules(chain: nn.Module) -> list[nn.Module]:
    return [module for _, _, module in steps(chain)] if type(chain) is nn.Sequential else [chain]


def _chain(modules: Sequence[nn.Module]) -> nn.Sequential:
    found: list[nn.Module] = []
    for step in modules:
        before = found[-1] if found else None
        if type(step) is nn.ReLU and isinstance(before, NormAct) and before.act is None:
            before.act = step
        elif type(step) is nn.BatchNorm2d:
            found.append(NormAct(step, None))
        elif type(step) is nn.Conv2d and convolves(step):
            found.append(Convolution(step))
        else:
            found.append(quick(step))
    return nn.Sequential(*found)
