"""A report is one page that stands alone, escapes what it is given, and copes with what is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from residuum.errors import UserError
from residuum.evaluation.metrics import Evaluation
from residuum.report import wording, write_report

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "source", "link", "br"}
SECTIONS = ["curves", "confusion", "classes", "mistakes", "calibration"]
ALWAYS = ["excluded", "network", "recipe", "environment", "data", "time"]

RUN: dict[str, Any] = {
    "residuum": "0.1.0",
    "name": "resnet20",
    "command": "residuum train digits --model resnet20",
    "created": "2026-11-03T10:12:04Z",
    "finished": "2026-11-03T10:13:11Z",
    "status": "finished",
    "spec": {"depth": 20, "shortcut": "A", "stages": [[3, 16, 1], [3, 32, 2], [3, 64, 2]]},
    "recipe": {"epochs": 6, "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
    "data": {
        "argument": "digits",
        "digest": "sha256:9f4b1c0e",
        "classes": [str(c) for c in range(10)],
        "counts": {"train": 1257, "val": 180, "test": 360},
        "excluded": [["7/broken.png", "truncated"]],
        "notes": ["two pictures are equal"],
    },
    "environment": {"python": "3.11.9", "torch": "2.13.0", "device": "cpu"},
    "seed": 7,
    "results": {"protocol": {"split": "val"}, "images": 360, "top1_error": 100 * 14 / 360},
    "time": {"seconds": 63.2, "images_per_second": 6012.3},
}
HISTORY: list[dict[str, Any]] = [
    {
        "epoch": e,
        "lr": 0.2 / e,
        "train_loss": 2.0 / e,
        "val_loss": 1.8 / e if e % 2 else None,
        "val_top1_error": 60 / e,
    }
    for e in range(1, 7)
]
LAYERS: list[dict[str, Any]] = [
    {"name": f"conv{n}", "kind": "conv", "in": 16, "out": 16, "kernel": [3, 3], "stride": [1, 1],
     "padding": [[0, 1], [0, 1]], "groups": 1, "output": [16, 32, 32], "parameters": 2304, "macs": 2359296}
    for n in range(3)
]  # fmt: skip
TOTALS: dict[str, Any] = {
    "name": "resnet20",
    "parameters": 272_474,
    "macs": 40_813_184,
    "activation_bytes": 1_500_000,
    "batch_size": 8,
    "receptive_field": [109, 109],
    "input": [3, 32, 32],
}


@pytest.fixture(scope="module")
def digits() -> Evaluation:
    """Real probabilities of a linear classifier on scikit-learn's held-out digits."""
    data: Any = load_digits()
    train, test = slice(0, 1437), np.arange(1437, 1797)
    model = LogisticRegression(max_iter=200).fit(data.data[train] / 16, data.target[train])
    return Evaluation.from_logits(
        classes=tuple(str(c) for c in range(10)),
        names=tuple(f"{data.target[n]}/{n}.png" for n in test),
        indices=test,
        labels=data.target[test],
        logits=model.decision_function(data.data[test] / 16).astype(np.float32),
        protocol={"data": "digits", "split": "test", "view": "1-crop"},
    )


def read_digit(index: int) -> np.ndarray:
    data: Any = load_digits()
    return (data.images[index] * 15).astype(np.uint8)[:, :, None]


def guesses(K: int, N: int, **other: Any) -> Evaluation:
    generator = np.random.default_rng(1)
    arguments: dict[str, Any] = {
        "classes": tuple(f"class {c}" for c in range(K)),
        "names": tuple(f"{n}.png" for n in range(N)),
        "protocol": {},
    }
    return Evaluation.from_logits(
        indices=np.arange(N),
        labels=generator.integers(0, K, N),
        logits=generator.normal(size=(N, K)).astype(np.float32),
        **(arguments | other),
    )


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (300, 200, 3), np.uint8)


