"""imagenet:PATH: every official layout gives the same labels, no file is read to list it, and gaps are named."""

from __future__ import annotations

import io
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import imagenet_tree
from commands import run
from imagenet_tree import COLOURS, WORDS
from residuum.data.manifest import Manifest
from residuum.data.opening import absolute
from residuum.data.sources import open_data
from residuum.data.synsets import places
from residuum.errors import UserError
from runs import record

NAMES = ("n01440764 tench", "n02012849 crane", "n02105855 Shetland sheepdog", "n03126707 crane",
         "n04254680 soccer ball")  # fmt: skip
Tree = Callable[[str], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """tree(form): the root of a small ImageNet in one of the layouts."""
    return lambda form: imagenet_tree.small(tmp_path / form, form)


def source(root: Path) -> str:
    return f"imagenet:{root}"


def colours_are_those_of_the_labels(manifest: Manifest) -> bool:
    wanted = [COLOURS[name.split()[0]] for name in manifest.classes]
    means = np.stack([manifest.pictures.read(i, 3).mean((0, 1)) for i in range(len(manifest))])
    return bool(np.abs(means - np.array(wanted)[manifest.labels]).max() < 4)


@pytest.mark.parametrize("form", ["flat", "folders", "kaggle"])
def test_every_layout_gives_its_pictures_their_classes(form: str, tree: Tree) -> None:
    manifest = open_data(source(tree(form)))
    assert manifest.classes == (NAMES if form != "folders" else tuple(WORDS))
    assert {part: len(indices) for part, indices in manifest.parts.items()} == {"train": 15, "val": 10}
    assert all(manifest.names[i].startswith("train/") for i in manifest.part("train"))
    assert list(manifest.names) == sorted(manifest.names)
    assert colours_are_those_of_the_labels(manifest)
    assert not manifest.notes


@pytest.mark.parametrize("below", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_any_root_of_the_layout_will_do(below: str, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("kaggle")
    whole = open_data(source(root))
    assert open_data(source(root / below)).digest == whole.digest
    monkeypatch.chdir(root / below)
    assert absolute("imagenet:.") == source(root / below)
    assert open_data("imagenet:.").classes == whole.classes


def test_classes_are_one_however_their_words_were_found(tree: Tree) -> None:
    root = tree("folders")
    imagenet_tree.devkit(root, WORDS, [])
    named = open_data(source(root))
    shutil.rmtree(root / imagenet_tree.DEVKIT.parent)
    unnamed = open_data(source(root))
    assert (named.classes, unnamed.classes) == (NAMES, tuple(WORDS))
    assert named.digest == unnamed.digest
    for one in (NAMES, tuple(WORDS)):
        for other in (NAMES, tuple(WORDS)):
            assert places(one, other) == [0, 1, 2, 3, 4]
    assert places(["n02012849", "crane", "n04254680 ball"], ["n04254680", "n02012849 crane"]) == [1, None, 0]
    assert places(["n02012849"], ["n02012849 red", "n02012849 blue"]) == [None]
    assert places(["n02012849 red"], ["n02012849 red", "n02012849 blue"]) == [0]


def test_listing_reads_no_file_and_reading_checks_it(tree: Tree) -> None:
    root = tree("folders")
    file = root / "train" / "n02012849" / "n02012849_1.JPEG"
    file.write_bytes(b"<html>" * 9)
    manifest = open_data(source(root))
    assert not manifest.pictures.in_memory
    assert manifest.pictures.uniform is None
    index = manifest.names.index("train/n02012849/n02012849_1.JPEG")
    with pytest.raises(UserError, match=r"n02012849_1\.JPEG cannot be decoded: not a picture: looks like HTML; repair"):
        manifest.pictures.read(index, 3)
    with pytest.raises(UserError, match=r"n02012849_1\.JPEG cannot be decoded"):
        manifest.pictures.sizes[index]
    file.write_bytes(b"<html>" * 8)
    with pytest.raises(UserError, match=r"n02012849_1\.JPEG has changed"):
        manifest.pictures.read(index, 3)
    file.unlink()
    with pytest.raises(UserError, match=r"n02012849_1\.JPEG was there"):
        manifest.pictures.read(index, 3)
    with pytest.raises(UserError, match=r"n02012849_1\.JPEG cannot be decoded: cannot be read"):
        manifest.pictures.sizes[index]
    there = [i for i in range(len(manifest)) if i != index]
    sizes = [manifest.pictures.read(i, 1).shape[:2] for i in there]
    np.testing.assert_array_equal(manifest.pictures.sizes[np.array(there)], sizes)


def test_the_digest_knows_names_labels_and_lengths(tree: Tree) -> None:
    root = tree("folders")
    file, other = root / "train" / "n02012849" / "n02012849_0.JPEG", root / "train" / "n03126707" / "x.JPEG"
    digest = open_data(source(root)).digest
    content = file.read_bytes()
    file.write_bytes(content[::-1])
    assert open_data(source(root)).digest == digest, "the contents are not read"
    assert open_data(source(root), val=0.2).digest == digest
    shutil.copytree(root, root.parent / "elsewhere")
    assert open_data(source(root.parent / "elsewhere")).digest == digest
    file.write_bytes(content + b"x")
    longer = open_data(source(root)).digest
    file.rename(other)
    moved = open_data(source(root)).digest
    other.rename(file.parent / "y.JPEG")
    renamed = open_data(source(root)).digest
    assert len({digest, longer, moved, renamed}) == 4


def test_without_val_as_large_a_share_as_the_official_part_is_held_out(tree: Tree) -> None:
    root = tree("flat")
    shutil.rmtree(root / "val")
    manifest = open_data(source(root))
    assert {part: len(indices) for part, indices in manifest.parts.items()} == {"train": 14, "val": 1}
    assert "val, so no given validation part" in manifest.notes[0]
    assert "val" not in open_data(source(root), val=0).parts


def test_files_that_are_no_pictures_are_counted_and_allow_bad_is_answered(tree: Tree) -> None:
    root = tree("flat")
    for name in ("train/n02012849/README", "train/n02012849/._n02012849_0.JPEG", "val/Thumbs.db", "train/list.txt"):
        (root / name).write_text("x")
    (root / "train" / ".cache").mkdir()
    manifest = open_data(source(root), allow_bad=True)
    assert len(manifest) == 25
    assert manifest.notes[0].startswith("3 files without a picture's suffix")
    assert "--allow-bad leaves none" in manifest.notes[1]


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def test_the_oddities_of_imagenet_are_read_as_pictures(tree: Tree) -> None:
    """A PNG named .JPEG, CMYK, grey and turned JPEGs: all upright RGB of the right size."""
    root = tree("folders")
    wnid, colour = "n02105855", COLOURS["n02105855"]
    plain, exif, png = Image.new("RGB", (30, 20), colour), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    plain.save(png, "PNG")
    odd = {
        "n02105855_2933.JPEG": png.getvalue(),
        "n02105855_cmyk.JPEG": jpeg(plain.convert("CMYK")),
        "n02105855_grey.JPEG": jpeg(plain.convert("L")),
        "n02105855_turned.JPEG": jpeg(plain.transpose(Image.Transpose.ROTATE_90), exif=exif),
    }
    for name, content in odd.items():
        (root / "train" / wnid / name).write_bytes(content)
    manifest = open_data(source(root))
    for name in odd:
        index = manifest.names.index(f"train/{wnid}/{name}")
        pixels = manifest.pictures.read(index, 3)
        assert pixels.shape == (20, 30, 3)
        assert manifest.pictures.sizes[index].tolist() == [20, 30]
        expected = (plain.convert("L") if "grey" in name else plain).convert("RGB").getpixel((0, 0))
        np.testing.assert_allclose(pixels.mean((0, 1)), expected, atol=3)


def test_what_is_held_of_a_file_is_small(tmp_path: Path) -> None:
    """About 170 bytes with a name of ImageNet's length, so 0.2 GB for all."""
    for wnid in ("n01440764", "n02012849"):
        folder = tmp_path / "train" / wnid
        folder.mkdir(parents=True)
        (folder / f"{wnid}_10000.JPEG").write_bytes(b"x")
        for number in range(10_001, 11_500):
            os.link(folder / f"{wnid}_10000.JPEG", folder / f"{wnid}_{number}.JPEG")
    open_data(source(tmp_path), val=0)
    tracemalloc.start()
    manifest = open_data(source(tmp_path), val=0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(manifest) < 200


@pytest.mark.realdata
def test_the_papers_recipe_runs_from_listing_to_prediction(realdata: Path, tmp_path: Path) -> None:
    photos = {file.name[:9]: [file] for file in sorted((realdata / "imagenet_sample").glob("*.JPEG"))[::4]}
    lines = (realdata / "class_lists" / "synset_words.txt").read_text().splitlines()
    words = {line[:9]: line[10:] for line in lines}
    root, out = tmp_path / "tree", tmp_path / "run"
    imagenet_tree.train(root, photos)
    truth = imagenet_tree.flat_val(root, photos)
    imagenet_tree.devkit(root, {wnid: words[wnid] for wnid in photos}, truth)
    short = ("--size", "64", "--steps", "2", "--batch-size", "4", "--workers", "2")
    done = run("train", source(root), "--recipe", "paper-imagenet", "--model", "resnet18", *short, "--out", out)
    assert done.code == 0, done.err
    facts = record(out)
    assert facts["recipe"]["augment"]["shorter_side"] == [256, 480]
    assert facts["data"]["counts"] == {"train": 15, "val": 15}
    assert facts["results"]["protocol"]["split"] == "val"

    model = out / "model.safetensors"
    flat = run("evaluate", model, source(root), "--json").json()
    assert flat["images"] == 15
    assert flat["top1_error"] == pytest.approx(facts["results"]["top1_error"])
    crops = run("evaluate", model, source(root), "--protocol", "ten-crop", "--json").json()
    assert (crops["images"], crops["protocol"]["name"]) == (15, "ten-crop")
    (answer,) = run("predict", model, photos["n01797886"][0], "--top", "15", "--json").json()
    names = {prediction["index"]: prediction["class"] for prediction in answer["predictions"]}
    assert names[sorted(photos).index("n01797886")] == "n01797886 ruffed grouse"

    # the same in synset folders without any table of words, and as class folders of WordNet IDs, as other sets are
    imagenet_tree.val_folders(root, truth)
    shutil.rmtree(root / imagenet_tree.DEVKIT.parent)
    for data, split in ((source(root), "val"), (root / "train", "all")):
        other = run("evaluate", model, data, "--split", split, "--json").json()
        assert (other["images"], other["correct_top1"]) == (15, flat["correct_top1"])
        assert other["loss"] == pytest.approx(flat["loss"], rel=1e-5)
