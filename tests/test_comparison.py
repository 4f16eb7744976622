"""Comparing runs: what may be ranked together is, what may not is told apart, and no run is dropped or touched."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest

import residuum
from commands import TINY, refused, run
from residuum.comparison import compare
from residuum.comparison.uncertainty import Count, places, told_apart
from residuum.errors import UserError, shown
from runs import metrics, record
from test_report import EVIL, Page

DEBUG = ("--recipe", "debug", "--steps", "6")


def train(out: Path, *arguments: object) -> Path:
    outcome = run("train", "digits", *TINY, *DEBUG, *arguments, "--out", out)
    assert outcome.code in (0, 2), outcome
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on digits: two seeds of one network, its plain twin, one with other held-out pictures, one diverged."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(folder / f"seed{seed}", "--seed", seed)
    train(folder / "plain", "--shortcut", "none")
    train(folder / "held-out", "--val", "0.3")
    train(folder / "diverged", "--lr", "1e6")
    for split in ("val", "test"):
        document = run("evaluate", folder / "seed0" / "model.safetensors", "digits", "--split", split, "--json").out
        (folder / f"{split}.json").write_text(document)
    return folder


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A finished run to be spoilt."""
    return Path(shutil.copytree(place / "seed0", tmp_path / "copy"))


def changed(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A JSON document with something changed in it."""
    document = json.loads(source.read_text())
    change(document)
    target.write_text(json.dumps(document))
    return target


counts = st.integers(1, 400).flatmap(lambda n: st.builds(Count, st.integers(0, n), st.just(n)))


@given(counts)
def test_the_interval_is_wilsons(count: Count) -> None:
    theirs = binomtest(count.wrong, count.images).proportion_ci(0.95, method="wilson")
    assert count.interval() == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    low, high = count.interval()
    assert 0 <= low <= count.share <= high <= 1


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """The worked example of Newcombe 1998, table II, method 10: 56 of 70 against 48 of 80."""
    assert Count(56, 70).minus(Count(48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(counts, counts)
def test_being_told_apart_is_mutual_and_never_of_equals(one: Count, other: Count) -> None:
    low, high = one.minus(other)
    assert other.minus(one) == pytest.approx((-high, -low))
    assert told_apart(one, other) == told_apart(other, one) == (low > 0 or high < 0)
    assert not told_apart(one, Count(one.wrong, one.images))
    assume(told_apart(one, other))
    assert (one.share < other.share) == one.surely_below(other)


@given(st.integers(2, 300), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_places_hold_the_order_of_the_errors(images: int, shares: list[float]) -> None:
    these = sorted((Count(round(share * images), images) for share in shares), key=lambda count: count.share)
    for place, (first, last) in enumerate(places(these), 1):
        assert 1 <= first <= place <= last <= len(these)
    assert places([these[0]] * 3) == [(1, 3)] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["protocol"].update(name="ten-crop"),
        lambda d: d["protocol"].update(split="val"),
        lambda d: d["protocol"].update(data_digest="0" * 64),
        lambda d: d["protocol"]["view"].update(resize=18),
        lambda d: d["protocol"].update(precision="bfloat16"),
        lambda d: d["protocol"].update(backend="onnxruntime"),
        lambda d: d["protocol"].update(average="logits"),
        lambda d: d["protocol"].update(ensemble=[{"name": "a", "view": d["protocol"]["view"]}] * 2),
        lambda d: d["protocol"].update({"a field of a later version": 1}),
        lambda d: d.update(images=d["images"] + 1),
    ],
)
def test_numbers_of_different_protocols_are_not_ranked_together(
    change: Callable[[dict[str, Any]], object], place: Path, tmp_path: Path
) -> None:
    same, other = place / "test.json", changed(place / "test.json", tmp_path / "other.json", change)
    apart = compare([same, other])
    assert [len(table.rows) for table in apart.tables] == [1, 1]
    assert any("are not ranked together" in note for note in apart.notes)
    titles = [line for line in run("compare", same, other).out.splitlines() if "digits, split" in line]
    assert len(set(titles)) == 2
    (together,) = compare([same, other], across_protocols=True).tables
    assert sorted(together.protocol(row.result) for row in together.rows) == [0, 1]
    assert together.alike() == []  # these are not the same measurement, however close
    for figure in ("error", "loss", "calibration-error"):
        message = refused("compare", same, other, "--sort", figure)
        assert "2 protocols (" in message
        assert "--across-protocols" in message
        assert run("compare", same, other, "--sort", figure, "--across-protocols").code == 0
    assert run("compare", same, other, "--sort", "parameters").code == 0


def test_where_the_data_lie_and_who_the_members_are_is_no_protocol(place: Path, tmp_path: Path) -> None:
    moved = changed(place / "test.json", tmp_path / "moved.json", lambda d: d["protocol"].update(data="/elsewhere"))
    assert len(compare([place / "test.json", moved]).tables) == 1

    def pair(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda d: d["protocol"].update(
            ensemble=[{"name": name, "digest": name, "view": d["protocol"]["view"]}, {"view": d["protocol"]["view"]}]
        )

    pairs = [changed(place / "test.json", tmp_path / f"{name}.json", pair(name)) for name in "ab"]
    assert len(compare(pairs).tables) == 1
    assert len(compare([*pairs, place / "test.json"]).tables) == 2


def test_networks_of_other_classes_are_never_ranked_together(place: Path, tmp_path: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["per_class"][0]["class"] = "zero"

    other = changed(place / "test.json", tmp_path / "other.json", rename)
    compared = compare([place / "test.json", other], across_protocols=True)
    assert len(compared.tables) == 2
    assert any("not comparable" in note for note in compared.notes)
    assert "classes" in refused("compare", place / "test.json", other, "--sort", "loss")


def test_every_run_is_compared_under_the_protocol_that_most_share(place: Path) -> None:
    runs = [place / "seed0", place / "seed1"]
    (table,) = compare(runs).tables
    assert {row.result.split for row in table.rows} == {"test"}
    (table,) = compare([*runs, place / "val.json"]).tables
    assert {row.result.split for row in table.rows} == {"val"}
    assert "not told apart by these 180 pictures" in " ".join(compare([place / "seed0", place / "val.json"]).notes)


def test_held_out_pictures_of_another_number_are_other_pictures(place: Path, tmp_path: Path) -> None:
    """All have one protocol and one digest, and yet were not judged on the same pictures."""
    both = [shutil.copytree(place / name, tmp_path / name) for name in ("seed0", "held-out")]
    for folder in both:
        changed(folder / "run.json", folder / "run.json", lambda d: d["all_results"].pop("test"))
    assert [len(table.rows) for table in compare(both).tables] == [1, 1]


def test_a_run_and_its_model_file_say_the_same(place: Path) -> None:
    (table,) = compare([place / "seed0", place / "seed0" / "model.safetensors", place / "test.json"]).tables
    figures = {(r.result.error, r.result.loss, r.result.calibration_error) for r in table.rows[:2]}
    assert len(figures) == 1
    of_run, of_model, _ = sorted(table.rows, key=lambda row: ("run", "model", "evaluation").index(row.entry.kind))
    for field in ("parameters", "macs", "epochs", "steps", "seconds", "images_per_second", "seed", "settings"):
        assert getattr(of_run.entry, field) == getattr(of_model.entry, field) is not None
    network = residuum.load(place / "seed0" / "model.safetensors").network
    assert of_run.entry.parameters == sum(p.numel() for p in network.parameters())
    assert table.groups == ()  # one seed, twice, is no sample
    assert len(compare([place / "seed0", place / "seed1" / ".." / "seed0"]).entries) == 1


def test_runs_that_differ_in_their_seed_alone_are_taken_together(place: Path, tmp_path: Path) -> None:
    again = shutil.copytree(place / "seed0", tmp_path / "again")
    compared = compare([place / "seed0", place / "seed1", place / "plain", place / "held-out", again])
    (group,) = [group for table in compared.tables for group in table.groups]
    assert group.seeds == (0, 1)
    results = [record(place / f"seed{seed}")["results"] for seed in (0, 1)]
    for figure, key in ((group.error, "top1_error"), (group.loss, "loss"), (group.calibration_error, None)):
        values = [result[key or "calibration_error"] for result in results]
        assert figure is not None
        assert figure.mean == pytest.approx(statistics.mean(values))
        assert figure.sd == pytest.approx(statistics.stdev(values))
    assert any("same seed" in note for note in compared.notes)


def test_only_what_differs_is_shown_of_the_settings(place: Path) -> None:
    fields = dict(compare([place / "seed0", place / "plain"]).differences.fields)
    assert fields == {"spec.shortcut": ("A", "none")}
    assert compare([place / "seed0", place / "seed1"]).differences.fields == ()
    fields = dict(compare([place / "seed0", place / "held-out"]).differences.fields)
    assert fields["data.val"] == ("–", "0.3")
    assert not any(name.startswith(("spec.", "recipe.")) for name in fields)


def test_namesakes_are_told_by_their_folders(place: Path, tmp_path: Path) -> None:
    for name in ("a/run", "b/run"):
        shutil.copytree(place / "seed0", tmp_path / name)
    labels = compare([tmp_path / "a" / "run", tmp_path / "b" / "run", place / "seed1", place / "test.json"]).labels
    assert labels == (
        "resnet20 of 8 layers (a/run)",
        "resnet20 of 8 layers (b/run)",
        "resnet20 of 8 layers (seed1)",
        "test",
    )


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _facts(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda folder: changed(folder / "run.json", folder / "run.json", change)


def _status(folder: Path, status: str) -> None:
    def unfinished(facts: dict[str, Any]) -> None:
        facts["status"] = status
        for key in ("results", "all_results", "time", "finished"):
            del facts[key]

    _facts(unfinished)(folder)


@pytest.mark.parametrize("has_model", [True, False])
@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda f: _status(f, "running"), "running"),
        (lambda f: _status(f, "stopped"), "stopped"),
        (lambda f: _status(f, "failed"), "failed"),
        (lambda f: _truncate(f / "run.json"), "damaged"),
        (lambda f: (f / "run.json").unlink(), "damaged"),
        (lambda f: (f / "run.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
        (lambda f: (f / "run.json").write_text("[1, 2]"), "damaged"),
        (lambda f: _status(f, "asleep"), "damaged"),
        (_facts(lambda d: d["all_results"]["test"].update(images=0)), "damaged"),
        (_facts(lambda d: d["all_results"]["test"].update(loss=math.nan)), "damaged"),
        (lambda f: (f / "metrics.jsonl").write_bytes(b"\xff\n5\n"), "finished"),
        (lambda f: (f / "metrics.jsonl").write_text('5\n{"epoch": "x", "val_top1_error": NaN}\n'), "finished"),
        (_facts(lambda d: d.update(spec="?", length=[], time=3)), "finished"),
    ],
)  # fmt: skip
def test_no_run_is_dropped_whatever_became_of_it(
    spoil: Callable[[Path], object], status: str, has_model: bool, place: Path, copy: Path, tmp_path: Path
) -> None:
    spoil(copy)
    if not has_model:
        (copy / "model.safetensors").unlink()
    document = json.loads(run("compare", place / "seed1", copy, "--json").out)
    rows = [row for table in document["tables"] for row in table["rows"]] + document["unranked"]
    (row,) = [row for row in rows if row["source"] == str(copy)]
    assert row["status"] == status
    if status == "damaged":
        assert row["problem"]
        assert ("top1_error" in row) == has_model  # a model file checks its own hash: what it says holds
    outcome = run("compare", place / "seed1", copy, "--out", tmp_path / "page.html")
    assert outcome.code == 0
    for text in (outcome.out, Page(tmp_path / "page.html").text):
        assert row["label"] in text
        assert status in text or status == "finished"


def test_a_diverged_run_is_shown_as_diverged(place: Path) -> None:
    compared = compare([place / "diverged", place / "seed0"])
    ((_, entry),) = compared.unranked
    assert (entry.status, entry.planned_steps) == ("diverged", 6)
    assert "diverged" in run("compare", place / "diverged").out


def test_an_unfinished_run_shows_its_last_epoch(place: Path, copy: Path) -> None:
    _status(copy, "stopped")
    ((_, entry),) = compare([copy]).unranked
    last = metrics(copy)[-1]
    assert (entry.epochs, entry.steps) == (last["epoch"], last["step"])
    assert f"{last['val_top1_error']:.1f}% of 180" in run("compare", copy).out


def test_a_spoilt_model_file_is_shown_and_foreign_ones_are_refused(place: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    content = bytearray((place / "seed0" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    ((_, entry),) = compare([model, place / "seed1"]).unranked
    assert entry.status == "unreadable"
    assert "SHA-256" in (entry.problem or "")


def test_reading_touches_nothing(place: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "checkpoints" / ".last.safetensors.half").write_text("a checkpoint that is being written")

    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(copy.rglob("*"))}

    before = state()
    compare([copy, place / "seed1"])
    run("compare", copy, place / "seed1", "--out", tmp_path / "page.html")
    assert state() == before


def test_the_command_and_the_function_agree_and_a_single_run_will_do(place: Path) -> None:
    outcome = run("compare", place / "seed0", place / "plain", place / "diverged", "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out, parse_constant=lambda word: pytest.fail(word))
    function = residuum.compare(place / "seed0", place / "plain", place / "diverged")
    assert document == json.loads(json.dumps(function.to_dict()))
    alone = json.loads(run("compare", place / "seed0", "--json").out)
    assert [row["places"] for table in alone["tables"] for row in table["rows"]] == [[1, 1]]
    assert alone["notes"] == []


@pytest.mark.parametrize(
    ("figure", "key", "sign"),
    [("error", "top1_error", 1), ("loss", "loss", 1), ("images-per-second", "images_per_second", -1),
     ("time", "seconds", 1)],
)  # fmt: skip
def test_sorting(figure: str, key: str, sign: int, place: Path) -> None:
    runs = [place / name for name in ("seed0", "seed1", "plain", "held-out")]
    (table,) = json.loads(run("compare", *runs, "--sort", figure, "--json").out)["tables"]
    values = [sign * row[key] for row in table["rows"]]
    assert values == sorted(values)


def test_bad_input_is_one_sentence(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "half.json").write_text('{"protocol": {')
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "nothing").write_bytes(b"")
    few = changed(place / "test.json", tmp_path / "few.json", lambda d: d.pop("correct_top1"))
    many = changed(place / "test.json", tmp_path / "many.json", lambda d: d.update(correct_top1=10_000))
    for argument, words in (
        (tmp_path / "gone", "there is no"),
        (tmp_path / "empty", "not a run directory"),
        (place, "residuum compare"),
        *((tmp_path / name, "neither") for name in ("text.txt", "half.json", "other.json", "deep.json", "nothing")),
        (place / "seed0" / "run.json", "neither"),
        (few, "correct_top1"),
        (many, "10000"),
    ):
        message = refused("compare", place / "seed0", argument)
        assert words in message
        assert str(argument) in message
    assert '"error"' in refused("compare", place / "seed0", "--sort", "eror")
    with pytest.raises(UserError, match="nothing to compare"):
        compare([])
    for out in (place / "seed0" / "model.safetensors", place / "test.json", tmp_path / "empty"):
        before = out.stat().st_mtime_ns
        assert ".html" in refused("compare", place / "seed0", "--out", out)
        assert out.stat().st_mtime_ns == before


def test_the_page_stands_alone_and_shows_what_the_terminal_shows(place: Path, tmp_path: Path) -> None:
    names = ("seed0", "seed1", "plain", "diverged")
    page_path = tmp_path / "new" / "page.html"
    outcome = run("compare", *(place / name for name in names), "--out", page_path)
    page = Page(page_path)
    addresses = [a[key] or "" for _, a in page.elements for key in ("src", "srcset", "href") if key in a]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert "script" not in {tag for tag, _ in page.elements}
    for words in (
        "spec.shortcut",
        "resnet20 of 8 layers (seed0)",
        "95% interval",
        "Over seeds",
        "Without a result",
        "diverged",
    ):
        assert words in page.text
    for line in outcome.out.splitlines():
        if "of 359" in line:
            cells = [cell for cell in line.split("  ") if cell.strip()]
            assert all(cell.strip() in page.text for cell in cells)
    assert len(page.source) < 1_000_000


@pytest.mark.parametrize("hostile", [EVIL, '" onerror="alert(1)', "{{ 7 * 7 }}", "[red]two\nlines[/]", "\u202egnp.exe"])
def test_names_are_shown_and_never_obeyed(hostile: str, place: Path, copy: Path, tmp_path: Path) -> None:
    def rename(facts: dict[str, Any]) -> None:
        facts["name"] = facts["recipe"]["name"] = facts["all_results"]["test"]["protocol"]["name"] = hostile
        facts["all_results"].pop("val")
        facts["data"]["classes"][0] = hostile

    changed(copy / "run.json", copy / "run.json", rename)
    strange = copy.rename(copy.with_name("a[b]\n<i>"))
    outcome = run("compare", strange, place / "seed0", "--out", tmp_path / "page.html")
    plain = run("compare", place / "seed0", place / "val.json", "--out", tmp_path / "plain.html")
    assert outcome.code == plain.code == 0
    page = Page(tmp_path / "page.html")
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in Page(tmp_path / "plain.html").elements} | {"td"}
    for text in (outcome.out, "".join(page.words)):
        assert shown(hostile) in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(copy: Path) -> None:
    (copy / "model.safetensors").chmod(0)
    assert "model.safetensors" in refused("compare", copy / "model.safetensors")
