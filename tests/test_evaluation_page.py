"""`residuum evaluate --out`: a page of its own with all that a report says of the held-out pictures, and more."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import residuum
from commands import refused, run
from residuum import artifact
from residuum.analysis.robustness import Stress
from residuum.evaluation.metrics import Evaluation
from residuum.report.judging import judged
from samples import picture_folder, tiny_model

CLASSES = ("ant", "bee", "<i>cat</i>")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose pictures belong to groups, one of them with a hostile name."""
    root = tmp_path_factory.mktemp("data")
    picture_folder(root, dict.fromkeys(("ant", "bee", "cat"), 12))
    rows = [
        f"{path.relative_to(root)},{'<i>cat</i>' if path.parent.name == 'cat' else path.parent.name},"
        f"{'<script>' if int(path.stem) % 2 else 'meadow'}"
        for path in sorted(root.rglob("*.png"))
    ]
    (root / "table.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n")
    return root / "table.csv"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model whose logits are in the thousands, and the same one calibrated."""
    folder = tmp_path_factory.mktemp("models")
    plain = tiny_model(folder / "plain.safetensors", CLASSES)
    warm = folder / "warm.safetensors"
    artifact.save(replace(artifact.load(plain), calibration={"temperature": 1500.0}), warm)
    return plain, warm


def test_the_page_shows_calibration_before_and_after_groups_and_coverage(
    models: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    outcome = run("evaluate", models[1], f"csv:{data}", "--split", "all", "--out", tmp_path / "new" / "page.html")
    assert outcome.code == 0, outcome
    assert outcome.out.endswith(f"page  {tmp_path}/new/page.html\n")
    source = (tmp_path / "new" / "page.html").read_text()
    assert re.findall(r'<section id="(\w+)"', source) == ["confusion", "classes", "groups", "mistakes", "calibration"]
    for words in (
        "Before calibration",
        "After, at temperature 1500.00",
        "Error on the surest pictures",
        "--reject-below",
    ):
        assert words in source
    assert "<script>" not in source
    assert "&lt;script&gt;" in source
    assert not re.search(r"https?://", source)


def test_the_diagram_before_is_that_of_the_model_without_its_temperature(
    models: tuple[Path, Path], data: Path
) -> None:  # fmt: skip
    plain, warm = (residuum.evaluate(model, f"csv:{data}", split="all") for model in models)

    def shown(evaluation: Evaluation) -> dict:
        return judged(evaluation, lambda index: np.zeros((8, 8, 3), np.uint8))

    before, after = shown(plain), shown(warm)
    assert after["error_before"] == pytest.approx(before["summary"]["calibration_error"], abs=1e-9)
    assert after["wrong"] == before["wrong"]
    assert ("reliability-before" in after["trust_plots"], "reliability-before" in before["trust_plots"]) == (
        True,
        False,
    )
    assert after["rejections"]
    for rejection in after["rejections"]:
        sure = warm.probabilities.max(1) >= rejection.threshold
        assert (rejection.kept, rejection.wrong) == (sure.sum(), (warm.predicted != warm.labels)[sure].sum())


def test_every_change_and_severity_is_a_cell(models: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    stressed = [Stress("none", 0, "", 36, 30, {})]
    stressed += [Stress(name, s, f"<{s}>", 36, 36 - 5 * s, {}) for name in ("fog", "pgd") for s in range(1, 5)]
    residuum.evaluate(models[0], f"csv:{data}", split="all", out=tmp_path / "page.html", stressed=stressed)
    source = (tmp_path / "page.html").read_text()
    robust = source[source.index('id="robustness"') :]
    assert re.findall(r'title="&lt;(\d)&gt;">([\d.]+)</td>', robust) == [
        (str(s), f"{100 * 5 * s / 36:.1f}") for _ in range(2) for s in range(1, 5)
    ]
    assert "16.7%" in robust


def test_a_page_needs_the_name_of_one(models: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    assert "ends in .html" in refused("evaluate", models[0], f"csv:{data}", "--out", tmp_path / "page.json")
