"""Random combinations of all axes: each builds and obeys the laws, or is refused in a helpful sentence."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from laws import STEMS, everything_holds

from residuum.errors import UserError
from residuum.plan import make_plan
from residuum.spec import AXES, NetworkSpec, Stage


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    ndim = draw(st.integers(1, 3))

    def per_dimension(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | tuple[int, ...]]:
        return st.one_of(values, st.tuples(*[values] * ndim))

    groups = draw(st.sampled_from([1] * 6 + [2, 3, 4]))
    stage = st.builds(
        Stage,
        depth=st.integers(1, 2),
        width=st.sampled_from([8, 12, 16, 32, 40]),
        stride=per_dimension(st.integers(1, 3)),
        dilation=per_dimension(st.integers(1, 2)),
    )
    axes: dict[str, Any] = {axis: draw(st.sampled_from(values)) for axis, values in AXES.items()}
    return NetworkSpec(
        stem=draw(st.sampled_from([*STEMS.values()])),
        stages=tuple(draw(st.lists(stage, min_size=1, max_size=3))),
        expansion=draw(st.integers(1, 4)),
        groups=groups,
        base_width=draw(st.sampled_from([64] * 8 + [32, 4])),
        ndim=ndim,
        channels=draw(st.integers(1, 5)),
        size=draw(per_dimension(st.integers(1, {1: 60, 2: 24, 3: 12}[ndim]))),
        classes=draw(st.integers(1, 4)),
        **axes,
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(spec=specs())
def test_it_builds_and_obeys_the_laws_or_is_refused_helpfully(spec: NetworkSpec) -> None:
    try:
        make_plan(spec)
    except UserError as error:
        event("refused")
        message = str(error)
        assert "\n" not in message
        assert any(advice in message for advice in ("use ", "choose ", "change ", "set "))
        return
    event("built")
    everything_holds(spec)
