"""Copies: groups of pictures that show the same, and what they spoil - labels, test, validation, balance."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from residuum.data.checks.finding import Finding, LeaveOut, Member
from residuum.data.checks.groups import Groups
from residuum.data.checks.likeness import Pair, find_pairs
from residuum.data.checks.survey import Survey
from residuum.data.checks.turns import AS_IS, after, back, lies_across, words
from residuum.data.manifest import PARTS
from residuum.errors import shown

LARGE = 20
"""Near copies in one group beyond which it is rather a film, or parts before a fixed camera."""
OFTEN, MANY = 0.3, 40
"""Share and number of pictures in near copies under two classes beyond which the classes may differ in small things."""


@dataclass(frozen=True)
class Copies:
    """One group: its members with what each is to `kept`, which is the one to keep.

    `exact` says that all have the same pixels, `upright` that none is a mirror image of another or turned; `likeness`
    is the least between two that were compared.
    """

    members: tuple[Member, ...]
    kept: Member
    exact: bool
    upright: bool
    likeness: float

    @property
    def crowd(self) -> bool:
        """Whether these are too many likenesses to be copies."""
        return _is_crowd(self.members, self.exact)


def find_copies(survey: Survey, workers: int, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """The groups of copies by what they spoil, the worst first."""
    same_file, single = _same_files(survey)
    looks = [survey.look(i) for i in single]
    found = find_pairs(
        np.stack([look.miniature for look in looks]),
        np.array([(look.height, look.width) for look in looks], np.int64),
        lambda place, side: survey.contents.read(single[place], side),
        turn=not survey.contents.chiral,
        workers=workers,
        progress=progress,
    )
    pairs = [*same_file, *(_named(pair, single) for pair in found.pairs)]
    by_kind: defaultdict[str, list[Copies]] = defaultdict(list)
    for group in _grouped(survey, pairs):
        by_kind[_kind(survey, group)].append(group)
    return list(_findings(survey, by_kind, found.raised))


def _same_files(survey: Survey) -> tuple[list[Pair], list[int]]:
    """Pairs of the same bytes, and one picture of each content."""
    first: dict[bytes, int] = {}
    pairs = []
    for index in survey.readable.tolist():
        before = first.setdefault(survey.look(index).digest, index)
        if before != index:
            pairs.append(Pair(before, index, 1.0, AS_IS, (1, 0, 1, 0), True))
    return pairs, list(first.values())


def _named(pair: Pair, single: list[int]) -> Pair:
    return Pair(single[pair.first], single[pair.second], pair.likeness, pair.way, pair.warp, pair.same_pixels)


def _grouped(survey: Survey, pairs: Sequence[Pair]) -> list[Copies]:
    """All groups; of a crowd of near copies also those with the same pixels by themselves."""
    near = _joined(survey, pairs)
    crowds = [copies for copies in near if copies.crowd]
    inside = {member.index for copies in crowds for member in copies.members}
    exact = [pair for pair in pairs if pair.same_pixels and pair.first in inside]
    groups = [*near, *_joined(survey, exact)]
    return sorted(groups, key=lambda copies: (not copies.exact, -copies.likeness, copies.members[0].index))


def _joined(survey: Survey, pairs: Iterable[Pair]) -> list[Copies]:
    groups = Groups(len(survey.looks))
    beside: defaultdict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups.join(pair.first, pair.second)
        beside[pair.first].append(pair)
        beside[pair.second].append(pair)
    result = []
    for together in groups.together():
        kept = min(together, key=lambda index: _rank(survey, index))
        edges = [pair for i in together for pair in beside[i]]
        exact = all(pair.same_pixels for pair in edges)
        remarks = _remarks(survey, kept, beside)
        if len({survey.label(i) for i in together}) > 1 or _is_crowd(together, exact):
            remarks[kept] = ""  # no copy to keep: who knows which class is right, or whether these are copies
        members = tuple(
            Member(i, survey.contents.names[i], survey.label(i), _shown_part(survey, i), remarks[i])
            for i in sorted(together, key=lambda i: (i != kept, i))
        )
        upright = all(pair.way == AS_IS for pair in edges)
        result.append(Copies(members, members[0], exact, upright, min(pair.likeness for pair in edges)))
    return result


def _is_crowd(members: Sequence[object], exact: bool) -> bool:
    return not exact and len(members) > LARGE


def _rank(survey: Survey, index: int) -> tuple[int, ...]:
    """The copy to keep comes first: that of the test, so that results stay comparable; else the largest."""
    look = survey.look(index)
    return -PARTS.index(survey.part(index)), look.frames > 1, -look.height * look.width, -look.length, index


def _shown_part(survey: Survey, index: int) -> str | None:
    if any(survey.contents.splits):
        return survey.part(index)
    return "held out" if index in survey.held_out else None


def _remarks(survey: Survey, kept: int, beside: dict[int, list[Pair]]) -> dict[int, str]:
    """What each member of a group is to the one that is kept, along the pairs between them."""
    found = {kept: "to keep"}
    # member -> same pixels, the way it lies, cropped
    relation = {kept: (True, AS_IS, False)}
    queue = deque([kept])
    while queue:
        here = queue.popleft()
        for pair in beside[here]:
            there = pair.second if pair.first == here else pair.first
            if there in relation:
                continue
            same, way, cropped = relation[here]
            step = pair.way if pair.first == here else back(pair.way)
            relation[there] = (same and pair.same_pixels, after(way, step), cropped or _is_crop(pair))
            found[there] = _remark(survey, kept, there, *relation[there])
            queue.append(there)
    return found


def _is_crop(pair: Pair) -> bool:
    scale_x, shift_x, scale_y, shift_y = pair.warp
    return max(abs(scale_x - 1), abs(scale_y - 1), abs(shift_x), abs(shift_y)) > 0.03


def _remark(survey: Survey, kept: int, there: int, same: bool, way: int, cropped: bool) -> str:
    one, other = survey.look(kept), survey.look(there)
    if one.digest == other.digest:
        return "same file" if survey.contents.bytes_of else "same pixels"
    if same:
        return "same pixels"
    resized = (one.height, one.width)[:: -1 if lies_across(way) else 1] != (other.height, other.width)
    size = f"resized to {other.width} × {other.height}"
    said = [*words(way), *["cropped"] * cropped, *[size] * resized]
    return " and ".join((", ".join(said[:-1]), said[-1]) if len(said) > 1 else said) or "nearly the same"


def _kind(survey: Survey, copies: Copies) -> str:
    if copies.crowd:
        return "look-alike"
    places = [member.index for member in copies.members if member.index is not None]
    if len({member.label for member in copies.members}) > 1:
        return "label-conflict"
    if len({survey.part(index) for index in places}) > 1:
        return "leakage"
    if len({index in survey.held_out for index in places}) > 1:
        return "validation-leakage"
    return "duplicate" if copies.exact else "near-duplicate"


def _findings(survey: Survey, by_kind: dict[str, list[Copies]], raised: bool) -> Iterable[Finding]:
    for kind, groups in by_kind.items():
        near = sum(len(group.members) for group in groups if not group.exact)
        doubtful = kind == "label-conflict" and near > max(MANY, OFTEN * len(survey.readable))
        cautions = [
            "So many likenesses across classes may mean that the classes differ in small things: only copies with "
            "the same pixels are put on the list of files to leave out."
        ] * doubtful
        if kind == "label-conflict" and not all(group.upright for group in groups):
            cautions.append(
                "Some are mirror images or turned. Where that makes them another class, as of arrows, they are no "
                "copies, and training must not mirror them: --set augment.mirror=false. The list has them in comments."
            )
        if raised and near:
            cautions.append("The pictures of this set are much alike, so only the closest are called copies.")
        yield Finding(
            kind,
            len(groups),
            caution=" ".join(cautions),
            groups=tuple(group.members for group in groups),
            leave_out=tuple(_leave_out(kind, group, doubtful) for group in groups if not group.crowd),
        )


def _leave_out(kind: str, copies: Copies, doubtful: bool) -> LeaveOut:
    """All copies where their classes disagree, else all but the one to keep."""
    sure = copies.exact or (not doubtful and (copies.upright or kind != "label-conflict"))
    if kind == "label-conflict":
        labels = ", ".join(sorted({shown(member.label) for member in copies.members}))
        return LeaveOut(f"label conflict: the same picture under {labels}", _names(copies.members), sure)
    of = "same pixels as" if copies.exact else "near copy of"
    kept, part = shown(copies.kept.name), f" in {copies.kept.part}" if kind == "leakage" else ""
    return LeaveOut(f"{of} {kept}{part}, which stays", _names(copies.members[1:]), sure)


def _names(members: tuple[Member, ...]) -> tuple[str, ...]:
    return tuple(member.name for member in members)
