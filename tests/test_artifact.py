"""The model file: what is written comes back, and a single changed bit is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from residuum import artifact
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError
from residuum.inference import load
from samples import tiny_model, tiny_network

ODD_NAMES = (
    '"sha256":"',
    '"sha256":"' + "0" * 64 + '"',
    "'",
    "a\nb",
    "\\",
    "caf\u00e9",
    "\U0001f600",
    "\udcff\udc80",
    "",
    " ",
    "\x00",
    "\u2028",
    "__metadata__",
    "a" * 1000,
)
VIEW = Preprocessing((16, 16), 16, 3, (0.1, 0.2, 1 / 3), (0.25, 0.5, 0.75))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a sound model file."""
    return tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors").read_bytes()


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """The sentence with which bytes are refused as a model file."""

    def refuse(content: bytes) -> str:
        path = tmp_path / "changed.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            artifact.load(path)
        message = str(error.value)
        assert "changed.safetensors" in message
        assert "\n" not in message
        return message

    return refuse


def content(**changed: Any) -> Artifact:
    network = tiny_network(classes=2)
    values: dict[str, Any] = {
        "spec": network.plan.spec,
        "classes": ("ant", "bee"),
        "preprocessing": VIEW,
        "tensors": network.state_dict(),
    }
    return Artifact(**values | changed)


def assert_equal(one: Artifact, other: Artifact) -> None:
    assert replace(one, tensors={}) == replace(other, tensors={})
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[name].dtype
        assert torch.equal(tensor, other.tensors[name]), name


def test_round_trip(tmp_path: Path) -> None:
    said = content(
        training={"recipe": {"lr": 0.1}, "data": {"digest": "abc"}},
        results=[{"protocol": {"split": "test"}, "images": 3, "top1_error": 100 / 3, "top5_error": None}],
        calibration={"temperature": 1.5},
    )
    artifact.save(said, tmp_path / "m.safetensors")
    assert_equal(artifact.load(tmp_path / "m.safetensors"), said)


