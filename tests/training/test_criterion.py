"""Losses for classes that are not equally frequent, and for pictures that are two at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from commands import TINY, Death, refused, run, start
from residuum.tasks.classification import Criterion, Mix, balanced_weights, loss
from runs import different_tensors, metrics
from samples import picture_folder

DRAWS = torch.Generator().manual_seed(0)
LOGITS = torch.randn(40, 3, generator=DRAWS)
LABELS = torch.randint(0, 3, (40,), generator=DRAWS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_anything_it_is_the_plain_loss(smoothing: float) -> None:
    assert Criterion(smoothing)(LOGITS, LABELS) == pytest.approx(loss(LOGITS, LABELS, smoothing).item(), rel=1e-6)
    even = Criterion(smoothing, torch.ones(3))(LOGITS, LABELS)
    assert even == pytest.approx(loss(LOGITS, LABELS, smoothing).item(), rel=1e-6)


def test_weights_are_torchs() -> None:
    weights = torch.tensor([0.2, 1.0, 5.0])
    theirs = F.cross_entropy(LOGITS, LABELS, weights).item()
    assert Criterion(0.0, weights)(LOGITS, LABELS) == pytest.approx(theirs, rel=1e-6)


def test_balanced_classes_weigh_the_same_in_all() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    weights = balanced_weights(labels, 3).numpy()
    totals = [weights[label] * (labels == label).sum() for label in range(3)]
    assert totals == pytest.approx([100 / 3] * 3)


def test_focal_loss_lets_what_is_sure_count_less() -> None:
    sure, unsure = torch.tensor([[6.0, 0.0]]), torch.tensor([[0.1, 0.0]])
    label = torch.tensor([0])

    def share(gamma: float) -> float:
        of = Criterion(focal_gamma=gamma)
        return float(of(sure, label) / of(unsure, label))

    assert share(2.0) < 0.01 * share(0.0)
    p = sure.softmax(1)[0, 0]
    assert Criterion(focal_gamma=2.0)(sure, label) == pytest.approx(float(-((1 - p) ** 2) * p.log()), rel=1e-4)


def test_a_mixture_has_the_loss_of_its_shares() -> None:
    partners, shares = LABELS.roll(-1), torch.rand(40, generator=DRAWS)
    found = Criterion(0.1)(LOGITS, LABELS, Mix(partners, shares))
    each = [F.cross_entropy(LOGITS, of, label_smoothing=0.1, reduction="none") for of in (LABELS, partners)]
    assert found == pytest.approx((shares * each[0] + (1 - shares) * each[1]).mean().item(), rel=1e-6)
    whole = Criterion(0.1)(LOGITS, LABELS, Mix(partners, torch.ones(40)))
    assert whole == pytest.approx(loss(LOGITS, LABELS, 0.1).item(), rel=1e-6)


ALL = ("--set", "focal_gamma=2", "--set", "balanced_sampling=true", "--set", "mixup=0.3", "--set", "cutmix=1",
       "--set", "erasing=0.3", "--set", "rand_augment=[2,5]")  # fmt: skip


def test_a_killed_run_with_everything_on_resumes_to_the_same_weights(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 30, "bee": 6})
    command = ("train", data, *TINY, "--recipe", "debug", "--steps", "9", "--batch-size", "8", *ALL)
    assert run(*command, "--out", tmp_path / "whole").code == 0
    death = Death("replace", 4, after=True)
    assert start(tmp_path / "log", *command, "--out", tmp_path / "cut", death=death).wait() == -9
    assert run("train", "--resume", tmp_path / "cut").code == 0
    assert different_tensors(tmp_path / "whole", tmp_path / "cut") == []
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_two_remedies_for_one_ill_are_refused(tmp_path: Path) -> None:
    both = ("--set", "balanced_sampling=true", "--set", "class_weights=balanced")
    assert "choose one" in refused("train", "digits", *TINY, *both, "--out", tmp_path / "run")
    assert "focal_gamma" in refused("train", "digits", *TINY, "--set", "focal_gamma=-1", "--out", tmp_path / "run")
