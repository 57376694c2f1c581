"""The page about a batch: what it says, what it escapes, and that it works in a real browser."""

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import tiny_weights, write_photos
from browser import CHROMIUM, DRIVER, Browser, driver
from conftest import synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT
from typer.testing import CliRunner

from darkroom.batch.decoders import Decoders
from darkroom.batch.journal import JOURNAL, Journal
from darkroom.batch.record import Outcome, Status
from darkroom.batch.report import check_report, write_report
from darkroom.batch.report.html import format_duration, render_page
from darkroom.batch.report.summary import summarize_outcomes
from darkroom.batch.report.thumbnails import SIDE, BeforeAfter, develop_as_taken, read_before_after
from darkroom.cli import app
from darkroom.errors import OutputError, UsageError
from darkroom.evaluation.reference import develop_plainly
from darkroom.output.dng import write_dng
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture

HOSTILE = "<img src=x onerror='document.title=1'>\"&\u202e.dng"
VOID = {"meta", "img", "input", "br", "link"}


def done(source: Path, output: str, **more: Any) -> Outcome:
    """A record as a batch writes it."""
    facts: dict[str, Any] = {
        "camera": "Example <b>One</b>",
        "taken": "2024-02-29T23:59:58",
        "exposure_seconds": 1 / 30,
        "iso": 1600.0,
        "gain": 50.0,
        "gain_reason": "x50 was asked for",
        "model": "safelight",
        "device": "cpu",
        "seconds": {"decode": 0.5, "network": 1.0, "encode": 0.25},
    }
    return Outcome(str(source), output, Status.DONE, **(facts | more))


def failed(source: Path, output: str, error: str, code: int = 4) -> Outcome:
    return Outcome(str(source), output, Status.FAILED, error=error, exit_code=code)


def write_picture(path: Path, name: str, bits: int = 8, size: tuple[int, int] = (64, 96)) -> None:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    white = 255 if bits == 8 else 65535
    red, green = rows / size[0], columns / size[1]
    pixels = np.stack([red, green, 0.5 + 0 * red], -1) * white
    save = SaveOptions(PictureFormat.from_name(name), bits, overwrite=True)
    save_picture(pixels.astype(np.uint8 if bits == 8 else np.uint16), path, save)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """An output folder: two photos done, the first with a hostile name, and two failures."""
    first, second = write_photos(tmp_path / "in", 2)
    hostile = first.rename(first.with_name(HOSTILE))
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    write_picture(out / "sub/a#1?.png", "png")
    write_picture(out / "z.png", "png")
    with Journal(out) as journal:
        journal.append(done(second, "z.png", warnings=("<i>odd</i> black",)))
        journal.append(failed(hostile, "sub/a#1?.png", "was mended since"))
        journal.append(done(hostile, "sub/a#1?.png"))
        journal.append(failed(Path("/in") / HOSTILE, "b.png", f"/in/{HOSTILE}: is damaged"))
        journal.append(failed(Path("/in/odd\udcff.dng"), "c.png", "the disk is full", 5))
    return out


