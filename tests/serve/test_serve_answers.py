"""What the service answers is what `residuum predict --json` says, for every way of sending a picture."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors
from PIL import ExifTags, Image
from service_process import Answer, Service, encoded, png, serving

import commands
import residuum
from commands import refused, run
from residuum.inference import Model
from samples import picture, picture_folder

LYING = Image.Exif()
LYING[ExifTags.Base.Orientation] = 6
PICTURES = {
    "photo.jpg": encoded(picture(60, 80, 1), "JPEG", exif=LYING),
    "grey.png": encoded(picture(30, 20, 2).convert("L")),
    "clear.png": encoded(picture(30, 20, 3).convert("RGBA")),
    "palette.gif": encoded(picture(30, 20, 4).convert("P"), "GIF"),
    "deep.tif": encoded(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "TIFF"),
    "small.bmp": encoded(picture(3, 5, 5), "BMP"),
    "web.webp": encoded(picture(33, 20, 6), "WEBP"),
}  # fmt: skip


def same(answers: object, expected: object) -> None:
    """Equal in all but the last digits of numbers: the size of a batch may change these."""
    if isinstance(expected, float):
        assert answers == pytest.approx(expected, abs=1e-6)
    elif isinstance(expected, dict):
        assert isinstance(answers, dict)
        assert answers.keys() == expected.keys()
        for key in expected:
            same(answers[key], expected[key])
    elif isinstance(expected, list):
        assert isinstance(answers, list)
        assert len(answers) == len(expected)
        for one, other in zip(answers, expected, strict=True):
            same(one, other)
    else:
        assert answers == expected


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, model_file: Path, grey_file: Path) -> dict[str, list[dict]]:
    """The JSON of `residuum predict` by model."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, content in PICTURES.items():
        (folder / name).write_bytes(content)
    files = [folder / name for name in PICTURES]
    found = {
        "insects": run("predict", model_file, *files, "--json"),
        "grey": run("predict", grey_file, *files, "--json"),
    }
    return {
        name: [answer | {"image": Path(answer["image"]).name} for answer in outcome.json()]
        for name, outcome in found.items()
    }


def test_a_form_with_many_pictures_is_answered_as_predict_answers_files(service: Service, told: dict) -> None:
    assert service.models == ["insects", "grey"]
    same(service.predict(*PICTURES.items()).json(), told["insects"])
    same(service.predict(*PICTURES.items(), query="?model=grey").json(), told["grey"])


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
def test_a_picture_as_the_body(kind: str | None, service: Service, told: dict) -> None:
    headers = {"Content-Type": kind} if kind else {}
    for name, expected in zip(PICTURES, told["insects"], strict=True):
        answer = service.ask("/v1/predict", PICTURES[name], headers=headers)
        same(answer.json(), [expected | {"image": ""}])
    chunks = [PICTURES["photo.jpg"][:100], PICTURES["photo.jpg"][100:]]
    same(
        service.ask("/v1/predict", chunks, headers=headers).json()[0]["predictions"], told["insects"][0]["predictions"]
    )


def test_top(service: Service, told: dict) -> None:
    (answer,) = service.predict(("photo.jpg", PICTURES["photo.jpg"]), query="?top=1").json()
    same(answer["predictions"], told["insects"][0]["predictions"][:1])
    assert len(service.predict(("a", png()), query="?top=99999").json()[0]["predictions"]) == 3
    for top in ("0", "-1", "x", "1e9", "9" * 5000):
        answer = service.predict(("a", png()), query=f"?top={top}")
        assert answer.status == 422
        assert "top" in answer.error()


