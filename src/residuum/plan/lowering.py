"""A spec lowered to layers with every integer settled: spec -> stem, stages of blocks, head. Pure arithmetic."""

from __future__ import annotations

from dataclasses import is_dataclass, replace

from residuum.config import Part
from residuum.errors import UserError
from residuum.plan.attentions import ATTENTIONS, Attention
from residuum.plan.branches import BRANCHES, Branch, ConvPlan, branch_of, convolve
from residuum.plan.builder import Builder, Defaults, Place
from residuum.plan.merges import MERGES, Merge, merge_of
from residuum.plan.nodes import Block, Leaf, NetworkPlan, flatten
from residuum.plan.norms import Norm
from residuum.plan.orders import ORDERS
from residuum.plan.shortcuts import SHORTCUTS, Shortcut, shortcut_of
from residuum.plan.transitions import TRANSITIONS, InBlock, Transition, transition_of
from residuum.plan.written import NETWORKS
from residuum.spec import AnySpec, NetworkSpec, Stem, StemConv, Written, each, field_problems


class StemPart(Part):
    """A stem that is more than a chain of convolutions: subclass as a frozen dataclass and give `lower`."""

    def lower(self, at: Builder) -> None:
        """Append everything between the pixels and the first stage."""
        raise NotImplementedError


AXIS_PARTS: dict[str, type] = {
    "branch": Branch, "shortcut": Shortcut, "merge": Merge, "transition": Transition, "attention": Attention,
    "norm": Norm, "stem": StemPart, "activation": Leaf,
}  # fmt: skip
"""The class that a part given for an axis must have; an activation is any part with parameters() and module()."""


def make_plan(spec: AnySpec) -> NetworkPlan:
    """Lower a spec; UserError names everything wrong with it, or says that its input is too small for its strides."""
    plan, found = _lower(spec)
    if found or plan is None:
        raise UserError("this network cannot be built: " + "; ".join(found))
    return plan


def problems(spec: AnySpec) -> list[str]:
    """Everything wrong with a spec, each with its field and a way out; empty when it can be built."""
    try:
        return _lower(spec)[1]
    except UserError as error:
        return [str(error)]


def check(spec: AnySpec) -> AnySpec:
    """The spec itself, or one UserError that names everything wrong with it."""
    if found := field_problems(spec) or _axis_problems(spec):
        raise UserError("this network cannot be built: " + "; ".join(found))
    return spec


def _lower(spec: AnySpec) -> tuple[NetworkPlan | None, list[str]]:
    if found := field_problems(spec) or _axis_problems(spec):
        return None, found
    if isinstance(spec, Written):
        return NETWORKS[spec.network](spec), []
    collected: list[str] = []
    try:
        plan = _lower_network(spec, collected)
    except UserError as error:
        if not collected:
            raise
        collected.append(str(error))
        plan = None
    return plan, list(dict.fromkeys(collected))


def _axis_problems(spec: AnySpec) -> list[str]:
    """Rules between axes that need no arithmetic."""
    if isinstance(spec, Written):
        known = ", ".join(NETWORKS)
        return [] if spec.network in NETWORKS else [f"network is {spec.network!r}: choose from {known}"]
    values = [(axis, getattr(spec, axis), cls) for axis, cls in AXIS_PARTS.items()]
    values += [(f"branch of stage {i}", stage.branch, Branch) for i, stage in enumerate(spec.stages, start=1)]
    found = [
        problem
        for axis, value, cls in values
        if isinstance(value, Part) and (problem := _part_problem(axis, value, cls))
    ]
    if found:
        return found
    for field, default, what in ("base_width", 64, "bottlenecks"), ("groups", 1, "basic and bottleneck branches"):
        heeded = any(field in branch_of(spec, stage).uses for stage in spec.stages)
        if getattr(spec, field) != default and not heeded:
            found.append(f"{field} is for {what}: set branch to bottleneck, or change the stages' widths")
    for index, stage in enumerate(spec.stages, start=1):
        for field, value, default in ("dilation", stage.dilation, 1), ("kernel", stage.kernel, 3):
            if each(value, spec.ndim) != (default,) * spec.ndim and field not in branch_of(spec, stage).uses:
                found.append(
                    f"{field} of stage {index} is {value}, and its branch takes no {field}: set it to {default}, or "
                    "choose another branch"
                )
    shortcut = shortcut_of(spec.shortcut)
    if merge_of(spec.merge).kind != "add" and not shortcut.connects(False):
        found.append(f"merge {spec.merge} needs a shortcut: set shortcut to B, or merge to add")
    strided = any(max(each(stage.stride, spec.ndim)) > 1 for stage in spec.stages)
    if strided and merge_of(spec.merge).kind == "concat" and isinstance(transition_of(spec.transition), InBlock):
        found.append("merge concat keeps the size of maps: set transition to dense, or the strides to 1")
    return found


