"""Findings about files: unreadable, blank, odd, stored in a way that deserves a look, or passed over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from residuum.data.checks.finding import Finding, LeaveOut, Member, Severity, counted
from residuum.data.checks.look import SUFFIXES, Look
from residuum.data.checks.survey import Survey
from residuum.data.decoding import as_channels
from residuum.data.oddness import MEASURES, deviations
from residuum.errors import UserError, one_line

FLAT_SPAN = 12
"""Grey levels between the darkest and the lightest hundredth of the pixels up to which a picture is blank."""
TINY_SHARE = 5
"""A shorter side so many times shorter than usual is tiny."""
TINY_SIDE = 4
LONG = 4.0
"""Longer side over shorter side from which on most of a picture is cut off by the square that a network sees."""
HUGE = 32 * 2**20
"""Pixels beyond which decoding one picture holds up training."""
ODD = 5.0
"""Deviations (`oddness.deviations`) from which on a picture is odd."""
ODDEST = 24
PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def find_unreadable(survey: Survey) -> list[Finding]:
    """Files that training cannot read."""
    members = [_member(survey, i, look) for i, look in enumerate(survey.looks) if isinstance(look, str)]
    if not members:
        return []
    return [
        Finding(
            "unreadable",
            "error",
            f"{counted(len(members), 'unreadable file')}",
            "Training leaves them out, and stops where they are more than one in a hundred. Get them again, or remove them.",
            tuple((member,) for member in members),
            tuple(LeaveOut(f"unreadable: {one_line(member.remark)}", (member.name,)) for member in members),
        )
    ]


def find_strange(survey: Survey) -> list[Finding]:
    """Pictures that are blank, or unlike the others in size, shape or looks."""
    blank = _blank(survey)
    found = []
    if blank:
        often = Counter(survey.label(i) for i in blank)
        all_of = Counter(survey.label(i) for i in survey.readable.tolist())
        found.append(
            Finding(
                "blank", "warning", f"{counted(len(blank), 'blank picture')}",
                "They show nothing but one tone. Leave them out, unless that is what a class is about.",
                tuple((_member(survey, i, ""),) for i in blank),
                tuple(
                    LeaveOut("blank", (survey.contents.names[i],), often[survey.label(i)] * 2 < all_of[survey.label(i)])
                    for i in blank
                ),
            )
        )  # fmt: skip
    short = np.array([min(look.height, look.width) for look in survey.good])
    usual = float(np.median(short))
    tiny = {
        i: f"{look.width} × {look.height}"
        for i, look in _each(survey)
        if min(look.height, look.width) < usual / TINY_SHARE or min(look.height, look.width) < TINY_SIDE < usual
    }
    ratios = np.array([max(look.height, look.width) / min(look.height, look.width) for look in survey.good])
    # where long pictures are the rule, the rule is no finding
    long = {} if np.median(ratios) >= LONG else {
        i: f"{look.width} × {look.height}"
        for (i, look), ratio in zip(_each(survey), ratios, strict=True)
        if ratio >= LONG
    }  # fmt: skip
    found += _listed(
        survey, tiny, "tiny", "warning", lambda n: f"{counted(n, 'tiny picture')}",
        f"The others have about {usual:.0f} pixels on their shorter side. Enlarged to that they show little: are they previews?",
    ) + _listed(
        survey, long, "extreme-aspect", "warning", lambda n: f"{counted(n, 'picture')} very long or very high",
        "A network sees the square in the middle; the rest is cut off. Cut them to the part that matters.",
    )  # fmt: skip
    return found + _odd(survey, {*blank, *tiny, *long})


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
    scores = deviations(np.stack([look.measures for look in survey.good]))
    scores[:, MEASURES.index("shape")] = 0  # a finding of its own
    worst = scores.max(1)
    odd = {
        int(survey.readable[place]): MEASURES[int(scores[place].argmax())]
        for place in np.argsort(-worst, kind="stable")
        if worst[place] >= ODD and int(survey.readable[place]) not in known
    }
    odd = dict(list(odd.items())[:ODDEST])
    return _listed(
        survey, odd, "odd", "warning", lambda n: f"{counted(n, 'picture')} unlike the others",
        "By brightness, contrast, colour or detail. Do they belong? A placeholder, a screenshot or a drawing among "
        "photos does not.",
        "unlike the others",
    )  # fmt: skip


def find_storage(survey: Survey) -> list[Finding]:
    """How files are stored, where it is unusual."""
    noticed: dict[str, dict[int, str]] = defaultdict(dict)
    for index, look in _each(survey) if survey.contents.bytes_of else ():
        ending = os.path.splitext(survey.contents.names[index])[1].lower()
        if look.format in SUFFIXES and ending not in SUFFIXES[look.format]:
            noticed["wrong-suffix"][index] = f"{look.format} content"
        if look.frames > 1:
            noticed["animated"][index] = f"{look.frames} frames"
        if look.mode in DEEP_MODES:
            noticed["deep"][index] = look.mode
        elif look.mode not in PLAIN_MODES:
            noticed["colour-space"][index] = look.mode
        if look.orientation != 1:
            noticed["rotated"][index] = f"EXIF orientation {look.orientation}"
        if look.transparent:
            noticed["transparent"][index] = look.mode
        if look.height * look.width > HUGE:
            noticed["huge"][index] = f"{look.width} × {look.height}"
    found = []
    for kind, (what, advice) in _STORAGE.items():
        found += _listed(survey, noticed[kind], kind, "note", what, advice)
    return found


_STORAGE: dict[str, tuple[Callable[[int], str], str]] = {
    "wrong-suffix": (
        lambda n: f"{counted(n, 'file')} with another format than the name says",
        "They are read all the same; other programs may refuse them. Rename them.",
    ),
    "animated": (
        lambda n: f"{counted(n, 'file')} with several frames or pages",
        "Only the first counts. Take the frame that shows the class, or one picture for each.",
    ),
    "colour-space": (
        lambda n: f"{counted(n, 'picture')} in another colour space than RGB or grey",
        "They become RGB without a colour profile, so that colours may be off. Convert them where colour matters.",
    ),
    "deep": (
        lambda n: f"{counted(n, 'picture')} with more than eight bits a sample",
        "16-bit samples are divided by 257; floating point is stretched from its least to its greatest value. Convert them "
        "yourself where that is not what the values mean.",
    ),
    "rotated": (
        lambda n: f"{counted(n, 'picture')} to be turned as EXIF says",
        "They are turned alike in training and prediction. Boxes or masks drawn in another program may not be.",
    ),
    "transparent": (
        lambda n: f"{counted(n, 'picture')} with transparency",
        "It is laid over white. Where only one class has it, that is a hint that the network will take.",
    ),
    "huge": (
        lambda n: f"{counted(n, 'huge picture')}",
        "Each is decoded in full in every epoch. Smaller copies train faster and no worse.",
    ),
}


def find_passed_over(survey: Survey) -> list[Finding]:
    """Files in the folder that training does not look at."""
    files = survey.contents.passed_over
    lost = [(name, why) for name, why in files if why.startswith(("a picture", "outside", "beside"))]
    others = [item for item in files if item not in set(lost)]
    found = []
    if lost:
        found.append(
            Finding(
                "picture-passed-over", "warning", f"{counted(len(lost), 'picture')} that training would not see",
                "Rename it to end in .jpg, .png, ... or move it into a class folder; else move it away.",
                tuple((Member(None, name, remark=why),) for name, why in lost),
            )
        )  # fmt: skip
    if others:
        found.append(
            Finding(
                "passed-over", "note", f"{counted(len(others), 'other file')} beside the pictures",
                "Hidden, no picture, or a link that leads nowhere new: ignored.",
                tuple((Member(None, name, remark=why),) for name, why in others),
            )
        )  # fmt: skip
    return found


def _each(survey: Survey) -> list[tuple[int, Look]]:
    return list(zip(survey.readable.tolist(), survey.good, strict=True))


def _member(survey: Survey, index: int, remark: str) -> Member:
    part = survey.contents.splits[index] or None
    return Member(index, survey.contents.names[index], survey.label(index), part, remark)


def _listed(
    survey: Survey,
    found: dict[int, str],
    kind: str,
    severity: Severity,
    title: Callable[[int], str],
    advice: str,
    unsure: str = "",
) -> list[Finding]:
    """A finding for each picture by itself; with `unsure` they are put on the list as something to look at."""
    if not found:
        return []
    members = [_member(survey, index, remark) for index, remark in found.items()]
    doubt = tuple(LeaveOut(f"{unsure}: {m.remark}", (m.name,), sure=False) for m in members) if unsure else ()
    return [Finding(kind, severity, title(len(members)), advice, tuple((member,) for member in members), doubt)]