class Page(HTMLParser):
    """Elements in order, with their attributes and texts; complains where tags do not match."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join("".join(self.texts).split())


def report_of(out: Path) -> Page:
    path = out.parent / "report.html"
    write_report(path, out)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_says_what_became_of_each_photo(batch: Path) -> None:
    page = report_of(batch)
    words = page.words
    for said in (
        "4 photos",
        "is damaged",
        "exit code 4: the RAW photo cannot be read",
        "exit code 5: the picture cannot be written",
        "Example <b>One</b> · 1/30 s, ISO 1600 · 2024-02-29 23:59:58",
        "\u00d750 x50 was asked for",
        "1.75 s (decode 0.50 s, network 1.00 s, encode 0.25 s) · safelight on cpu",
        "<i>odd</i> black",
        "photos per hour",
        "odd\\udcff.dng",
    ):
        assert said in words, said
    assert "was mended since" not in words
    assert words.index("is damaged") < words.index("x50 was asked for")
    for number in ("done2", "failed2", "with warnings1"):
        assert number in words


def test_nothing_foreign_becomes_markup(batch: Path) -> None:
    page = report_of(batch)
    allowed = {"class", "id", "alt", "src", "width", "height", "href", "for", "type", "min", "max"}
    allowed |= {"value", "aria-hidden", "aria-label", "name", "content", "charset", "lang"}
    allowed |= {"http-equiv"}
    assert {name for _, attributes in page.elements for name in attributes} <= allowed
    assert page.all("b") == [{}, {}]  # the gains; none of the camera's name
    assert len(page.all("script")) == 1
    images = page.all("img")
    assert len(images) == 4
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert HOSTILE.removesuffix(".dng") in "".join(page.texts)


def test_the_page_needs_nothing_else(batch: Path) -> None:
    page = report_of(batch)
    markup = (batch.parent / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'src="data:[^"]*"', "", markup))
    links = [str(link["href"]) for link in page.all("a")]
    assert links == ["#failed", "#photos", "out/sub/a%231%3F.png", "out/z.png"]
    identities = [one["id"] for _, one in page.elements if "id" in one]
    assert len(identities) == len(set(identities))
    assert {link[1:] for link in links[:2]} <= set(identities)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    names = {meta.get("name") for meta in page.all("meta")}
    assert {"viewport", "generator"} <= names


def test_each_slider_has_a_label(batch: Path) -> None:
    page = report_of(batch)
    sliders = page.all("input")
    assert [slider["type"] for slider in sliders] == ["range", "range"]
    assert [label["for"] for label in page.all("label")] == [slider["id"] for slider in sliders]


def test_colours_can_be_read() -> None:
    """At least 7:1 for text, 4.5:1 for small print. Source: WCAG 2.2, 1.4.6 and 1.4.3."""
    rooms = (ROOT / "darkroom" / "output", ROOT / "darkroom" / "batch" / "report")
    style = "".join((room / "page.css").read_text("utf-8") for room in rooms)
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style))

    def luminance(color: str) -> float:
        codes = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(text: str, ground: str) -> float:
        bright, dark = luminance(text) + 0.05, luminance(ground) + 0.05
        return bright / dark

    for ground in (colors["ground"], colors["card"]):
        assert contrast(colors["text"], ground) >= 7
        assert min(contrast(colors[name], ground) for name in ("soft", "safelight", "odd")) >= 4.5
    (failure,) = re.findall(r"\.failures li { background: (#\w+)", style)
    assert contrast(colors["bad"], failure) >= 4.5


def test_many_photos_stay_bounded(batch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest photos have pictures, those before are rows, those before only a number."""
    monkeypatch.setattr("darkroom.batch.report.summary.MAX_PAIRS", 1)
    monkeypatch.setattr("darkroom.batch.report.summary.MAX_ROWS", 1)
    with Journal(batch) as journal:
        journal.append(done(Path("/in/new.dng"), "new.png"))
    page = report_of(batch)
    assert "Failed2" in page.words
    assert "Photo and picture are not there any more." in page.words
    assert page.all("img") == []
    assert page.words.count("see darkroom.jsonl") == 2
    assert len(page.all("tr")) == 2
    assert "5 photos" in page.words


def test_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out"):
        pass
    assert "0 photos nothing yet" in report_of(tmp_path / "out").words
    (tmp_path / "out" / JOURNAL).unlink()
    with pytest.raises(OutputError, match=re.escape(JOURNAL)):
        report_of(tmp_path / "out")


