"""Small trees in the official layouts of ImageNet, from pictures by WordNet ID."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n02105855": "Shetland sheepdog, Shetland sheep dog, Shetland",
    "n03126707": "crane",
    "n04254680": "soccer ball",
}
COLOURS = {wnid: (40 * i, 200 - 40 * i, 30 * i + 60) for i, wnid in enumerate(WORDS)}
DEVKIT = Path("ILSVRC2012_devkit_t12", "data")
FIELDS = (
    "ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images",
)  # fmt: skip


def small(root: Path, form: str) -> Path:
    """Five classes of `COLOURS`, three training and two validation pictures each, in a layout: flat, with the devkit;
    folders, without any table; kaggle, below ILSVRC/Data/CLS-LOC. Returns the root of all."""
    pictures = {wnid: [root / f"{wnid}_{i}" for i in range(5)] for wnid in COLOURS}
    root.mkdir()
    for wnid, files in pictures.items():
        for i, file in enumerate(files):
            Image.new("RGB", (24 + i, 20), COLOURS[wnid]).save(file, "JPEG", quality=95)
    inside = root / "ILSVRC" / "Data" / "CLS-LOC" if form == "kaggle" else root
    train(inside, {wnid: files[:3] for wnid, files in pictures.items()})
    truth = flat_val(inside, {wnid: files[3:] for wnid, files in pictures.items()})
    if form == "kaggle":
        kaggle(root, WORDS, truth)
    elif form == "flat":
        devkit(root, WORDS, truth)
    else:
        val_folders(root, truth)
    return root


def train(root: Path, pictures: Mapping[str, Sequence[Path]]) -> None:
    """train/<synset>/<synset>_<n>.JPEG."""
    for wnid, files in pictures.items():
        (root / "train" / wnid).mkdir(parents=True)
        for number, file in enumerate(files):
            shutil.copy(file, root / "train" / wnid / f"{wnid}_{number}.JPEG")


def flat_val(root: Path, pictures: Mapping[str, Sequence[Path]]) -> list[str]:
    """val/ILSVRC2012_val_<8 digits>.JPEG, classes mixed; returns the synset of each."""
    rows = [(wnid, file) for wnid, files in pictures.items() for file in files]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    (root / "val").mkdir(parents=True)
    for number, row in enumerate(order, 1):
        shutil.copy(rows[row][1], root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    return [rows[row][0] for row in order]


def val_folders(root: Path, truth: Sequence[str]) -> None:
    """The flat val sorted into synset folders, names kept."""
    for number, wnid in enumerate(truth, 1):
        (root / "val" / wnid).mkdir(exist_ok=True)
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        shutil.move(root / "val" / name, root / "val" / wnid / name)


def devkit(root: Path, words: Mapping[str, str], truth: Sequence[str]) -> None:
    """The development kit: synsets numbered in an order of its own, with inner nodes of the tree behind them."""
    wnids = sorted(words)
    order = [wnids[i] for i in np.random.default_rng(1).permutation(len(wnids))]
    rows = [(wnid, words[wnid], 0) for wnid in order] + [("n00001740", "entity", 2), ("n00001930", "thing", 1)]
    table = np.zeros((len(rows), 1), [(field, object) for field in FIELDS])
    for i, (wnid, text, children) in enumerate(rows):
        numbers = (np.float64(children), np.arange(1.0, children + 1), np.float64(0), np.float64(1300))
        table[i, 0] = (np.float64(i + 1), wnid, text, "a gloss", *numbers)
    (root / DEVKIT).mkdir(parents=True)
    savemat(root / DEVKIT / "meta.mat", {"synsets": table})
    lines = "".join(f"{order.index(wnid) + 1}\n" for wnid in truth)
    (root / DEVKIT / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def kaggle(root: Path, words: Mapping[str, str], truth: Sequence[str]) -> None:
    """The two tables of the Kaggle page, rows in no order; a picture may have several boxes."""
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {words[wnid]}\n" for wnid in sorted(words)))
    rows = [
        f"ILSVRC2012_val_{number:08d},{' '.join(f'{wnid} 1 2 30 40' for _ in range(1 + number % 2))} \n"
        for number, wnid in enumerate(truth, 1)
    ]
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows[::-1]))
