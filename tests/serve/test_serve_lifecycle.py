"""Starting and ending: what cannot be served is one sentence and exit code 2; SIGTERM answers what is under way."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from service_process import Service, png, serving

from commands import refused
from residuum import artifact
from residuum.artifact import Artifact
from samples import picture_folder

TOKEN = "correct-horse-battery-staple"


def gone(numbers: list[int], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{number}/exe").exists() for number in numbers):
            return True
        time.sleep(0.05)
    return False


def test_sigterm_answers_what_is_under_way(model_file: Path) -> None:
    body = png()
    with serving(model_file) as service:
        children = service.children()
        assert len(children) >= 2
        with service.connect() as kept, service.connect() as half, service.connect() as idle:
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            arrived = b""
            while not arrived.endswith(b"}"):
                arrived += kept.recv(4096)
            half.sendall(
                f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 10
            while _accepts(service) and time.monotonic() < end:
                time.sleep(0.02)
            assert not _accepts(service)
            assert kept.recv(1) == b""
            assert idle.recv(1) == b""
            half.sendall(body)
            answer = half.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"probability"' in answer
        assert service.process.wait(20) == 0
        assert gone(children)


def _accepts(service: Service) -> bool:
    try:
        service.connect(1.0).close()
    except OSError:
        return False
    return True


def test_a_decoder_that_dies_is_replaced_and_an_engine_that_dies_ends_the_server(model_file: Path) -> None:
    with serving(model_file) as service:
        names = {number: Path(f"/proc/{number}/cmdline").read_text() for number in service.children()}
        for number, name in names.items():
            if "decoder" in name:
                os.kill(number, signal.SIGKILL)
        lost = [service.ask("/v1/predict", png()).status for _ in range(len(names))]
        assert set(lost) <= {200, 422}
        assert service.works()
        os.kill(next(number for number, name in names.items() if "engine" in name), signal.SIGKILL)
        answer = service.ask("/v1/predict", png())
        assert answer.status == 503
        assert answer.error()
        assert service.process.wait(20) == 1


def test_a_port_in_use(model_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused("serve", model_file, "--port", port)
    assert f"port {port}" in message
    assert "in use" in message
    assert "--port" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--port", "99999"), "port 99999"), (("--port", "-1"), "port -1"), (("--host", "no.such.host.invalid"), "--host"),
     (("--host", "1.2.3.4"), "1.2.3.4"), (("--token-file", "missing"), "missing"), (("--data", "missing"), "missing"),
     (("--device", "abacus"), "abacus")],
)  # fmt: skip
def test_bad_options(options: tuple[str, str], words: str, model_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert words in refused("serve", model_file, *options)
    assert "Traceback" not in capfd.readouterr().err


def test_models_that_cannot_be_served(model_file: Path, tmp_path: Path) -> None:
    assert "missing.safetensors" in refused("serve", model_file, tmp_path / "missing.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_file.read_bytes()[:-10])
    assert "cut.safetensors" in refused("serve", cut)
    assert "MODEL" in refused("serve")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, model_file: Path, tmp_path: Path) -> None:
    content = artifact.load(model_file)
    tensors = {name: tensor.clone() for name, tensor in content.tensors.items()}
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[name].view(-1)[7] = value
    bad = tmp_path / "bad.safetensors"
    artifact.save(Artifact(content.spec, content.classes, content.preprocessing, tensors), bad)
    message = refused("serve", bad) if value != value else refused("predict", bad, "picture.png")
    assert "NaN or infinite" in message
    assert name in message
    assert torch.isfinite(artifact.load(model_file).tensors[name]).all()


def test_data_with_other_classes(model_file: Path, tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 3, "dog": 3})
    message = refused("serve", model_file, "--data", data)
    assert "dog" in message
    assert "bee" in message
    subset = picture_folder(tmp_path / "subset", {"cat": 3, "ant": 3})
    with serving(model_file, "--data", subset) as service:
        nearest = service.ask("/v1/explain", png()).json()["neighbours"]
        assert {each["class"] for each in nearest} <= {"ant", "cat"}


def test_libraries_that_are_not_installed(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("residuum.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 'pip install "residuum[serve]"' in refused("serve", model_file)


def test_a_token(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from residuum.serve.running import read_token

    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token(None) is None
    assert read_token(file) == TOKEN
    monkeypatch.setenv("RESIDUUM_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    with serving(model_file) as service:
        command = Path(f"/proc/{service.process.pid}/cmdline").read_text()
        assert TOKEN not in command
        for path, body in (("/v1/predict", png()), ("/v1/explain", png()), ("/v1/model", None), ("/metrics", None)):
            for given in (
                None,
                "Bearer",
                "Bearer wrong",
                f"Basic {TOKEN}",
                f"Bearer {TOKEN}x",
                f"bearer{TOKEN}",
                "\xe9",
            ):
                answer = service.ask(path, body, headers={"Authorization": given} if given else {})
                assert answer.status == 401, given
                assert answer.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in answer.error()
            assert service.ask(path, body, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
        for path in ("/", "/docs", "/healthz", "/readyz"):
            assert service.ask(path).status == 200


@pytest.mark.parametrize("text", ["", "  \n", "short", "two words of sufficient length", "umlaut-" + "\u00fc" * 20])
def test_tokens_that_would_guard_nothing(
    text: str, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    assert "at least 16" in refused("serve", model_file, "--token-file", file)
    monkeypatch.setenv("RESIDUUM_TOKEN", text)
    assert "RESIDUUM_TOKEN" in refused("serve", model_file)


def test_names_of_models(tmp_path: Path) -> None:
    from residuum.serve.running import named

    paths = [
        tmp_path / name for name in ("a/model.safetensors", "b/model.safetensors", "a.safetensors", "c/a.safetensors")
    ]
    assert [name for _, name in named(paths)] == ["a", "b", "a-2", "a-3"]


def test_nothing_is_left_of_a_killed_server_and_ctrl_c_ends_one_in_order(model_file: Path) -> None:
    with serving(model_file) as service:
        children = service.children()
        service.process.kill()
        service.process.wait()
        assert gone(children)
    with serving(model_file) as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(20) == 0