def test_channels_last_weights_come_back_as_they_are(tmp_path: Path) -> None:
    network = tiny_network(classes=2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    said = content(tensors=network.state_dict())
    artifact.save(said, tmp_path / "m.safetensors")
    assert_equal(artifact.load(tmp_path / "m.safetensors"), said)


@given(names=st.lists(st.text() | st.sampled_from(ODD_NAMES), min_size=2, max_size=2, unique=True))
def test_class_names_hold_anything(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("names") / "m.safetensors"
    artifact.save(content(classes=tuple(names), training={"sha256": names}), path)
    loaded = artifact.load(path)
    assert loaded.classes == tuple(names)
    assert loaded.training == {"sha256": names}


def test_it_is_a_safetensors_file_and_the_hash_is_the_documented_one(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "m.safetensors", classes=ODD_NAMES[:3])
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "residuum"
    assert json.loads(metadata["classes"]) == list(ODD_NAMES[:3])
    whole = path.read_bytes()
    assert whole.count(metadata["sha256"].encode()) == 1
    zeroed = whole.replace(metadata["sha256"].encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == metadata["sha256"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_follows_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        path = tiny_model(tmp_path / "m.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_every_bit_of_the_header_and_many_of_the_rest_are_guarded(whole: bytes, tmp_path: Path) -> None:
    header = 8 + int.from_bytes(whole[:8], "little")
    positions = [*range(0, header, 7), *range(header, len(whole), len(whole) // 60), len(whole) - 1]
    path = tmp_path / "m.safetensors"
    for position in positions:
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(UserError):
            artifact.load(path)


@given(data=st.data(), bit=st.integers(0, 7))
def test_any_changed_bit_is_refused(
    whole: bytes, data: st.DataObject, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    header = 8 + int.from_bytes(whole[:8], "little")
    position = data.draw(st.integers(0, header - 1) | st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[position] ^= 1 << bit
    path = tmp_path_factory.mktemp("bit") / "m.safetensors"
    path.write_bytes(changed)
    with pytest.raises(UserError) as error:
        artifact.load(path)
    assert "\n" not in str(error.value)


def test_cut_short_anywhere(whole: bytes, refusal: Callable[[bytes], str]) -> None:
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (0, 1, 7, 8, 9, 100, header - 1, header, header + 1, header + 1000, len(whole) // 2, len(whole) - 1):
        refusal(whole[:length])
    refusal(whole + b"\0")
    refusal(whole + whole)
    refusal(b"\0" + whole)


def with_metadata(whole: bytes, change: Callable[[dict[str, str]], object]) -> bytes:
    """The file with other metadata and a right hash, as a person with an editor and time could make it."""
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header["__metadata__"])
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    made = len(text).to_bytes(8, "little") + text + whole[8 + length :]
    return made.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + hashlib.sha256(made).hexdigest().encode())


def test_a_right_hash_is_accepted(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(with_metadata(whole, lambda m: m.update(classes='["x", "y", "z"]')))
    assert artifact.load(tmp_path / "m").classes == ("x", "y", "z")


@pytest.mark.parametrize("version", ["2", "0", "", "1.0"])
def test_an_unknown_version(version: str, whole: bytes, refusal: Callable[[bytes], str]) -> None:
    message = refusal(with_metadata(whole, lambda m: m.update(format_version=version)))
    assert "version" in message
    assert repr(version) in message


def test_a_missing_version(whole: bytes, refusal: Callable[[bytes], str]) -> None:
    assert "version" in refusal(with_metadata(whole, lambda m: m.pop("format_version")))


@pytest.mark.parametrize("key", ["spec", "classes", "preprocessing", "task", "training", "results", "calibration"])
def test_a_file_that_lacks_something_is_refused(key: str, whole: bytes, refusal: Callable[[bytes], str]) -> None:
    refusal(with_metadata(whole, lambda m: m.pop(key)))
    refusal(with_metadata(whole, lambda m: m.update({key: "not json"})))


def test_a_spec_from_elsewhere_is_refused_by_name(whole: bytes, refusal: Callable[[bytes], str]) -> None:
    def deeper(metadata: dict[str, str]) -> None:
        metadata["spec"] = json.dumps(json.loads(metadata["spec"]) | {"magic": 1})

    assert "magic" in refusal(with_metadata(whole, deeper))


def test_weights_that_do_not_fit_the_spec_are_refused(whole: bytes, tmp_path: Path) -> None:
    def wider(metadata: dict[str, str]) -> None:
        metadata["spec"] = json.dumps(json.loads(metadata["spec"]) | {"channels": 1})

    path = tmp_path / "m"
    path.write_bytes(with_metadata(whole, wider))
    with pytest.raises(UserError, match="do not fit"):
        load(path)


def header_only(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"PK\x03\x04" + b"\0" * 50,
        b"\xff" * 200,
        header_only("{}"),
        header_only("{}x"),
        header_only('{"__metadata__":[1]}'),
        header_only('{"__metadata__":null}'),
        header_only('{"a":' * 50_000),
        header_only('{"__metadata__":{"format":"residuum","format_version":"1"}}'),
        header_only('{"__metadata__":{"format":"residuum","format_version":"1","sha256":3}}'),
        header_only("{\udcff}".encode("utf-8", "surrogateescape").decode("latin-1")),
        pickle.dumps({"a": 1}),
    ],
    ids=lambda junk: repr(junk[:40]),
)
def test_junk(junk: bytes, refusal: Callable[[bytes], str]) -> None:
    refusal(junk)


def test_plain_safetensors_are_pointed_to_import(refusal: Callable[[bytes], str]) -> None:
    plain = safetensors.torch.save({"fc.weight": torch.zeros(2, 3)})
    assert "residuum import" in refusal(plain)
    assert "residuum import" in refusal(safetensors.torch.save({"a": torch.zeros(1)}, {"format": "pt"}))


def test_missing_and_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match=re.escape(str(path))):
            artifact.load(path)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_loading_never_unpickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "pwned"))
    (tmp_path / "raw").write_bytes(pickle.dumps(Bomb()))
    torch.save({"state_dict": Bomb()}, tmp_path / "zip")
    torch.save(Bomb(), tmp_path / "old", _use_new_zipfile_serialization=False)
    for name in ("raw", "zip", "old"):
        with pytest.raises(UserError):
            artifact.load(tmp_path / name)
    assert not (tmp_path / "pwned").exists()
    # and the loader does not even look: nothing of pickle is called for a sound file
    path = tiny_model(tmp_path / "m.safetensors")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    artifact.load(path)


def test_the_mean_picture_is_kept(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "m.safetensors", mean_picture=True)
    loaded = artifact.load(path)
    assert loaded.preprocessing.per_pixel
    assert loaded.tensors[MEAN_PICTURE].shape == (3, 16, 16)
