"""What is missing or wrong in a tree of ImageNet is named in one sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import imagenet_tree
from commands import refused
from imagenet_tree import DEVKIT, WORDS
from residuum.data.sources import open_data
from residuum.errors import UserError

META, TRUTH = str(DEVKIT / "meta.mat"), str(DEVKIT / "ILSVRC2012_validation_ground_truth.txt")
BOXES = "LOC_val_solution.csv"


def without(*names: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        for name in names:
            shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return change


def write(name: str, content: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    return change


def mixed(root: Path) -> None:
    (root / "val" / "n02012849").mkdir()
    shutil.copy(root / "val" / "ILSVRC2012_val_00000001.JPEG", root / "val" / "n02012849" / "a.JPEG")


def unextracted(root: Path) -> None:
    shutil.rmtree(root / "train")
    for wnid in WORDS:
        write(f"train/{wnid}.tar", "tar")(root)


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("flat", without("train"), "has no folder train, nor ILSVRC/Data/CLS-LOC/train below it"),
    ("flat", unextracted, "holds 5 .tar files: extract each into a folder of its name"),
    ("flat", lambda root: (without("train")(root), (root / "train").mkdir()), "has no synset folders"),
    ("flat", without("train/n02012849"), "lacks 1 folder (n02012849) of the 5 synsets that"),
    ("kaggle", without("ILSVRC/Data/CLS-LOC/train/n02012849"), "lacks 1 folder (n02012849) of the 5 synsets that"),
    ("folders", without("train/n02012849", "train/n03126707"), "2 synsets (n02012849, n03126707) without a folder in"),
    ("folders", write("train/tench/a.JPEG", "x"), "tench is not named by a WordNet ID such as n01440764"),
    ("folders", lambda root: (root / "train" / "n99999999").mkdir(), "has 1 folder (n99999999) without pictures"),
    ("folders", write("train/n02012849/n02012849_0.JPEG", ""), "has 1 empty file (train/n02012849/n02012849_0.JPEG)"),
    ("folders", lambda root: os.mkfifo(root / "val/n02012849/a.JPEG"), "a.JPEG is not a regular file; remove it"),
    ("folders", lambda root: (root / "val/n02012849/a.JPEG").symlink_to("gone"), "a.JPEG cannot be read: No such file"),
    ("folders", lambda root: (without("val")(root), (root / "val").mkdir()), "val holds no pictures; extract them"),
    ("flat", mixed, "holds 10 pictures beside 1 synset folders: keep all pictures flat, or sort all"),
    ("flat", without("ILSVRC2012_devkit_t12"), "nothing says what the 10 pictures in"),
    ("flat", without(META), "meta.mat is missing, which says what the numbers in"),
    ("flat", write(META, "x" * 999), "is not the development kit's table of synsets"),
    ("flat", write(TRUTH, "1\n2\n"), "is about 2 pictures and"),
    ("flat", without("val/ILSVRC2012_val_00000003.JPEG"), "is about 10 pictures and"),
    ("flat", write(TRUTH, "1\n" * 9 + "6\n"), "line 10: 6 is the number of no class in meta.mat"),
    ("flat", write(TRUTH, "1\n" * 9 + "9" * 5000), "is the number of no class in meta.mat"),
    ("flat", write(TRUTH, "tench\n" * 10), "line 1: tench is the number of no class in meta.mat"),
    ("flat", lambda root: (root / "val/ILSVRC2012_val_00000003.JPEG").rename(root / "val/ILSVRC2012_val_3.JPEG"),
     "stands where ILSVRC2012_val_00000003.JPEG is expected"),
    ("kaggle", without(BOXES), "nothing says what the 10 pictures in"),
    ("kaggle", write(BOXES, "a,b\n"), "must begin with the line ImageId,PredictionString"),
    ("kaggle", write(BOXES, "ImageId,PredictionString\nx,tench 1 2 3 4\n"), "line 2: tench is no WordNet"),
    ("kaggle", write(BOXES, "ImageId,PredictionString\n" + "".join(
        f"other{i},n01440764\n" for i in range(10))), "has no line for ILSVRC2012_val_00000001, which is in"),
    ("kaggle", write("LOC_synset_mapping.txt", "tench\n"), "line 1: tench is no WordNet ID"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "change", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_what_is_missing_is_named(form: str, change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    root = imagenet_tree.small(tmp_path / form, form)
    change(root)
    with pytest.raises(UserError) as caught:
        open_data(f"imagenet:{root}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_is_refused_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_val.tar").write_text("tar")
    assert "is a file: extract it" in refused("train", f"imagenet:{tmp_path}/ILSVRC2012_img_val.tar")
    assert "is not there: give the folder" in refused("train", f"imagenet:{tmp_path}/nothing")
    assert "write imagenet:PATH" in refused("train", "imagenet")
    assert 'did you mean "imagenet"' in refused("train", f"imagnet:{tmp_path}")
