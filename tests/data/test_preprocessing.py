"""The evaluation view is torchvision's Resize and CenterCrop, and preprocessing survives a round trip."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from peers import import_torchvision
from residuum.data import preprocessing as module
from residuum.data.preprocessing import Preprocessing, view
from residuum.errors import UserError

Noise = Callable[..., np.ndarray]


def prep(size: tuple[int, int] = (32, 32), resize: int | None = None, channels: int = 3) -> Preprocessing:
    return Preprocessing(size, resize or max(size), channels, (0.5,) * channels, (0.25,) * channels)


@pytest.mark.peer
@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.booleans()
)
def test_view_equals_torchvision(height: int, width: int, h: int, w: int, margin: int, grey: bool) -> None:
    import_torchvision()
    from torchvision import transforms

    resize = max(h, w) + margin
    shape = (height, width, 1 if grey else 3)
    picture = np.random.default_rng(height * 1000 + width).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(picture[..., 0] if grey else picture)
    peer = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop((h, w))])
    expected = np.asarray(peer(image)).reshape(h, w, -1)
    got = view(picture, prep((h, w), resize, shape[2]))
    if (height, width) == (h, w) and margin == 0:
        assert got is picture
    else:
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 20))
def test_computing_only_the_crop_changes_only_roundings(height: int, width: int, size: int, margin: int) -> None:
    picture = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    p = prep((size, size), size + margin)
    whole = view(picture, p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LARGEST_RESIZED", 0)
        difference = view(picture, p).astype(int) - whole
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (1, 1), (2, 60000)])
def test_extreme_shapes_need_little_memory(shape: tuple[int, int], noise: Noise) -> None:
    picture = noise(*shape)
    tracemalloc.start()
    got = view(picture, prep((224, 224), 256))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got.shape == (224, 224, 3)
    assert peak < 2 * 2**20


def test_a_picture_of_the_right_size_passes_untouched(noise: Noise) -> None:
    picture = noise(32, 48)
    assert view(picture, prep((32, 48))) is picture
    assert view(noise(32, 32), prep((32, 32), 36)).shape == (32, 32, 3)
    assert (view(noise(32, 32), prep((32, 32), 36)) != noise(32, 32)).any()


def test_channels_are_those_asked_for(noise: Noise) -> None:
    assert view(noise(40, 50)[..., :1], prep(channels=3)).shape == (32, 32, 3)
    assert view(noise(40, 50), prep(channels=1)).shape == (32, 32, 1)


@given(
    st.integers(1, 64), st.integers(1, 64), st.integers(0, 40), st.sampled_from([1, 3]), st.booleans(), st.floats(0, 1)
)
def test_round_trip(h: int, w: int, margin: int, channels: int, per_pixel: bool, mean: float) -> None:
    p = Preprocessing((h, w), max(h, w) + margin, channels, (mean,) * channels, (0.1,) * channels, per_pixel)
    assert Preprocessing.from_dict(p.to_dict()) == p


def test_from_dict_is_strict() -> None:
    values = prep().to_dict()
    with pytest.raises(UserError, match='did you mean "resize"'):
        Preprocessing.from_dict({**values, "resise": 32})
    with pytest.raises(UserError, match="lacks std"):
        Preprocessing.from_dict({k: v for k, v in values.items() if k != "std"})
    for key, value in (("size", 32), ("mean", "grey"), ("resize", None), ("size", [1, 2, 3])):
        with pytest.raises(UserError):
            Preprocessing.from_dict({**values, key: value})


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        Preprocessing((32, 64), 40, 2, (0.5,), (0.0, 1.0))
    for part in ("resize 40", "larger side 64", "channels", "mean", "std must be positive"):
        assert part in str(caught.value)
