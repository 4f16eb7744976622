"""Random combinations of all axes: each builds and obeys the laws, or is refused in a helpful sentence."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import event, given, settings
from hypothesis import strategies as st
from laws import everything_holds
from test_axes import PARTS

from residuum.errors import UserError
from residuum.plan import make_plan
from residuum.plan.branches import Bottleneck
from residuum.spec import AXES, Head, NetworkSpec, Order, Pool, Size, Stage, Stem, StemConv, each

PARTS_OF: dict[str, list[Any]] = {
    axis: [axes[axis] for axes in PARTS.values() if not isinstance(axes.get(axis, ""), str)] for axis in AXES
}
DEFAULTS = {axis: getattr(NetworkSpec, axis) for axis in AXES}


def often(usual: Any, others: st.SearchStrategy[Any], times: int = 3) -> st.SearchStrategy[Any]:
    """The usual value so many times as often as all others: networks with everything unusual are all refused."""
    return st.integers(0, times).flatmap(lambda drawn: others if drawn == times else st.just(usual))


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    ndim = draw(st.integers(1, 3))

    axes: dict[str, Any] = {
        axis: draw(often(DEFAULTS[axis], st.sampled_from([*values, *PARTS_OF[axis]]), 2))
        for axis, values in AXES.items()
    }
    if axes["merge"] == "concat" and draw(st.integers(0, 3)):
        axes["transition"] = draw(st.sampled_from(["dense", "conv"]))
    if axes["conv"] == "factorised" and draw(st.integers(0, 3)):
        ndim = 3

    def per_dimension(values: st.SearchStrategy[int]) -> st.SearchStrategy[Size]:
        return st.one_of(values, st.tuples(*[values] * ndim))

    kernels = st.sampled_from([3, 3, 1, 2, 5])
    conv = per_dimension(kernels).flatmap(
        lambda kernel: st.builds(
            StemConv,
            width=st.sampled_from([2, 4, 6, 8]),
            kernel=st.just(kernel),
            stride=often(1, per_dimension(st.integers(1, 3))),
            padding=often(None, per_dimension(st.integers(0, min(each(kernel, ndim)) // 2))),
        )
    )
    stem = st.builds(
        Stem,
        convs=st.lists(conv, min_size=1, max_size=2).map(tuple),
        pool=often("none", st.sampled_from(get_args(Pool))),
        activate=st.sampled_from([None, None, True, False]),
    )

    def dilations(kernel: Size, usual: int | None) -> st.SearchStrategy[Any]:
        """An even kernel that is dilated has no centre: on the smallest maps it sees padding alone."""
        odd = all(k % 2 for k in each(kernel, ndim))
        return often(usual, per_dimension(st.integers(1, 2))) if odd else st.just(usual)

    branches = st.sampled_from([*AXES["branch"], *PARTS_OF["branch"]])
    stage = often(3, per_dimension(kernels), 6).flatmap(
        lambda kernel: st.builds(
            Stage,
            depth=st.integers(1, 2),
            width=st.sampled_from([1, 4, 8, 8, 16, 32]),
            stride=per_dimension(st.integers(1, 3)),
            dilation=dilations(kernel, 1),
            first_dilation=dilations(kernel, None),
            kernel=st.just(kernel),
            expansion=often(None, st.integers(1, 3)),
            branch=often(None, branches, 5),
            order=often(None, st.sampled_from(get_args(Order)), 5),
        )
    )
    bottlenecks = axes["branch"] in ("bottleneck", "res2net", Bottleneck(2))
    return NetworkSpec(
        stem=draw(stem),
        stages=tuple(draw(st.lists(stage, min_size=1, max_size=2))),
        expansion=draw(st.integers(1, 4)),
        groups=draw(often(1, st.integers(2, 4), 6)),
        base_width=draw(often(64, st.sampled_from([4, 16, 32, 128]), 1 if bottlenecks else 20)),
        bias=draw(st.booleans()),
        eps=draw(st.sampled_from([1e-5, 1e-3])),
        dropout=draw(often(0.0, st.just(0.3))),
        head=Head(draw(often((), st.tuples(conv))), draw(st.sampled_from([0.0, 0.0, 0.5]))),
        ndim=ndim,
        channels=draw(st.integers(1, 4)),
        size=draw(per_dimension(st.integers(*draw(often({1: (9, 40), 2: (7, 16), 3: (5, 9)}[ndim], st.just((1, 9))))))),
        classes=draw(st.integers(1, 4)),
        **axes,
    )


@settings(max_examples=400, deadline=None, derandomize=True)
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
    everything_holds(spec, few_units=True)
