"""The page as a person uses it, in a real browser: choose, drop or paste pictures, read answers, see overlays."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Page, chromium
from service_process import Service, encoded, serving

from residuum import artifact
from residuum.evaluation.unlike import STRANGE
from residuum.inference import Model
from samples import picture

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")

DONE = "document.getElementById('status').textContent.includes('%')"
LOOKED = "document.querySelectorAll('.looked img').length === document.querySelectorAll('.answer').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        page.look(1280, 800)
        yield page


@pytest.fixture
def page(browser: Page, service: Service) -> Page:
    browser.open("about:blank")
    browser.events.clear()
    browser.open(f"http://127.0.0.1:{service.port}/")
    browser.until("document.getElementById('models').textContent")
    return browser


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "<script>document.title='owned'<.png"
    path.write_bytes(encoded(picture(24, 30, 7)))
    return path


def test_choose_a_picture_read_the_answer_see_where_it_looked(
    page: Page, service: Service, model: Model, photo: Path, tmp_path: Path
) -> None:
    page.choose("#files", photo)
    page.until(DONE)
    page.until(LOOKED)
    (expected,) = model.predict(photo)
    first = page.evaluate("document.querySelector('.answer').innerText.split('\\n').filter((line) => line)")
    assert first[0] == "insects"
    assert first[1] == expected["predictions"][0]["class"]
    shares = [f"{100 * each['probability']:.1f}%" for each in expected["predictions"]]
    assert [line for line in first if line.endswith("%")] == shares
    bars = page.evaluate(
        "[...document.querySelector('.answer').querySelectorAll('.bar')].map((bar) => "
        "parseFloat(getComputedStyle(bar, '::before').width) / bar.clientWidth)"
    )
    assert bars == pytest.approx([each["probability"] for each in expected["predictions"]], abs=0.01)
    assert page.evaluate("document.querySelectorAll('.answer').length") == 2  # both models, side by side
    overlays = "[...document.querySelectorAll('.looked img')].every((image) => image.naturalWidth >= 64)"
    page.until(overlays)
    assert page.evaluate("document.querySelectorAll('.answer')[0].querySelectorAll('.near img').length") == 6
    assert page.evaluate("document.getElementById('name').textContent") == photo.name
    assert page.evaluate("document.querySelectorAll('main script').length") == 0
    assert page.evaluate("document.title") == "Residuum"
    assert page.complaints() == []
    own = f"http://127.0.0.1:{service.port}/"
    assert {address for address in page.addresses() if not address.startswith((own, "blob:", "data:"))} == set()


def test_where_it_looked_for_another_class(page: Page, photo: Path) -> None:
    page.choose("#files", photo)
    page.until(DONE)
    page.until(LOOKED)
    said = "document.querySelector('.answer .view h3').textContent"
    last = page.evaluate(
        "[...document.querySelectorAll('.answer')[0].querySelectorAll('.bars button')].at(-1).dataset.class"
    )
    assert not page.evaluate(said).endswith(last)
    page.evaluate("[...document.querySelectorAll('.answer')[0].querySelectorAll('.bars button')].at(-1).click()")
    page.until(f"{said}.endsWith({last!r})")


def files(*contents: tuple[str, bytes]) -> str:
    """JavaScript for a DataTransfer with these files."""
    added = "".join(
        f"data.items.add(new File([Uint8Array.from(atob('{base64.b64encode(content).decode()}'), "
        f"(letter) => letter.charCodeAt(0))], '{name}'));"
        for name, content in contents
    )
    return f"const data = new DataTransfer(); {added}"


@pytest.mark.parametrize(
    "event",
    ["new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
     "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})"],
    ids=["drop", "paste"],
)  # fmt: skip
def test_drop_and_paste(event: str, page: Page) -> None:
    page.evaluate(f"{{ {files(('bee.png', encoded(picture(20, 20, 3))))} document.body.dispatchEvent({event}); }}")
    page.until(DONE)
    assert page.evaluate("document.getElementById('name').textContent") == "bee.png"


def test_what_was_tried_can_be_seen_again(page: Page) -> None:
    contents = [(f"{number}.png", encoded(picture(20, 20, number))) for number in range(3)]
    contents.append(("notes.txt", b"no picture"))
    script = files(*contents)
    page.evaluate(
        f"{{ {script} const input = document.getElementById('files'); input.files = data.files; "
        "input.dispatchEvent(new Event('change')); }"
    )
    tried = "[...document.querySelectorAll('#tried button')]"
    page.until(f"{tried}.length === 4 && {tried}.every((button) => !button.textContent.includes('waiting'))")
    texts = page.evaluate(f"{tried}.map((button) => button.innerText)")
    assert [text.split("\n")[-1] for text in texts] == ["notes.txt", "2.png", "1.png", "0.png"]
    assert "not read" in texts[0]
    page.until("document.getElementById('status').textContent.includes('not a picture')")
    page.evaluate(f"{tried}[3].focus()")
    page.press("Enter")
    page.until("document.getElementById('name').textContent === '0.png'")
    page.until(LOOKED)
    assert page.evaluate("document.getElementById('status').textContent.startsWith('0.png: ')")
    assert page.evaluate(f"document.activeElement === {tried}[3]"), "who uses the keyboard stays there"
    page.evaluate(f"{tried}[0].click()")
    page.until("document.getElementById('picture').hidden")


def test_a_picture_unlike_the_training_pictures_is_marked(browser: Page, model_file: Path, tmp_path: Path) -> None:
    content = artifact.load(model_file)
    for name, energy in (("known", 1e6), ("strange", -1e6)):
        (tmp_path / name).mkdir()
        calibrated = replace(content, calibration={"energies": [energy] * 50})
        artifact.save(calibrated, tmp_path / name / "model.safetensors")
    picture(20, 20, 1).save(tmp_path / "a.png")
    with serving(*(tmp_path / name / "model.safetensors" for name in ("known", "strange"))) as service:
        browser.open(f"http://127.0.0.1:{service.port}/")
        browser.choose("#files", tmp_path / "a.png")
        browser.until("document.querySelectorAll('.answer .bars').length === 2")
        answers = "[...document.querySelectorAll('.answer')]"
        assert browser.evaluate(f"{answers}.map((each) => each.innerText.includes('Unlike'))") == [False, True]
        threshold = browser.evaluate("STRANGE")
    assert threshold == STRANGE


def test_by_keyboard_alone(page: Page) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    outline = page.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(width: int, page: Page, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 150 + ".png")
    long.write_bytes(encoded(picture(16, 200, 1)))
    page.look(width, 800, mobile=width < 500)
    page.choose("#files", long)
    page.until(DONE)
    page.until(LOOKED)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        "[...document.querySelectorAll('button, .drop')].filter((each) => each.getClientRects().length && "
        "each.getBoundingClientRect().height < 40).length"
    )
    assert small == 0  # a finger can hit them
    page.look(1280, 800)


def test_both_colour_schemes(page: Page) -> None:
    colours = []
    for dark in (False, True):
        page.look(1280, 800, dark=dark)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.look(1280, 800)
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


def test_the_page_asks_for_the_token(browser: Page, model_file: Path, photo: Path) -> None:
    token = "only-for-this-test-0123456789"
    with serving(model_file, environment={"RESIDUUM_TOKEN": token}) as service:
        browser.open(f"http://127.0.0.1:{service.port}/")
        browser.until("!document.getElementById('token').hidden")
        browser.evaluate(f"document.getElementById('token-text').value = '{token}'")
        browser.evaluate("document.querySelector('#token button').click()")
        browser.until("document.getElementById('token').hidden")
        browser.choose("#files", photo)
        browser.until(DONE)
        assert token not in browser.evaluate("document.location.href + JSON.stringify(localStorage) + document.cookie")
