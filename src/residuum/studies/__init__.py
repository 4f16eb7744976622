"""Studies: the paper's tables and figures as experiments that anyone can run, stop, and go on with another day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from residuum.errors import UserError, nearest, shown
from residuum.files import make_folder
from residuum.progress import Reporter
from residuum.studies import degradation, depth, gradients, identity, protocols, replay, responses, shortcuts
from residuum.studies.budget import parse_budget
from residuum.studies.findings import Findings
from residuum.studies.request import Request
from residuum.studies.running import Place

__all__ = ["STUDIES", "Findings", "study"]


@dataclass(frozen=True)
class Study:
    """An experiment: how it is carried out, the options it takes besides --out, and their defaults."""

    conduct: Callable[[Request], Findings]
    options: frozenset[str]
    seeds: int = 2
    depths: tuple[int, ...] = ()


_TRAINING = frozenset({"data", "budget", "seeds", "runs", "settings", "val"})
STUDIES: dict[str, Study] = {
    "degradation": Study(degradation.conduct, _TRAINING | {"depths"}, depths=degradation.DEPTHS),
    "shortcuts": Study(shortcuts.conduct, _TRAINING | {"depths"}, depths=(20,)),
    "responses": Study(responses.conduct, _TRAINING | {"depths", "models"}, depths=(20, 56)),
    "gradients": Study(gradients.conduct, _TRAINING | {"depths"}, seeds=1, depths=(56,)),
    "identity": Study(identity.conduct, frozenset({"seeds"}), seeds=5),
    "depth": Study(depth.conduct, _TRAINING | {"depths"}, seeds=1, depths=depth.DEPTHS),
    "protocols": Study(protocols.conduct, _TRAINING | {"depths", "models"}, seeds=3, depths=(20,)),
    "replay": Study(replay.conduct, _TRAINING | {"depths"}, depths=(20,)),
}


def study(
    name: str,
    *,
    data: str | Path | None = None,
    budget: str | None = None,
    seeds: int | None = None,
    depths: Sequence[int] | None = None,
    models: Sequence[str | Path] | None = None,
    settings: Sequence[str] | None = None,
    val: float | None = None,
    out: str | Path | None = None,
    runs: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Findings:
    """Carry out a study of the paper and write its page (study.html, study.md, plots/) into `out`.

    What is finished already is not done again: runs leave records in `runs` (out/runs by default), which may also come
    from elsewhere. Raises UserError for bad input, `residuum.training.stop.Stopped` after a signal (all is kept).
    """
    if name not in STUDIES:
        raise UserError(f"unknown study {shown(name)}; {nearest(name, STUDIES)}")
    chosen = STUDIES[name]
    given = {"data": data, "budget": budget, "seeds": seeds, "depths": depths, "models": models, "settings": settings,
             "val": val, "runs": runs}  # fmt: skip
    unread = [option for option, value in given.items() if value is not None and option not in chosen.options]
    if unread:
        raise UserError(f"the study {name} takes no {', '.join('--' + _FLAGS.get(o, o) for o in unread)}; leave it out")
    if seeds is not None and not 1 <= seeds <= 100:
        raise UserError(f"--seeds is the number of runs of each network, from 1 to 100, not {seeds}")
    place = Path(out) if out is not None else Path("studies") / name
    request = Request(
        study=name,
        data=str(data or "digits"),
        budget=parse_budget(budget or "10m"),
        seeds=seeds or chosen.seeds,
        depths=tuple(sorted(set(depths or chosen.depths))),
        models=tuple(Path(model) for model in models or ()),
        settings=tuple(settings or ()),
        val=val,
        place=Place(place, Path(runs) if runs is not None else place / "runs"),
        reporter=reporter or Reporter(),
    )
    # hours later would be too late to say so
    make_folder(request.place.out)
    if "runs" in chosen.options:
        make_folder(request.place.runs, "--out" if runs is None else "--runs")
    findings = chosen.conduct(request)
    findings.write(place)
    return findings


_FLAGS = {"settings": "set"}
