"""Other libraries to compare with: imported where they are installed, else the test is skipped."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest
import torch

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
