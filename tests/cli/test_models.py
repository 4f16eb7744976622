"""The catalogue and the plan of a network, as a terminal shows them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest

from commands import refused, run
from residuum.catalog import CATALOG
from residuum.spec import Written

WRITTEN = [entry.name for entry in CATALOG.values() if isinstance(entry.spec, Written)]


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of so many columns is given, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    seen: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(ours, 65536):
                seen.append(chunk)
        except OSError:  # the other side has closed
            return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"TERM": "xterm-256color"}
    command = [sys.executable, "-m", "residuum", *arguments]
    subprocess.run(command, stdout=theirs, check=True, timeout=300, env=environment)
    os.close(theirs)
    listener.join(10)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(seen).decode()).split("\r\n")


@pytest.mark.parametrize("columns", [80, 120])
def test_every_network_has_one_line_under_its_family(columns: int) -> None:
    lines = on_a_terminal(columns, "models")
    assert max(map(len, lines)) <= columns
    family, found = "", {}
    for line in lines[1:]:
        if line and not line.startswith(" "):
            family = line
        elif line:
            name, parameters, macs, source = line.split(maxsplit=3)
            found[name] = (family, macs, source)
            assert int(parameters.replace(",", "")) > 0
    assert {name: family for name, (family, _, _) in found.items()} == {n: e.family for n, e in CATALOG.items()}
    assert found["resnet50"][1] == "3.858e9"
    assert found["resnet50_fixup"][2].startswith("Zhang, H. et al. 2019")
    assert lines.count("ResNet (ImageNet)") == 1
    if columns == 120:
        whole = {name: entry.source for name, entry in CATALOG.items() if len(entry.source) <= 62}
        assert {name: found[name][2] for name in whole} == whole


def test_json_says_what_each_network_was_compared_with() -> None:
    rows = run("models", "--json").json()
    assert {row["name"]: row["reference"] for row in rows} == {e.name: e.reference for e in CATALOG.values()}
    assert {row["name"]: row["source"] for row in rows} == {e.name: e.source for e in CATALOG.values()}


@pytest.mark.parametrize("name", CATALOG)
def test_the_plan_of_every_network_is_printed_in_full(name: str) -> None:
    described = run("models", name, "--json").json()
    text = run("models", name).out
    block, found = "", []
    for line in text.split("\n\n" + name + ": ")[0].splitlines()[1:]:
        if line and not line.startswith(" "):
            block = line
        elif line:
            path, parameters, macs = (line.split()[i] for i in (0, -2, -1))
            found.append((f"{block}.{path}", int(parameters.replace(",", "")), int(macs.replace(",", ""))))
    assert found == [(layer["name"], layer["parameters"], layer["macs"]) for layer in described["layers"]]


def test_kernel_stride_and_groups_are_told() -> None:
    text = run("models", "resnext50_32x4d").out
    assert "conv 7x7/2 " in text
    assert "conv 3x3/2 groups 32 " in text
    assert "maxpool 3x3/2 " in text
    assert "conv 1x7x7/1x2x2 " in run("models", "r2plus1d_18").out


def test_names_and_figures_of_a_plan_are_whole_in_eighty_columns() -> None:
    lines = on_a_terminal(80, "models", "resnet50")
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_network_kept_for_comparison_takes_what_it_can(name: str) -> None:
    document = run("models", name, "--classes", "7", "--channels", "1", "--size", "128", "--json").json()
    assert document["input"] == [1, 128, 128]
    assert any(layer["out"] == 7 for layer in document["layers"])
    message = refused("models", name, "--shortcut", "C")
    assert name in message
    assert message.endswith('no axis "shortcut"; choose from: channels, classes, size')
    assert "depth" in refused("models", name, "--depth", "20")
    assert "output_stride" in refused("models", name, "--output-stride", "8")


def test_axes_are_for_one_network() -> None:
    assert "residuum models resnet50 --shortcut C" in refused("models", "--classes", "10")
