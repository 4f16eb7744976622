"""Maps of a trained network must change when its weights do; what never looked at the network is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blobs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr

from residuum import load
from residuum.analysis.saliency import METHODS
from residuum.analysis.sanity import Sanity, check, rank_correlation, with_random_weights
from residuum.importing import import_weights
from residuum.inference import Model


def checked(name: str, model: Model, pictures: list[np.ndarray]) -> Sanity:
    way = METHODS[name]
    classes = [answer["predictions"][0]["index"] for answer in model.predict(pictures, top=1)]
    return check(
        lambda other, i: way.maps(other, [pictures[i]], [classes[i]])[0],
        model,
        list(way.maps(model, pictures, classes)),
        way.comparisons,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_trained_networks_maps_pass(name: str, trained: Model) -> None:
    if METHODS[name].needs_captum:
        pytest.importorskip("captum")
    sanity = checked(name, trained, blobs.photos(6, 90)[0])
    assert sanity.passed is True
    assert len(sanity.correlations) > METHODS[name].comparisons / 2


@pytest.mark.realdata
def test_maps_of_a_network_trained_on_real_pictures_pass(realdata: Path, tmp_path: Path) -> None:
    weights = realdata / "reference" / "resnet20-12fca82f.th"
    pictures = np.load(realdata / "cifar10_lossless" / "data_batch_1_first1017.npz")["images"][:16]
    import_weights(weights, "resnet20", tmp_path / "m.safetensors")
    assert checked("grad-cam", load(tmp_path / "m.safetensors"), list(pictures)).passed is True


def test_an_edge_detector_fails(trained: Model) -> None:
    pictures = blobs.photos(6, 90)[0]
    sanity = check(lambda _, i: blobs.edges([pictures[i]])[0], trained, list(blobs.edges(pictures)), 12)
    assert sanity.passed is False
    assert sanity.mean == pytest.approx(1)


def test_a_map_that_is_mostly_edges_fails_too(trained: Model) -> None:
    """Nine parts of picture, one part of network."""
    pictures, colours, _ = blobs.photos(6, 90)

    def mixed(model: Model, i: int) -> np.ndarray:
        heat = METHODS["grad-cam"].maps(model, [pictures[i]], [colours[i]])[0]
        return 0.9 * blobs.edges([pictures[i]])[0] + 0.1 * heat

    assert check(mixed, trained, [mixed(trained, i) for i in range(6)], 12).passed is False


def test_even_maps_cannot_be_checked(trained: Model) -> None:
    sanity = check(lambda _, i: np.ones((4, 4)), trained, [np.ones((4, 4))] * 2, 5)
    assert (sanity.correlations, sanity.mean, sanity.passed) == ((), None, None)


def test_random_weights_are_another_network_of_the_same_shape(trained: Model) -> None:
    first, second, again = (with_random_weights(trained, seed) for seed in (1, 2, 1))
    ours, theirs = trained.network.state_dict(), first.network.state_dict()
    assert {name: each.shape for name, each in ours.items()} == {name: each.shape for name, each in theirs.items()}
    for name in (name for name in ours if name.endswith("conv1.weight") or name == "head.fc.weight"):
        assert not torch.equal(ours[name], theirs[name])
        assert not torch.equal(theirs[name], second.network.state_dict()[name])
        assert torch.equal(theirs[name], again.network.state_dict()[name])
    assert first.artifact.preprocessing == trained.artifact.preprocessing


SHAPE = (5, 6)
FEW = arrays.arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]))


@given(one=FEW, other=FEW)
def test_the_rank_correlation_is_spearmans(one: np.ndarray, other: np.ndarray) -> None:
    ours = rank_correlation(one, other)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert ours is None
    else:
        theirs: Any = spearmanr(one.ravel(), other.ravel())
        assert ours == pytest.approx(theirs.statistic, abs=1e-12)
