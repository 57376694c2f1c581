"""`darkroom compare`: sheets and pages."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import tiny_weights, write_photos
from browser import CHROMIUM, DRIVER, Browser, driver
from conftest import synthetic_raw
from PIL import Image
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.output.dng import write_dng


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in ("compare", *arguments)])


def test_a_sheet_and_what_is_said(tmp_path: Path, weights: Path) -> None:
    (photo,) = write_photos(tmp_path, 1)
    sheet = tmp_path / "sheet.png"
    done = run(photo, "-m", weights, "-m", weights, "-o", sheet, "--ratio", 20, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    names = [one["name"] for one in record["pictures"]]
    assert names == ["as taken", "LibRaw", "tiny", "tiny"]
    assert [one["gain"] for one in record["pictures"]] == [1, 20, 20, 20]
    assert "sheet.png: as taken x1, " in done.stderr
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert "warning" not in done.stderr
    again = run(photo, "-m", weights, "-o", sheet)
    assert (again.exit_code, "--overwrite" in again.stderr) == (5, True)


def test_what_is_odd_is_said_once(tmp_path: Path, weights: Path) -> None:
    photo = tmp_path / "odd.dng"
    raw = synthetic_raw(64, 96, exposure=0.02)
    raw.mosaic[20, 30] = 16000
    write_dng(photo, raw)
    done = run(photo, "-m", weights, "-m", weights, "-o", tmp_path / "o.png", "--ratio", 20)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("hot or dead") == 1


def test_folders_give_a_sheet_each(tmp_path: Path, weights: Path) -> None:
    photos = write_photos(tmp_path / "in", 2)
    photos[1].write_bytes(b"no photo")
    done = run(tmp_path / "in", "-m", weights, "-o", tmp_path / "out", "--format", "html")
    assert done.exit_code == 1
    assert "p001.dng" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p000.html"]


def test_photos_and_weights_are_never_replaced(tmp_path: Path, weights: Path) -> None:
    (photo,) = write_photos(tmp_path, 1)
    own = shutil.copy(weights, tmp_path / "own.png")
    page = tmp_path / "p.html"
    page.symlink_to(photo)
    before = own.read_bytes(), photo.read_bytes()
    for target, more in ((own, ["-m", own]), (page, ["-m", weights])):
        done = run(photo, "-o", target, "--overwrite", *more)
        assert (done.exit_code, "is read" in done.stderr) == (5, True), done.output
    assert (own.read_bytes(), photo.read_bytes()) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-", "-o", "x.png"], 2, "name both"),
        (["p000.dng", "-o", "-"], 2, "name both"),
        (["p000.dng", "-o", "x.gif"], 2, "picture format"),
        (["p000.dng", "-o", "x.png", "-m", "nobody"], 3, "nobody"),
        (["p000.dng", "-o", "x.png", "--ratio", "0"], 2, "--ratio"),
        (["gone.dng", "-o", "x.png"], 4, "gone.dng"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path, 1)
    done = run(*words)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p000.dng"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver (Debian: apt install chromium-driver)")
    with driver() as found:
        yield found


def test_a_page_in_a_browser(address: str, tmp_path: Path, weights: Path) -> None:
    (photo,) = write_photos(tmp_path, 1)
    assert run(photo, "-m", weights, "-o", tmp_path / "sheet.html").exit_code == 0
    browser = Browser(address, phone=False)
    try:
        browser.open(tmp_path / "sheet.html")
        _check_page(browser)
    finally:
        browser.close()


def _check_page(page: Browser) -> None:
    sizes = page.run("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert sizes == [[True, 96]] * 6
    shown = "return [...document.querySelectorAll('.pair')[0].querySelectorAll('img')]"
    assert page.run(f"{shown}.map(i => i.className)") == ["other", "before", "after"]
    page.press("#at0", *["\ue014"] * 5)  # arrow right
    clip = "return getComputedStyle(document.querySelector('.pair .before')).clipPath"
    assert page.run(clip) == "inset(0px 45% 0px 0px)"
    assert page.run("return document.querySelector('#at0').ariaValueText") == "55 % LibRaw"
    choose = "const s = document.querySelector('#left'); s.value = 0;"
    page.run(choose + "s.dispatchEvent(new Event('change', {bubbles: true}))")
    assert page.run(f"{shown}.map(i => i.className)") == ["before", "other", "after"]
    assert page.run("return document.querySelector('.pair .left').textContent") == "as taken"
    page.run(choose.replace("0", "2") + "s.dispatchEvent(new Event('change', {bubbles: true}))")
    assert page.run(f"{shown}.map(i => i.className)") == ["other", "other", "after"]
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.log() == []