class Page(HTMLParser):
    """The parsed page; feeding it checks that every element that opens also closes, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]

    def count(self, tag: str, of_class: str) -> int:
        return sum(t == tag and of_class in (a.get("class") or "").split() for t, a in self.elements)


def report(
    folder: Path,
    evaluation: Evaluation | None,
    read: Callable[[int], np.ndarray] = noise,
    **other: Any,
) -> Page:
    arguments: dict[str, Any] = {"run": RUN, "history": [], "layers": LAYERS, "totals": TOTALS}
    return Page(write_report(folder, evaluation=evaluation, read=read, **(arguments | other)))


def test_page_shows_everything_in_order(tmp_path: Path, digits: Evaluation) -> None:
    page = report(tmp_path / "run", digits, read_digit, history=HISTORY)
    assert page.sections == SECTIONS + ALWAYS
    wrong = int((digits.predicted != digits.labels).sum())
    assert f"Wrong on {wrong} of 360 test pictures ({100 * wrong / 360:.1f}%)." in page.text
    assert f"residuum predict {tmp_path}/run/model.safetensors" in page.text
    for words in (
        *(
            "resnet20 trained on digits",
            "sha256:9f4b1c0e",
            "7/broken.png",
            "truncated",
            "two pictures are equal",
        ),
        *("optimizer.momentum", "0.9", "272,474", "1.5 MB", "batch of 8", "0/1 × 0/1", "1 min 3 s", "6,012"),
    ):
        assert words in page.text
    assert page.count("img", "thumb") == min(wrong, 24)
    assert page.count("img", "pixelated") == page.count("img", "thumb")
    assert len(page.source) < 1_500_000


def test_confusion_on_the_page_counts_every_picture(tmp_path: Path, digits: Evaluation) -> None:
    source = report(tmp_path, digits, read_digit).source
    right = sum(int(n) for n in re.findall(r'<td class="hit[^>]*>(\d+)</td>', source))
    wrong = sum(int(n) for n in re.findall(r'<td class="miss[^>]*>(\d+)</td>', source))
    assert (right, right + wrong) == (digits.correct(1), 360)


def test_plots_are_files_and_well_formed(tmp_path: Path, digits: Evaluation) -> None:
    report(tmp_path, digits, read_digit, history=HISTORY)
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["coverage.svg", "error.svg", "loss.svg", "lr.svg", "reliability.svg"]
    for name in names:
        assert ElementTree.parse(tmp_path / "plots" / name).getroot().tag.endswith("svg")


def test_page_stands_alone(tmp_path: Path, digits: Evaluation) -> None:
    """Nothing is fetched: every address is data, no style sheet imports, no script runs."""
    page = report(tmp_path, digits, read_digit, history=HISTORY)
    addresses = [a[key] for _, a in page.elements for key in ("src", "srcset", "href") if key in a]
    assert addresses
    assert all((address or "").startswith("data:image/") for address in addresses)
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert "script" not in {tag for tag, _ in page.elements}
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'")


@pytest.mark.parametrize("hostile", [EVIL, '" onerror="alert(1)', "{{ 7 * 7 }}", "two\nlines", "\udcff\u202egnp.exe"])
@pytest.mark.parametrize("K", [3, 40])
def test_names_are_shown_and_never_obeyed(tmp_path: Path, hostile: str, K: int) -> None:
    """Whatever is named by others, in every place a name can stand."""
    classes = tuple(f"{hostile}{c}" for c in range(K))
    evaluation = guesses(K, 4, classes=classes, names=(hostile,) * 4, protocol={hostile: hostile})
    run = {
        **dict.fromkeys(RUN, hostile),
        **{key: {hostile: hostile, "a": [hostile]} for key in ("spec", "recipe", "environment")},
        "data": {
            "argument": hostile,
            "classes": [hostile],
            "excluded": [[hostile, hostile]],
            "notes": [hostile],
        },
    }
    layers = [{**LAYERS[0], "name": hostile, "kind": hostile}]
    page = report(tmp_path, evaluation, run=run, layers=layers, totals={"name": hostile})
    plain = report(tmp_path, guesses(K, 4), layers=LAYERS[:1])
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    allowed = {key for _, a in plain.elements for key in a}
    assert {key for _, a in page.elements for key in a} <= allowed
    assert wording.shown(hostile) in "".join(page.words)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_encodable_line(text: str) -> None:
    line = str(wording.printable(text))
    line.encode()
    assert "\n" not in line
    assert all(character.isprintable() for character in line)


@pytest.mark.parametrize("missing", sorted(RUN))
def test_each_missing_record_leaves_a_page(tmp_path: Path, missing: str) -> None:
    page = report(tmp_path, None, run={key: value for key, value in RUN.items() if key != missing})
    assert page.sections == ["curves", *ALWAYS]


def test_nothing_but_a_folder_still_gives_a_page(tmp_path: Path) -> None:
    page = report(tmp_path, None, run={}, history=[], layers=[], totals={})
    assert "Not evaluated yet." in page.text
    assert "No epoch was finished." in page.text
    nulls = dict.fromkeys(RUN)
    assert report(tmp_path, None, run=nulls, history=[{}, {"epoch": 1}], layers=[{}], totals={}).sections


def test_without_an_evaluation_the_recorded_result_is_the_headline(tmp_path: Path) -> None:
    assert "Wrong on 14 of 360 held-out pictures (3.9%)." in report(tmp_path, None).text


def test_a_run_that_was_cut_short_says_so(tmp_path: Path) -> None:
    assert "run interrupted" in report(tmp_path, None, run=RUN | {"status": "interrupted"}).text


@pytest.mark.parametrize(("K", "N"), [(2, 1), (2, 50), (30, 60), (31, 60), (120, 500), (1000, 20)])
def test_any_number_of_classes_and_pictures(tmp_path: Path, K: int, N: int) -> None:
    page = report(tmp_path, guesses(K, N))
    assert page.sections == SECTIONS + ALWAYS
    assert (page.count("table", "matrix") == 1) == (K <= 30)
    assert len(page.source) < 2_500_000


def test_values_that_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    history = [{"epoch": e, "train_loss": value, "val_loss": None} for e, value in enumerate((1.0, float("nan")), 1)]
    page = report(tmp_path, None, history=history)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["loss.svg"]
    assert "Loss" in page.text


def test_a_network_without_mistakes_shows_its_closest_calls(tmp_path: Path) -> None:
    labels = np.arange(20) % 4
    certain = np.eye(4, dtype=np.float32)[labels] * 9
    names = tuple(f"{n}.png" for n in range(20))
    perfect = Evaluation.from_logits(tuple("abcd"), names, np.arange(20), labels, certain, {"split": "test"})
    page = report(tmp_path, perfect)
    assert "Right on all 20 test pictures." in page.text
    assert "every picture was right" in page.text
    assert page.count("img", "thumb") == 8


def test_a_picture_that_is_gone_leaves_a_tile_that_says_so(tmp_path: Path) -> None:
    def gone(index: int) -> np.ndarray:
        raise UserError(f"picture {index} is gone")

    evaluation = guesses(3, 5)
    wrong = int((evaluation.predicted != evaluation.labels).sum())
    page = report(tmp_path, evaluation, gone)
    assert page.text.count("picture not readable") == wrong > 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (20_000, 1, 3), (3, 2_000, 1), (160, 161, 3)])
def test_pictures_of_any_shape_become_small(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    page = report(tmp_path, guesses(2, 4), lambda index: np.full(shape, 90, np.uint8))
    assert page.count("img", "thumb") > 0
    assert len(page.source) < 600_000


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot make the folder .*run"):
        report(tmp_path / "run", None)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_nothing_overflows_on_a_phone(tmp_path: Path) -> None:
    """The page as wide as its frame of 390 pixels, even with names that offer no place to break."""
    long = "x" * 150
    run = RUN | {"data": {"argument": long, "digest": long, "excluded": [[long, long]], "notes": [long]}}
    evaluation = guesses(25, 60, classes=(long, *map(str, range(24))), names=(long,) * 60, protocol={long: long})
    report(tmp_path, evaluation, run=run, history=HISTORY, totals=TOTALS | {"name": long})
    (tmp_path / "frame.html").write_text(
        """<iframe src="report.html" style="width: 390px; height: 800px; border: 0"></iframe>
        <script>
        onload = () => { document.title = frames[0].document.documentElement.scrollWidth; };
        </script>"""
    )
    quiet = [
        *("--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    ]
    own = ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    dump = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", *quiet, *own, (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<title>390</title>" in dump.stdout


@pytest.mark.realdata
def test_real_photos_stay_within_the_size(tmp_path: Path, realdata: Path) -> None:
    photos = sorted((realdata / "hymenoptera").rglob("*.jpg"))[:30]
    if not photos:
        pytest.skip("no photos")
    evaluation = guesses(10, 30, names=tuple(str(path) for path in photos))
    page = report(
        tmp_path,
        evaluation,
        lambda index: np.asarray(Image.open(photos[index]).convert("RGB")),
        history=HISTORY,
    )
    assert page.count("img", "thumb") == 24
    assert len(page.source) < 1_500_000
