"""Nearest pictures in the space of features: exact, and by what enters the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from residuum import load
from residuum.analysis.neighbours import Neighbours, features
from residuum.analysis.saliency import inputs_of
from residuum.data.manifest import Manifest
from residuum.data.sources import open_data
from residuum.errors import UserError
from residuum.inference import Model
from samples import picture_folder, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """81 pictures, so that the last batch of 64 is not full."""
    return open_data(str(picture_folder(tmp_path_factory.mktemp("data"), {"ant": 45, "bee": 45}, sides=(12, 30))))


def test_the_nearest_are_those_of_the_smallest_angle(model: Model, manifest: Manifest) -> None:
    told: list[tuple[int, int]] = []
    neighbours = Neighbours.of(model, manifest, progress=lambda done, total: told.append((done, total)))
    part = manifest.part("train")
    assert told[-1] == (len(part), len(part))
    found = features(model, inputs_of(model, [manifest.pictures.read(int(i), 3) for i in part])).double()
    for index in manifest.part("val")[:4]:
        picture = manifest.pictures.read(int(index), 3)
        wanted = features(model, inputs_of(model, [picture])).double()
        distances = 1 - F.cosine_similarity(found, wanted)
        nearest = neighbours.nearest(picture, 5)
        assert [place for place, _ in nearest] == part[torch.argsort(distances)[:5]].tolist()
        assert [distance for _, distance in nearest] == pytest.approx(sorted(distances.tolist())[:5], abs=1e-6)
    assert len(neighbours.nearest(manifest.pictures.read(0, 3), 1000)) == len(part)


def test_a_training_picture_is_its_own_nearest(model: Model, manifest: Manifest) -> None:
    neighbours = Neighbours.of(model, manifest)
    for index in manifest.part("train")[::20]:
        ((place, distance),) = neighbours.nearest(manifest.pictures.read(int(index), 3), 1)
        assert (place, distance) == (index, pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize("axes", [{}, {"order": "pre"}, {"channels": 1}], ids=str)
def test_the_classifier_makes_logits_of_the_features(axes: dict[str, Any], tmp_path: Path, manifest: Manifest) -> None:
    model = load(tiny_model(tmp_path / "m.safetensors", **axes))
    inputs = inputs_of(model, [manifest.pictures.read(i, 3) for i in range(5)])
    with torch.no_grad():
        logits = model.network(inputs)
        assert torch.allclose(model.network.get_submodule("head.fc")(features(model, inputs)), logits, rtol=1e-4)


def test_a_part_that_is_not_there(model: Model, manifest: Manifest) -> None:
    with pytest.raises(UserError, match="no test part"):
        Neighbours.of(model, manifest, "test")