NAMES = {
    "<script>alert(1)</script>.png": "script>.png",
    "<img src=x onerror=alert(1)>.png": "<img src=x onerror=alert(1)>.png",
    "../../etc/passwd.png": "passwd.png",
    "C:\\Users\\me\\a.png": "a.png",
    'quote".png': 'quote".png',
    "caf\u00e9 \U0001f600.png": "caf\u00e9 \U0001f600.png",
    "line\tbreak.png": "line\\tbreak.png",
    "": "",
    "x" * 5000: None,
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
def test_names_come_back_harmless(name: str, service: Service) -> None:
    answer = service.predict((name, png()))
    if NAMES[name] is None:
        assert answer.status == 400
        assert "headers" in answer.error()
        return
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()[0]["image"] == NAMES[name]


def test_unreadable_pictures_do_not_keep_the_others_from_being_answered(service: Service, told: dict) -> None:
    answers = service.predict(
        ("photo.jpg", PICTURES["photo.jpg"]), ("junk.png", b"<html>"), ("cut.png", PICTURES["clear.png"][:60]),
        ("grey.png", PICTURES["grey.png"]),
    ).json()  # fmt: skip
    same([answers[0], answers[3]], told["insects"][:2])
    assert answers[1] == {"image": "junk.png", "error": "the picture cannot be read: not a picture: looks like HTML"}
    assert answers[2].keys() == {"image", "error"}
    refused = service.predict(("junk.png", b"<html>"), ("cut.png", PICTURES["clear.png"][:60]))
    assert refused.status == 422
    assert "none of the 2" in refused.error()


def test_what_a_model_is(service: Service, model_file: Path, model: Model) -> None:
    told = service.ask("/v1/model").json()
    assert told["models"] == ["insects", "grey"]
    assert told["name"] == "insects"
    assert told["classes"] == list(model.classes)
    assert told["preprocessing"] == model.artifact.preprocessing.to_dict()
    with safetensors.safe_open(model_file, "pt") as file:
        assert json.loads(file.metadata()["spec"]) == told["spec"]
        assert told["sha256"] == file.metadata()["sha256"]
    assert service.ask("/v1/model?model=grey").json()["preprocessing"]["channels"] == 1
    refused = service.ask("/v1/model?model=insect")
    assert refused.status == 404
    assert refused.error() == 'there is no model "insect"; did you mean "insects"?'


def opened(uri: str) -> Image.Image:
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_explanations(service: Service, model: Model, examples: Path) -> None:
    known = examples / "bee" / "002.png"
    answer = service.ask("/v1/explain", known.read_bytes()).json()
    (predicted,) = model.predict(known, top=1)
    assert answer["class"] == predicted["predictions"][0]["class"]
    for key in ("overlay", "picture"):
        assert max(opened(answer[key]).size) >= 16
    assert np.asarray(opened(answer["overlay"])).std() > 0
    nearest = answer["neighbours"]
    assert len(nearest) == 6
    assert [each["distance"] for each in nearest] == sorted(each["distance"] for each in nearest)
    if nearest[0]["distance"] < 1e-5 < nearest[1]["distance"]:  # it was trained on, unless it was held out
        assert (nearest[0]["class"], nearest[0]["name"]) == ("bee", "002.png")
    others = {service.ask(f"/v1/explain?class={name}", known.read_bytes()).json()["overlay"] for name in model.classes}
    assert len(others) == 3
    said = service.ask("/v1/explain?class=bees", known.read_bytes()).error()
    assert said == 'the model insects has no class "bees"; did you mean "bee"?'
    assert service.ask("/v1/explain", b"junk").status == 422


def test_neighbours_are_what_was_trained_on(tmp_path: Path) -> None:
    """Neither what training left out nor what it held out, for each model its own."""
    from residuum.serve.engine import start

    data = picture_folder(tmp_path / "data", dict.fromkeys(("ant", "bee"), 20))
    (tmp_path / "list.txt").write_text("ant/003.png\n")
    files = []
    for name, options in (("some", ("--exclude", tmp_path / "list.txt", "--val", "10")), ("all", ("--val", "0"))):
        outcome = commands.run("train", data, *commands.TINY, "--recipe", "debug", "--out", tmp_path / name, *options)
        assert outcome.code == 0, outcome
        files.append([str(tmp_path / name / "model.safetensors"), name])
    some, every = start({"models": files, "data": str(data), "device": "cpu", "backend": None})
    assert some.manifest is not None
    assert some.neighbours is not None
    assert every.neighbours is not None
    assert "ant/003.png" not in some.manifest.names
    assert len(some.neighbours.indices) == 29
    assert not set(some.neighbours.indices) & set(some.manifest.part("val"))
    assert len(every.neighbours.indices) == 40


def test_a_backend_answers_as_predict_does_on_it(model_file: Path, examples: Path, tmp_path: Path) -> None:
    files = [examples / name / "002.png" for name in ("ant", "bee", "cat")]
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    with serving(model_file, "--data", examples, "--backend", "onnx", environment=environment) as service:
        told = service.predict(*((path.name, path.read_bytes()) for path in files)).json()
        assert service.ask("/v1/model").json()["backend"] == "onnx"
        assert service.ask("/v1/explain", files[0].read_bytes()).status == 200
    for answer, expected in zip(told, residuum.load(model_file).predict(files), strict=True):
        assert (answer["backend"], answer["precision"]) == ("onnx", "float32")
        for one, other in zip(answer["predictions"], expected["predictions"], strict=True):
            assert one["class"] == other["class"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    assert 'did you mean "onnx"' in refused("serve", model_file, "--backend", "onxx")


def test_results_tell_no_paths(tmp_path: Path) -> None:
    from residuum.serve.engine import _without_paths

    protocol = {"data": "/home/me/leaves", "view": {"resize": 16}, "more": ["csv:/srv/x/table.csv", "digits", 0.5]}
    told = _without_paths(protocol)
    assert told == {"data": "leaves", "view": {"resize": 16}, "more": ["csv:table.csv", "digits", 0.5]}


ADDRESSES = ("/", "/docs", "/healthz", "/readyz", "/metrics", "/v1/model", "/openapi.json", "/assets/page.js",
             "/assets/style.css", "/assets/icon.svg")  # fmt: skip


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_address_answers_safely_and_from_this_server_alone(path: str, service: Service) -> None:
    answer = service.ask(path)
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    elsewhere = re.findall(rb"(?:https?:)?//[\w.-]+\.[a-z]{2,}", answer.body)
    assert not [found for found in elsewhere if not found.endswith(b"www.w3.org")], elsewhere


def test_a_probe_may_ask_for_the_head_alone(service: Service) -> None:
    for path in ADDRESSES:
        head, whole = service.ask(path, method="HEAD"), service.ask(path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers.keys() == whole.headers.keys()
    assert service.ask("/v1/predict", method="HEAD").status == 405


def test_the_page_for_programs_lists_every_address(service: Service) -> None:
    page = service.ask("/docs").body.decode()
    paths = service.ask("/openapi.json").json()["paths"]
    assert {"/v1/predict", "/v1/explain", "/v1/model", "/healthz", "/readyz", "/metrics"} == paths.keys()
    assert all(path in page for path in paths)
    assert f"http://127.0.0.1:{service.port}/v1/predict" in page
    script = service.ask("/docs", headers={"Host": f"localhost:{service.port}"}).body
    assert b"http://localhost" in script


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/predict", 405), ("DELETE", "/", 405), ("POST", "/healthz", 405),
     ("GET", "/assets/../../etc/passwd", 404), ("GET", "/%00", 404), ("PUT", "/v1/predict?x=%ff", 405),
     ("FOO", "/", 405), ("GET", "/v1/model?model=%3Cscript%3E", 404), ("POST", "/v1/predict/", 404)],
)  # fmt: skip
def test_other_addresses_and_methods_are_refused_in_json(method: str, path: str, status: int, service: Service) -> None:
    answer = service.ask(path, method=method)
    assert answer.status == status
    assert answer.error()


def test_prometheus_reads_the_figures(service: Service) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def pictures() -> float:
        families = text_string_to_metric_families(service.ask("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples]
        wanted = ("residuum_pictures_total", {"model": "grey"})
        return sum(sample.value for sample in samples if (sample.name, sample.labels) == wanted)

    before = pictures()
    service.predict(("a", png()), ("b", b"junk"), ("c", png()), query="?model=grey")
    assert pictures() == before + 2


def host(service: Service, name: str) -> Answer:
    return service.ask("/", headers={"Host": name})


def test_a_page_elsewhere_cannot_take_this_servers_answers_for_its_own(service: Service) -> None:
    for good in (f"localhost:{service.port}", "127.0.0.1", "LOCALHOST", f"[::1]:{service.port}"):
        assert host(service, good).status == 200, good
    for bad in (
        "evil.example",
        f"evil.example:{service.port}",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "",
        "[::2]",
    ):
        refused = host(service, bad)
        assert refused.status == 421, bad
        assert "localhost" in refused.error()
