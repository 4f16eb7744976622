"""The commands of docs/serve.md, run as they are written, but for the port."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import pytest
from service_process import encoded, serving

from residuum.serve.limits import Limits
from samples import picture, picture_folder, tiny_model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_documented_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture_folder(tmp_path / "leaves", {"healthy": 4, "rust": 4})
    (tmp_path / "runs/leaves").mkdir(parents=True)
    tiny_model(tmp_path / "runs/leaves/model.safetensors", ("healthy", "rust"))
    for name in ("picture.jpg", "new-leaf.jpg"):
        (tmp_path / name).write_bytes(encoded(picture(30, 40, 1), "JPEG"))
    command, *requests = LINES
    assert command.startswith("residuum serve ")
    assert len(requests) >= 5
    answers = []
    with serving(*shlex.split(command)[2:]) as service:
        assert service.models == ["leaves"]
        for line in requests:
            assert line.startswith("curl ")
            line = line.replace(":8000", f":{service.port}").replace("curl ", "curl -sS --fail ", 1)
            answers.append(subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout)
    one, two, raw, explained, model, figures = answers
    assert [len(json.loads(answer)) for answer in (one, two, raw)] == [1, 2, 1]
    assert [len(each["predictions"]) for each in json.loads(two)] == [1, 1]
    assert json.loads(one)[0]["image"] == "picture.jpg"
    assert json.loads(explained)["class"] == "rust"
    assert len(json.loads(explained)["neighbours"]) == 6
    assert json.loads(model)["classes"] == ["healthy", "rust"]
    assert "residuum_requests_total" in figures


def test_the_documented_python(tmp_path: Path) -> None:
    picture_folder(tmp_path / "leaves", {"healthy": 4, "rust": 4})
    (tmp_path / "runs/leaves").mkdir(parents=True)
    tiny_model(tmp_path / "runs/leaves/model.safetensors", ("healthy", "rust"))
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert "port=8000" in block
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = block.replace("port=8000", f"port={port}")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    ready, end = False, time.monotonic() + 120
    while not ready and process.poll() is None and time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            ready = answer.status == 200
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 0
    assert ready


def test_the_documented_limits_are_the_limits() -> None:
    limits = Limits()
    told = {
        f"more than {limits.upload_bytes // 2**20} MB",
        f"more than {limits.pictures} pictures",
        f"more than {limits.pixels // 10**6} million pixels",
        f"longer than {limits.aspect} to 1",
        f"more than {limits.decode_seconds:g} s or {limits.decode_bytes // 2**30} GiB to decode",
        f"{limits.requests} requests are waiting",
        f"{limits.connections} connections",
        f"headers took more than {limits.header_seconds:g} s",
        f"stopped for {limits.idle_seconds:g} s or took {limits.body_seconds:g} s",
        f"more than {limits.header_bytes // 2**10} KB of headers",
        f"up to {limits.batch} pictures",
    }
    page = " ".join(PAGE.split())
    assert [each for each in told if each not in page] == []
