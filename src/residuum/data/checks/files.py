"""Findings about files: unreadable, blank, odd, stored in a way that deserves a look, or passed over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from residuum.data.checks.contents import MISPLACED
from residuum.data.checks.finding import Finding, LeaveOut, Member, each_alone
from residuum.data.checks.look import SUFFIXES, Look
from residuum.data.checks.survey import Survey
from residuum.data.decoding import as_channels
from residuum.data.oddness import MEASURES, deviations
from residuum.errors import UserError, one_line

FLAT_SPAN = 8
"""Grey levels between the darkest and the lightest hundredth of the pixels up to which a picture is blank."""
TINY_SHARE = 5
"""A shorter side so many times shorter than usual is tiny."""
TINY_SIDE = 4
LONG = 4.0
"""Longer side over shorter side from which on most of a picture is cut off by the square that a network sees."""
HUGE = 32 * 2**20
"""Pixels beyond which decoding one picture holds up training."""
ODD = 6.0
"""Deviations (`oddness.deviations`) from which on a picture is odd."""
ODDEST = 24
ENOUGH = 30
"""Pictures of a class from which on they are compared with each other only, since classes may look different."""
PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def find_unreadable(survey: Survey) -> list[Finding]:
    """Files that training cannot read."""
    members = [survey.member(i, look) for i, look in enumerate(survey.looks) if isinstance(look, str)]
    listed = tuple(LeaveOut(f"unreadable: {one_line(member.remark)}", (member.name,)) for member in members)
    return each_alone("unreadable", members, listed)


def find_strange(survey: Survey) -> list[Finding]:
    """Pictures that are blank, or unlike the others in size, shape or looks."""
    blank = _blank(survey)
    often, all_of = Counter(survey.label(i) for i in blank), Counter(survey.label(i) for i in survey.readable.tolist())
    shorter = {i: min(look.height, look.width) for i, look in _each(survey)}
    usual = float(np.median(list(shorter.values())))
    tiny = [i for i, side in shorter.items() if side < usual / TINY_SHARE or side < TINY_SIDE <= usual]
    ratio = {i: max(look.height, look.width) / shorter[i] for i, look in _each(survey)}
    # where long pictures are the rule, the rule is no finding
    long = [i for i in ratio if ratio[i] >= LONG] if np.median(list(ratio.values())) < LONG else []
    return [
        *each_alone(
            "blank",
            (survey.member(i) for i in blank),
            # a class may be about nothing
            tuple(
                LeaveOut("blank", (survey.contents.names[i],), 2 * often[c] < all_of[c])
                for i in blank
                for c in [survey.label(i)]
            ),
        ),
        *each_alone("tiny", (survey.member(i, _size(survey.look(i))) for i in tiny)),
        *each_alone("extreme-aspect", (survey.member(i, _size(survey.look(i))) for i in long)),
        *_odd(survey, {*blank, *tiny, *long}),
    ]


def _blank(survey: Survey) -> list[int]:
    """What looks flat in miniature is looked at in full."""
    found = []
    for index, look in _each(survey):
        if look.span > FLAT_SPAN:
            continue
        try:
            grey = as_channels(survey.contents.read(index, None), 1)
        except UserError:
            continue
        if np.subtract(*np.percentile(grey, (99, 1))) <= FLAT_SPAN:
            found.append(index)
    return found


def _odd(survey: Survey, known: set[int]) -> list[Finding]:
    """Those least like the others by simple measures, the oddest first."""
    table = np.stack([look.measures for look in survey.good])
    labels = survey.contents.labels[survey.readable]
    scores = deviations(table)
    for label in np.unique(labels):
        own = labels == label
        if own.sum() >= ENOUGH:
            scores[own] = deviations(table[own])
    scores[:, MEASURES.index("shape")] = 0  # a finding of its own
    worst = scores.max(1)
    order = np.argsort(-worst, kind="stable")
    places = [place for place in order if worst[place] >= ODD and int(survey.readable[place]) not in known][:ODDEST]
    members = [survey.member(int(survey.readable[p]), MEASURES[int(scores[p].argmax())]) for p in places]
    doubts = tuple(LeaveOut(f"unlike the others: {m.remark}", (m.name,), sure=False) for m in members)
    return each_alone("odd", members, doubts)


def find_storage(survey: Survey) -> list[Finding]:
    """How files are stored, where it is unusual."""
    noticed: defaultdict[str, list[Member]] = defaultdict(list)
    for index, look in _each(survey) if survey.contents.bytes_of else ():
        for kind, remark in _unusual(look, survey.contents.names[index]):
            noticed[kind].append(survey.member(index, remark))
    return [finding for kind, members in noticed.items() for finding in each_alone(kind, members)]


def _unusual(look: Look, name: str) -> Iterator[tuple[str, str]]:
    if look.format in SUFFIXES and os.path.splitext(name)[1].lower() not in SUFFIXES[look.format]:
        yield "wrong-suffix", f"{look.format} content"
    if look.frames > 1:
        yield "animated", f"{look.frames} frames"
    if look.mode in DEEP_MODES:
        yield "deep", look.mode
    elif look.mode not in PLAIN_MODES:
        yield "colour-space", look.mode
    if look.orientation != 1:
        yield "rotated", f"EXIF orientation {look.orientation}"
    if look.transparent:
        yield "transparent", look.mode
    if look.height * look.width > HUGE:
        yield "huge", _size(look)


def find_passed_over(survey: Survey) -> list[Finding]:
    """Files in the folder that training does not look at."""
    pictures, others = [], []
    for name, why in survey.contents.passed_over:
        (pictures if why in MISPLACED else others).append(Member(None, name, remark=why))
    return [*each_alone("picture-passed-over", pictures), *each_alone("passed-over", others)]


def _size(look: Look) -> str:
    return f"{look.width} × {look.height}"


def _each(survey: Survey) -> list[tuple[int, Look]]:
    return list(zip(survey.readable.tolist(), survey.good, strict=True))