def _part_problem(axis: str, part: Part, cls: type) -> str | None:
    """What is wrong with a part by itself: it must be of its axis's class, and be written to a file and read again."""
    name = type(part).__name__
    if not isinstance(part, cls):
        wanted = "with parameters(layer) and module(layer)" if cls is Leaf else f"of class {cls.__name__}"
        return f"{axis} is a {name}: use a part {wanted}"
    settings = vars(type(part)).get("__dataclass_params__")
    if settings is None or not settings.frozen:
        return f"{axis} is a {name}, which is no frozen dataclass: write @dataclass(frozen=True) above its class"
    if type(part) not in (known := named_parts()) and name in (own.__name__ for own in known):
        return f"{axis} is a {name}, as a part of Residuum's own is called: give the class another name"
    return None


def _lower_network(spec: NetworkSpec, found: list[str]) -> NetworkPlan:
    order = ORDERS[spec.order]
    defaults = Defaults(
        spec.ndim, spec.size, spec.norm, spec.activation, spec.padding, spec.bias, spec.eps
    )  # fmt: skip
    blocks = sum(stage.depth for stage in spec.stages)
    stem = Builder(defaults, spec.channels, spec.input_size(), Place("stem"), found)
    if isinstance(spec.stem, Stem):
        _add_stem(stem, spec, spec.stem)
    elif isinstance(spec.stem, StemPart):
        spec.stem.lower(stem)
    at, number, stages = stem, 0, []
    for index, stage in enumerate(spec.stages):
        place = Place("transition", stage, index, len(spec.stages), 0, number, blocks)
        at = Builder(defaults, at.channels, at.size, place, found)
        into = at.fork()
        stride = transition_of(spec.transition).lower(into, stage, each(stage.stride, spec.ndim))
        if into.nodes:
            at.append(into.chain("transition"), into.channels, into.size)
            place = replace(place, stage=replace(stage, first_dilation=None))  # what strode, or would have, is behind
        for block in range(stage.depth):
            step = stride if block == 0 else (1,) * spec.ndim
            here = replace(place, role="branch", block=block, order=number, inputs=at.channels, stride=step)
            _add_block(at, spec, here)
            number += 1
        stages.append(at.chain(f"stage{index + 1}"))
    head = Builder(defaults, at.channels, at.size, Place("head"), found)
    owed = not order.ends_activated if spec.head.activate is None else spec.head.activate
    if owed:
        if "norm" in order.first:
            head.norm()
        head.act()
    for i, conv in enumerate(spec.head.convs, start=1):
        _add_conv(head, spec, conv, i)
        head.norm(i)
        head.act(i)
    head.classifier(spec.classes, spec.head.dropout)
    return NetworkPlan(spec, stem.chain("stem"), tuple(stages), head.chain("head"))


def _add_stem(at: Builder, spec: NetworkSpec, stem: Stem) -> None:
    activate = ORDERS[spec.order].ends_activated if stem.activate is None else stem.activate
    for i, conv in enumerate(stem.convs, start=1):
        at.conv(conv.width, conv.kernel, conv.stride, number=i, padding=conv.padding)
        if activate or i < len(stem.convs):  # pre-activation blocks bring their own
            at.norm(i)
            at.act(i)
    at.pool(stem.pool, 3, 2)