# Numbers


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 20)),
        max_size=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_working_time_counts_each_second_once(spans: list[tuple[int, int]]) -> None:
    outcomes = [
        replace(
            done(Path("/a"), str(number), seconds={"network": float(length)}),
            time=datetime.fromtimestamp(1e9 + end, UTC).isoformat(),
        )
        for number, (end, length) in enumerate(sorted(spans))
    ]
    seconds = {second for end, length in spans for second in range(end - length, end)}
    found = summarize_outcomes(outcomes)
    assert found.worked == len(seconds)
    assert found.done == len(spans)
    if seconds:
        assert found.per_hour == pytest.approx(len(spans) / len(seconds) * 3600)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.00 s"), (9.994, "9.99 s"), (9.996, "10.0 s"), (61, "1 min 01 s"), (7261, "2 h 01 min")],
)
def test_duration(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


def test_text_is_escaped_and_has_no_lone_surrogates() -> None:
    summary = summarize_outcomes([failed(Path("/in/a.dng"), "a.png", "<a & 'b' \udcff>")])
    markup = "".join(render_page(summary, [], "/out", None))
    assert "<p>&lt;a &amp; &#39;b&#39; \\udcff&gt;</p>" in markup


@pytest.mark.parametrize("name", ["a\udcff.png", "\ud800.png", "a\0.png"])
def test_no_name_in_a_journal_stops_the_page(name: str, tmp_path: Path, decoders: Decoders) -> None:
    """Names that no file here can have, too: the journal may come from elsewhere."""
    outcome = done(Path(f"/in/{name}"), name)
    summary = summarize_outcomes([outcome])
    pairs = [(outcome, read_before_after(outcome, tmp_path, decoders))]
    assert 'href="out/' in "".join(render_page(summary, pairs, "out", "out/"))


def test_the_page_comes_photo_by_photo() -> None:
    """Pictures are asked for while the page is written, so that few are in memory at once."""
    summary = summarize_outcomes(done(Path("/in/a.dng"), f"{index}.png") for index in range(3))
    asked = []

    def pairs() -> Iterator[tuple[Outcome, BeforeAfter]]:
        for outcome in summary.shown:
            asked.append(outcome.output)
            yield outcome, BeforeAfter((2, 3), b"before", b"after")

    for piece in render_page(summary, pairs(), "/out", None):
        if "how much to show" in piece:
            break
    assert asked == ["0.png"]


# Pictures


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_as_taken_is_the_photo_plainly_developed(cfa: str) -> None:
    raw = synthetic_raw(66, 98, cfa, exposure=0.5)
    expected = develop_plainly(raw, 1.0)[::2, ::2]
    found = develop_as_taken(raw, 50.0).astype(int)
    if cfa == "RGGB":
        assert np.abs(found - expected).max() <= 1  # greens are summed in another order
    else:  # blocks start one site earlier, so only the whole is the same
        assert np.abs(found.mean((0, 1)) - expected.mean((0, 1))).max() < 2


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
@pytest.mark.parametrize("size", [(12, 18), (301, 3 * SIDE)])
def test_as_taken_keeps_a_flat_photo_flat(cfa: str, size: tuple[int, int]) -> None:
    raw = synthetic_raw(*size, cfa, read_noise=0)
    flat = replace(raw, mosaic=np.full_like(raw.mosaic, 2000), orientation=6)
    found = develop_as_taken(flat, 1.0)
    assert np.ptp(found, axis=(0, 1)).max() == 0
    assert max(found.shape) <= 2 * SIDE
    assert found.shape[0] >= found.shape[1]  # upright


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(1, 60.0) as workers:
        yield workers


@pytest.mark.parametrize(("name", "bits"), [("png", 8), ("png", 16), ("tif", 16), ("jpg", 8)])
def test_pairs_have_one_size(tmp_path: Path, decoders: Decoders, name: str, bits: int) -> None:
    write_dng(tmp_path / "a.dng", synthetic_raw(60, 90, exposure=0.02, orientation=6))
    write_picture(tmp_path / f"a.{name}", name, bits, (1201, 801))
    pair = read_before_after(done(tmp_path / "a.dng", f"a.{name}"), tmp_path, decoders)
    assert pair.size == (SIDE, 427)
    assert pair.before is not None
    assert pair.after is not None
    before, after = (decoded(jpeg) for jpeg in (pair.before, pair.after))
    assert before.shape == after.shape == (SIDE, 427, 3)
    assert before.mean() < 40
    ramp = np.linspace(0, 255, SIDE)
    assert np.abs(after[..., 0].mean(1) - ramp).max() < 8  # JPEG at reduced size


def test_a_finished_jpeg_keeps_its_detail(tmp_path: Path, decoders: Decoders) -> None:
    """As reduced from its full size by Pillow, and not enlarged from less than is shown."""
    detail = np.random.default_rng(0).integers(0, 256, (300, 450)).astype(np.uint8)
    gray = Image.fromarray(detail).resize((3 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
    finished = gray.convert("RGB")
    finished.save(tmp_path / "a.jpg", quality=95)
    pair = read_before_after(done(tmp_path / "none.dng", "a.jpg"), tmp_path, decoders)
    assert pair.before is None
    assert pair.after is not None
    expected = finished.resize((SIDE, round(SIDE * 2 / 3)), Image.Resampling.LANCZOS)
    found = decoded(pair.after)
    # 5.6 codes by JPEG's quality of 80, of detail that has a spread of 50.
    assert np.abs(found - np.asarray(expected).astype(int)).mean() < 10


def decoded(jpeg: bytes) -> Any:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_what_is_gone_is_left_out(tmp_path: Path, decoders: Decoders) -> None:
    (photo,) = write_photos(tmp_path, 1)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    without_picture = read_before_after(done(photo, "bad.png"), tmp_path, decoders)
    assert (without_picture.after, without_picture.size) == (None, (32, 48))
    write_picture(tmp_path / "good.png", "png")
    without_photo = read_before_after(done(tmp_path / "gone.dng", "good.png"), tmp_path, decoders)
    assert (without_photo.before, without_photo.size) == (None, (64, 96))


# Files and the command line


def test_only_reports_are_replaced(batch: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="end its name in"):
        check_report(tmp_path / "IMG.ARW", batch)
    page = tmp_path / "page.html"
    page.write_text("<!doctype html> my own", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        write_report(page, batch)
    assert page.read_text(encoding="utf-8").endswith("my own")
    write_report(page, batch, overwrite=True)
    first = page.read_bytes()
    write_report(page, batch)
    assert page.read_bytes() == first
    check_report(tmp_path / "new" / "a.html", tmp_path / "new")
    with pytest.raises(OutputError, match="create it first"):
        check_report(tmp_path / "other" / "a.html", tmp_path / "new")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def arguments(weights: Path, *more: object) -> list[str]:
    fixed = ("--model", weights, "--device", "cpu", "--precision", "fp32", "--jobs", 1)
    return [str(argument) for argument in ("batch", *more, *fixed)]


def test_batches_write_it(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path / "in", 1)
    (tmp_path / "in" / "bad.dng").write_text("no photo", encoding="utf-8")
    out = tmp_path / "out"
    command = arguments(weights, tmp_path / "in", "-o", out, "--report", out / "report.html")
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 1, first.stderr
    assert "writing " in first.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    again = CliRunner().invoke(app, [*command, "-q"])  # what was done before is in it too
    assert (again.exit_code, again.stderr) == (1, "")
    pictures = re.findall(r'src="data:[^"]*"', page)
    assert len(pictures) == 2
    assert pictures == re.findall(r'src="data:[^"]*"', (out / "report.html").read_text("utf-8"))
    wrong = CliRunner().invoke(app, arguments(weights, "in", "-o", out, "--report", "a.png"))
    assert wrong.exit_code == 2


def test_watching_writes_it_when_ended(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from darkroom.batch.jobs import find_jobs

    photos = write_photos(tmp_path / "in", 1)

    def arrive(*given: object) -> Iterator[object]:
        yield from find_jobs(photos)
        while not (tmp_path / "out/p000.png").exists():
            yield None
        yield None
        raise KeyboardInterrupt

    monkeypatch.setattr("darkroom.batch.watch.watch_folders", arrive)
    report = tmp_path / "report.html"
    command = arguments(weights, tmp_path / "in", "--watch", "-o", tmp_path / "out")
    found = CliRunner().invoke(app, [*command, "--report", str(report)])
    assert found.exit_code == 130, found.stderr
    assert "1 photo" in Page(report.read_text(encoding="utf-8")).words


# In a real browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver (Debian: apt install chromium-driver)")
    with driver() as found:
        yield found


@pytest.fixture
def browse(address: str, batch: Path) -> Iterator[Callable[..., Browser]]:
    """`browse(phone=False)` opens the report, copied away from everything else."""
    opened = []

    def browse(phone: bool = False) -> Browser:
        away = batch.parent / "away"
        away.mkdir()
        write_report(batch.parent / "report.html", batch)
        shutil.copy(batch.parent / "report.html", away)
        opened.append(Browser(address, phone))
        opened[0].open(away / "report.html")
        return opened[0]

    yield browse
    for browser in opened:
        browser.close()


CLIP = "return getComputedStyle(document.querySelector('.pair .before')).clipPath"


def test_in_a_browser(browse: Callable[..., Browser]) -> None:
    page = browse()
    sizes = page.run("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert sizes == [[True, 96]] * 4
    half = page.run(CLIP)
    page.press("#at1", *["\ue014"] * 5)  # arrow right
    assert page.run("return document.querySelector('#at1').value") == "55"
    assert page.run(CLIP) != half
    assert page.run("return document.querySelector('#at1').ariaValueText") == "55 % as taken"
    page.press("#at1", "\ue012", "\ue011")  # arrow left, home
    assert page.run(CLIP) == "inset(0px 100% 0px 0px)"
    set_value = "const at = document.querySelector('#at1'); at.value = 100;"
    page.run(set_value + "at.dispatchEvent(new Event('input', {bubbles: true}))")
    assert page.run(CLIP) == "inset(0px 0% 0px 0px)"
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.run("return document.title") == "4 photos · darkroom"
    assert page.log() == []
    page.run("console.error('seen')")
    assert json.dumps(page.log()).count("seen") == 1


def test_on_a_phone(browse: Callable[..., Browser]) -> None:
    page = browse(phone=True)
    assert page.run("return innerWidth") == 390
    assert page.run("return document.documentElement.scrollWidth") <= 390
    box = "const box = document.querySelector('.pair').getBoundingClientRect();"
    page.run("document.querySelector('.pair').scrollIntoView({block: 'center'})")
    left, width, middle = page.run(f"{box} return [box.left, box.width, box.top + box.height / 2]")
    assert width > 300
    page.touch(left + 0.75 * width, middle)
    moved = float(page.run("return document.querySelector('#at1').value"))
    assert abs(moved - 75) <= 1  # the line is where the finger is
    assert page.log() == []
