"""Weights from the Hugging Face Hub: `hub:OWNER/NAME[/FILE]`, with preprocessing and classes where they are told.

What it says is read from config.json as timm writes it (`pretrained_cfg`: input_size, mean, std, crop_pct,
interpolation; `label_names`; `architecture`). Nothing that is fetched is executed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from residuum.errors import UserError, nearest, one_line, shown

PREFIX = "hub:"
REACH_SECONDS = 5.0
"""The Hub answers within this time or counts as out of reach; its library would go on trying for half a minute."""
PREFERRED = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".th")


@dataclass(frozen=True)
class Found:
    """A file of weights on this machine; None and nothing where the repository does not say.

    source      where it is from, in full: hub:OWNER/NAME/FILE
    size        (height, width) of the input, `resize` what the shorter side becomes before the centre crop
    mean, std   per channel on the 0..1 scale
    notes       sentences on what the repository says and is not heeded
    """

    path: Path
    source: str
    channels: int | None = None
    size: tuple[int, int] | None = None
    resize: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def axes(self) -> dict[str, Any]:
        """The axes of a network that takes such an input."""
        said = {"channels": self.channels, "size": self.size}
        return {axis: value for axis, value in said.items() if value is not None}


def find(argument: str) -> Found:
    """Fetch the weights that `hub:OWNER/NAME[/FILE]` names (or find them in the library's cache).

    Without FILE: model.safetensors, else the only .safetensors, else pytorch_model.bin, else the only other weights.
    Raises UserError without the library, the network, the repository or a file to choose.
    """
    owner, _, rest = argument.removeprefix(PREFIX).partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise UserError(f'"{shown(argument)}" names no repository: write hub:OWNER/NAME or hub:OWNER/NAME/FILE')
    try:
        library: Any = import_module("huggingface_hub")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        raise UserError(
            f'{PREFIX} needs the library huggingface_hub: install it with `pip install "residuum[hub]"`, or download '
            "the weights and import the file"
        ) from None
    repository = f"{owner}/{name}"
    try:
        library.get_session().head(library.constants.ENDPOINT, timeout=REACH_SECONDS)
        files = library.list_repo_files(repository)
        chosen = _choose(files, file, argument)
        path = Path(library.hf_hub_download(repository, chosen))
        config = Path(library.hf_hub_download(repository, "config.json")) if "config.json" in files else None
    except UserError:
        raise
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"{shown(repository)} is no repository of {library.constants.ENDPOINT} that you may read: check the name, "
            "and log in (`hf auth login`) if it is private"
        ) from None
    except Exception as error:  # whatever networks and servers come up with
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{shown(argument)} cannot be fetched from {library.constants.ENDPOINT} ({shown(why)[:160]}): check the "
            "network, or download the file elsewhere and import it"
        ) from None
    return _described(path, f"{PREFIX}{repository}/{chosen}", config)


def _choose(files: list[str], file: str, argument: str) -> str:
    """The file of weights that is meant."""
    weights = [name for name in files if name.endswith(SUFFIXES)]
    if file:
        if file not in files:
            raise UserError(f"{shown(argument)}: there is no such file in the repository; {nearest(file, weights)}")
        return file
    safe = [name for name in weights if name.endswith(".safetensors")]
    for choice in (PREFERRED[:1], safe, PREFERRED[1:], weights):
        found = [name for name in choice if name in weights]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{shown(argument)} holds several files of weights ({shown(', '.join(found[:8]))}): name one, as in "
                f"{shown(argument)}/{shown(found[0])}"
            )
    raise UserError(f"{shown(argument)} holds no weights ({', '.join(SUFFIXES)})")


def _described(path: Path, source: str, config: Path | None) -> Found:
    if config is None:
        return Found(path, source)
    try:
        said = json.loads(config.read_bytes())
        view = said.get("pretrained_cfg") or said
        size, crop = view.get("input_size"), view.get("crop_pct")
        channels, height, width = (None, None, None) if size is None else map(int, size)
        labels = said.get("label_names") or view.get("label_names")
        return Found(
            path,
            source,
            channels,
            None if height is None or width is None else (height, width),
            None if height is None or width is None or not crop else math.floor(max(height, width) / float(crop)),
            _numbers(view.get("mean")),
            _numbers(view.get("std")),
            None if labels is None else tuple(map(str, labels)),
            _notes(said.get("architecture"), view.get("interpolation"), view.get("crop_mode")),
        )
    except (OSError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"the config.json beside {shown(source)} is not as timm writes it ({shown(one_line(error))}): download the "
            "weights and import the file with --mean, --std and --size"
        ) from None


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))


def _notes(architecture: Any, interpolation: Any, crop_mode: Any) -> tuple[str, ...]:
    found = []
    if architecture:
        found.append(f"the repository calls its network {shown(architecture)}")
    if interpolation not in (None, "", "bilinear"):
        found.append(f"its pictures were resized by {shown(interpolation)} interpolation, and are bilinearly here")
    if crop_mode not in (None, "", "center"):
        found.append(f'its pictures were cropped in mode "{shown(crop_mode)}", and are at the centre here')
    return tuple(found)