def _add_conv(at: Builder, spec: NetworkSpec, conv: StemConv, number: int) -> None:
    """A convolution of the head, carried out as those of the branches are."""
    convolve(at, spec, ConvPlan(conv.width, conv.kernel, conv.stride, padding=conv.padding), number, at.place)


def _add_block(at: Builder, spec: NetworkSpec, place: Place) -> None:
    """One block y = merge(F(x), S(x)) of He et al. 2015, section 3.2, appended to the stage."""
    assert place.stage is not None
    known = len(at.problems)
    spec = replace(spec, order=place.stage.order) if place.stage.order else spec
    order, branch = ORDERS[spec.order], branch_of(spec, place.stage)
    merge, shortcut = merge_of(spec.merge), shortcut_of(spec.shortcut)
    outputs = branch.outputs(spec, place.stage, at.channels)
    concat = merge.outputs(1, 1) > 1
    strode = place.block == 0 and place.stage.first_dilation is not None  # until dilation took the stride's place
    changes = max(place.stride) > 1 or strode or (outputs != at.channels and not concat)
    connected = shortcut.connects(changes)
    projected = connected and shortcut.projects(changes)
    before = Builder(at.defaults, at.channels, at.size, place, at.problems)
    if order.shared and projected:
        # He et al. 2016, section 3: a projection takes the activated input too
        before.norm()
        before.act()
    branches = [before.fork() for _ in range(merge.branches if connected else 1)]
    for one in branches:
        branch.lower(one, spec, place, activated=bool(before.nodes))
    end = branches[0]
    beside = before.fork("shortcut")
    if connected:
        shortcut.lower(beside, before.channels if concat else outputs, place.stride, changes, spec.order)
    same = beside.size == end.size and (beside.channels == end.channels or concat)
    if connected and not same and len(at.problems) == known:
        at.problems.append(
            f"in block {place.block + 1} of stage {place.index + 1} the branch ends in {end.channels} channels of "
            f"{end.size} and the shortcut in {beside.channels} of {beside.size}: use odd kernels or padding same; in a "
            "branch from outside, let one convolution have place.stride, and outputs() say what leaves it"
        )
    if spec.dropout and not any(layer.kind == "dropout" for node in end.nodes for layer in flatten(node)):
        at.problems.append(
            f"dropout {spec.dropout} has no place in the branch of stage {place.index + 1}: set it to 0, or branch to "
            "basic or bottleneck"
        )
    gate = merge.gate(before, outputs, place.stride) if connected else None
    channels = merge.outputs(beside.channels, end.channels) if connected else end.channels
    after = Builder(at.defaults, channels, end.size, place.of("sum"), at.problems)
    after.norm()
    if "act" in order.after:
        after.act()
    names = ["branch"] if len(branches) == 1 else [f"branch{i + 1}" for i in range(len(branches))]
    node = Block(
        f"block{place.block + 1}",
        before.chain("before"),
        tuple(one.chain(name) for name, one in zip(names, branches, strict=True)),
        beside.chain("shortcut") if connected else None,
        merge.kind,
        after.chain("after"),
        merge.value(place),
        gate,
    )
    at.append(node, channels, end.size)


def named_parts() -> tuple[type[Part], ...]:
    """Every part class of the package that a value can have, for reading specs."""

    def below(cls: type[Part]) -> list[type[Part]]:
        return [cls, *(found for sub in cls.__subclasses__() for found in below(sub))]

    return tuple(cls for cls in below(Part) if cls.__module__.startswith("residuum.") and is_dataclass(cls))


NAMED = {
    "branch": BRANCHES, "shortcut": SHORTCUTS, "merge": MERGES, "transition": TRANSITIONS, "attention": ATTENTIONS,
    "order": ORDERS,
}  # fmt: skip
"""What each name of an axis stands for."""
