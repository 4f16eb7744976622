"""Random resized crops of 224 pixels from photos, images/s of one core: our training batches against torchvision's
transforms (RandomResizedCrop, mirror, ToTensor, Normalize) on Pillow's pictures. Time is the processor's own, so that
other work of the machine counts little. Needs torchvision.

    python benchmarks/pipeline.py [--data FOLDER] [--rounds 9] [--json FILE]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from turns import Row, in_turns, options, pictures, write

from peers import import_torchvision
from residuum.data.augment import Augment
from residuum.data.batches import TrainBatches
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PHOTO, LARGE = (500, 375), (4000, 3000)
LEAST = 96
"""Pictures that one figure is measured over, at least."""


def compared(folder: Path, work: str, rounds: int, *, reduced: bool = False, target: float | None = None) -> Row:
    """A row for the photos of a folder; the first pass, in which what is kept is decoded, is not counted."""
    t = import_torchvision().transforms
    steps = [t.RandomResizedCrop(224), t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)]
    transform = t.Compose(steps)
    files = sorted(folder.rglob("*.jpg"))
    files = files * -(-LEAST // len(files))
    batches = TrainBatches(
        open_data(str(folder), val=0), preprocessing=Preprocessing((224, 224), 256, 3, MEAN, STD),
        augment=Augment(area=(0.08, 1.0), mirror=True, reduced=reduced), batch_size=len(files), seed=0,
    ).from_step(0)  # fmt: skip

    def ours() -> float:
        began = time.process_time()
        next(batches)
        return len(files) / (time.process_time() - began)

    def theirs() -> float:
        began = time.process_time()
        torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        return len(files) / (time.process_time() - began)

    ours(), theirs()
    return in_turns(
        work, ours, theirs, unit="images/s of a core", against="torchvision on Pillow", rounds=rounds, target=target
    )


def main() -> None:
    parser = options(__doc__, 9)
    parser.add_argument("--data", type=Path, help="a folder with photos; by default drawn ones of 500 x 375 pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        photos, large = Path(made) / "photos", pictures(Path(made) / "large", LEAST // 4, LARGE)
        if arguments.data is None:
            pictures(photos, LEAST, PHOTO)
        else:
            found = sorted(p for p in arguments.data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
            for number, path in enumerate(found):
                place = photos / "ab"[number % 2] / f"{number:06d}.jpg"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path.resolve())
        rows = [
            compared(photos, "random resized crops to 224 pixels", arguments.rounds, target=2.0),
            compared(photos, "the same, photos kept in memory", arguments.rounds, reduced=True),
            compared(large, "of photos of 12 megapixels", 3),
            compared(large, "the same, reduced and kept in memory", 3, reduced=True),
        ]
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
