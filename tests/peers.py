"""Other libraries to compare with: imported where they are installed, else the test is skipped."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest
import torch
from torch import nn

from residuum.catalog import Entry
from residuum.spec import NetworkSpec

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)


@cache
def _library() -> torch.library.Library:
    """torchvision without its compiled half asks for these operators' schemas when it is imported."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    return library


def import_torchvision() -> ModuleType:
    """torchvision, also where only its Python half is installed; skips the test where it is absent."""
    try:
        import torchvision
    except ModuleNotFoundError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        _library()
        import torchvision
    return torchvision


def import_timm() -> ModuleType:
    """timm, which needs torchvision; skips the test where either is absent."""
    import_torchvision()
    return pytest.importorskip("timm")


def reference(entry: Entry, **options: object) -> nn.Module:
    """The network that an entry of the catalogue names as its reference, on the meta device, where nothing is drawn."""
    library, name, *how = entry.reference.split()
    if how == ["replace_stride_with_dilation"]:
        assert isinstance(entry.spec, NetworkSpec)
        options["replace_stride_with_dilation"] = [stage.stride == 1 for stage in entry.spec.stages[1:]]
    if name == "googlenet":
        options = {"aux_logits": False, "init_weights": False} | options
    with torch.device("meta"):
        if library == "timm":
            return import_timm().create_model(name, **options).eval()
        models = import_torchvision().models
        build = getattr(models, name) if hasattr(models, name) else getattr(models.video, name)
        return build(weights=None, **options).eval()


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """A network from the meta device with random weights (in float64), scales, shifts and statistics.

    No part can hide behind an identity, and convolutions keep the size of what they see, so that in deep networks
    too neither the branch nor the shortcut is lost in the other's rounding.
    """
    network = network.double().to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 1:
                tensor.uniform_(-0.3, 0.3, generator=generator)
            elif tensor.ndim > 1:
                bound = (6 / tensor[0].numel()) ** 0.5
                tensor.uniform_(-bound, bound, generator=generator)
            else:  # a count of batches
                tensor.zero_()
    return network


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference over the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
