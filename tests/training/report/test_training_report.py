"""The page about training runs: what it says, what it escapes, and that a real browser shows it."""

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser, driver
from PIL import Image
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.errors import OutputError, UsageError
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.training.report import write_report
from darkroom.training.report.charts import MAX_POINTS, draw_chart, write_number
from darkroom.training.report.html import compare_recipes
from darkroom.training.report.runs import MAX_SHEETS, read_runs, thin_points
from darkroom.training.report.sheets import read_samples, split_sheet

HOSTILE = "</script><img src=x onerror='document.title=1'>\"&"
VOID = {"meta", "img", "input", "br", "link"}


def record(step: int, **more: Any) -> dict[str, Any]:
    """A line of the log as training writes it; every fifth is scored."""
    scored = step % 500 == 0
    scores = {name: {"psnr": 20 + step / 500, "ssim": 0.5} for name in ("x100", "all")}
    layers = {
        name: {"gradient": 1e-3 / step, "activation": 0.5, "weight": 0.1}
        for name in ("conv1_1", "conv1_2")
    }
    facts = {
        "step": step,
        "loss": 1 / step,
        "rate": 1e-4,
        "seconds_per_step": 0.2,
        "crops_per_second": 5.0,
        "scores": scores if scored else {},
        "scoring_seconds": 1.0 if scored else 0.0,
        "layers": layers if scored else {},
    }
    return facts | more


def write_log(folder: Path, records: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(one) + "\n" for one in records)
    (folder / "log.jsonl").write_text(lines, encoding="utf-8")


def write_sample(folder: Path, step: int) -> None:
    """A sheet of two targets and outputs; outputs are grayer in earlier steps."""
    panels = []
    for number, size in enumerate(((64, 96), (64, 48))):
        target = np.full((*size, 3), (200, 60 * number, 30), np.uint8)
        output = np.full((*size, 3), step // 100 + 40, np.uint8)
        panels += [(f"{number}, reference", target), (f"output of {step}", output)]
    folder.mkdir(parents=True, exist_ok=True)
    sheet = draw_picture_grid(panels, height=64, columns=2)
    Image.fromarray(sheet).save(folder / f"step-{step:08d}.png")


def write_run(folder: Path, **recipe: Any) -> Path:
    write_log(folder, [record(step) for step in range(100, 2001, 100)])
    facts = {"network": "sid", "recipe": {"rate": 1e-4, "flips": [0.5, 0.5]} | recipe}
    (folder / "recipe.json").write_text(json.dumps(facts), encoding="utf-8")
    for step in (500, 1000, 2000):
        write_sample(folder / "samples", step)
    (folder / "features").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(folder / "features/step-00002000.png")
    for name in ("sid.safetensors", "state.safetensors"):
        (folder / name).write_bytes(b"")
    (folder / "sid.md").write_text(f"# sid\n\n{HOSTILE}\n", encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Elements and texts; complains where tags do not match."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data = ""
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and data.startswith("[{"):
            self.data = data
        elif self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())


def report_of(*runs: Path) -> Page:
    out = runs[0] / "report.html"
    write_report(runs, out)
    return Page(out.read_text(encoding="utf-8"))


def test_the_page_of_a_run(tmp_path: Path) -> None:
    page = report_of(write_run(tmp_path / "first"))
    for said in (
        "first",
        "step 2,000 · sid.safetensors",
        "loss",
        "PSNR in dB",
        "gradient of the weights, root mean square by layer",
        "conv1_2",
        "recipe.rate",
        "0.0001",
        "Feature maps",
        "# sid",
    ):
        assert said in page.words, said
    charts = [one for one in page.all("svg") if one.get("class") == "chart"]
    assert [one["data-chart"] for one in charts] == [str(n) for n in range(len(charts))]
    data = json.loads(page.data)
    assert len(data) == len(charts) == 8  # loss, rate, speed, two scores, three of layers
    assert data[0]["lines"][0]["points"][0] == [100, 0.01]
    assert [line["name"] for line in data[3]["lines"]] == ["x100", "all"]
    # Two samples: a target, and an output at each of three steps; and one sheet of features.
    assert len(page.all("img")) == 2 * (1 + 3) + 1
    row, *_ = re.findall(r"<tbody>\s*<tr>(.*?)</tr>", (tmp_path / "first/report.html").read_text())
    assert ">24<" in row  # dB at the last scoring


def test_nothing_foreign_becomes_markup(tmp_path: Path) -> None:
    """Names of folders, scores and layers, recipes and cards are others' words."""
    run = write_run(tmp_path / "<b>run&", loss=HOSTILE)
    scores = {HOSTILE: {"psnr": 20.0, HOSTILE: 1.0}}
    write_log(run, [record(100, scores=scores, layers={HOSTILE: {"weight": 1.0}})])
    page = report_of(run)
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not any(name.startswith("on") for _, one in page.elements for name in one)
    assert page.all("b") == []
    assert "<" not in page.data
    assert HOSTILE in [line["name"] for chart in json.loads(page.data) for line in chart["lines"]]
    assert page.words.count("</script>") >= 2
    (policy,) = (one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)
    identities = [one["id"] for _, one in page.elements if "id" in one]
    assert len(set(identities)) == len(identities)
    assert {label["for"] for label in page.all("label")} <= set(identities)


def test_variants_side_by_side(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, norm=name) for name in ("none", "single")]
    out = tmp_path / "both.html"
    write_report(runs, out)
    page = Page(out.read_text(encoding="utf-8"))
    assert "2 training runs" in page.words
    data = json.loads(page.data)
    assert [line["name"] for line in data[0]["lines"]] == ["none", "single"]
    table = compare_recipes(read_runs(runs))
    assert table.columns == (
        *("run", "step", "PSNR x100", "PSNR all", "SSIM x100", "SSIM all"),
        *("loss", "recipe.norm"),
    )
    assert table.rows[1][:2] == ("single", "2,000")
    assert table.rows[1][-2:] == ("0.0005", "single")
    assert table.same == {"network": "sid", "recipe.rate": "0.0001", "recipe.flips": "[0.5, 0.5]"}


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / place / "first") for place in ("a", "b")]
    assert [run.name for run in read_runs(runs)] == [str(run) for run in runs]
    with pytest.raises(UsageError, match="is given twice"):
        read_runs([runs[0], runs[0]])


def test_what_an_older_log_does_not_have(tmp_path: Path) -> None:
    """Today's training of safelight writes no layers and no recipe; scores come later."""
    records = [record(step, scores={}) for step in (100, 200)]
    for one in records:
        del one["layers"], one["rate"]
    write_log(tmp_path, [*records, record(300, loss=float("nan"))])
    page = report_of(tmp_path)
    assert "Recipe" not in page.words
    loss = json.loads(page.data)[0]["lines"][0]["points"]
    assert loss == [[100, 0.01], [200, 0.005]]  # what is no number is no point


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"loss": 1}',
        '{"step": 1, "loss": "x"}',
        '{"step": 1, "scores": {"all": 3}}',
        '{"step": 1e999, "loss": 1}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_one_line_of_error(tmp_path: Path, line: str) -> None:
    write_log(tmp_path, [record(100)])
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    (told,) = result.stderr.splitlines()
    assert "log.jsonl, line 2: is no record of a training run; delete that line" in told
    assert not (tmp_path / "report.html").exists()


def test_what_cannot_be_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for folder, told in (
        (tmp_path, "give the folder of a training run"),
        (run / "sid.md", "folder"),
    ):
        with pytest.raises(UsageError, match=told):
            write_report([folder], tmp_path / "report.html")
    with pytest.raises(UsageError, match=r"end its name in \.html"):
        write_report([run], tmp_path / "report.png")
    (run / "log.jsonl").write_text("")
    with pytest.raises(UsageError, match="is empty"):
        write_report([run], tmp_path / "report.html")
    write_log(run, [record(100)])
    (run / "recipe.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"recipe\.json: is no recipe"):
        write_report([run], tmp_path / "report.html")
    (run / "recipe.json").unlink()
    (run / "samples/step-00000500.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_only_a_report_is_replaced_unasked(tmp_path: Path) -> None:
    run, out = write_run(tmp_path / "run"), tmp_path / "page.html"
    out.write_text("my own page")
    words = ["report", str(run), "-o", str(out)]
    assert CliRunner().invoke(app, words).exit_code == 5
    assert out.read_text() == "my own page"
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    first = out.read_bytes()
    assert CliRunner().invoke(app, words).exit_code == 0
    assert out.read_bytes() == first
    (run / "notes.html").write_text("mine")
    with pytest.raises(OutputError):
        write_report([run], run / "notes.html")
    result = CliRunner().invoke(app, ["report", str(run), str(tmp_path)])
    assert (result.exit_code, "-o FILE.html" in result.stderr) == (2, True)


def test_long_runs_are_thinned(tmp_path: Path) -> None:
    """A hundred thousand lines make a page of the size of a short one's; spikes are still there."""
    spike = 77_700
    points = [(float(step), 5.0 if step == spike else 1 / step) for step in range(1, 100_001)]
    kept = thin_points(points, MAX_POINTS)
    assert len(kept) <= MAX_POINTS + 2
    assert (spike, 5.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept)
    write_log(tmp_path, [record(step, layers={}) for step in range(10, 50_001, 10)])
    for step in range(100, 100 * (MAX_SHEETS + 20), 100):
        write_sample(tmp_path / "samples", step)
    page = report_of(tmp_path)
    assert len(page.data) < 200_000
    assert len(page.all("img")) == 2 * (1 + MAX_SHEETS)
    assert "4,300" in page.words  # the last


def test_a_chart_against_its_axes() -> None:
    """Ticks lie where their values do, and curves between the axes, linear and logarithmic."""
    chart = draw_chart("x", {"a": [(0, 0.0), (50, 5.0), (100, 10.0)]})
    assert chart is not None
    corners = [tuple(map(float, one.split(","))) for one in chart.lines[0].path.split()]
    assert corners == [(58, 224), (343, 118), (628, 12)]
    assert [(tick.text, tick.place) for tick in chart.value_ticks][::5] == [("0", 224), ("10", 12)]
    log = draw_chart("x", {"a": [(0, 1e-4), (1, 1e-2), (2, 0.0)]}, log=True)
    assert log is not None
    assert [(tick.text, round(tick.place, 6)) for tick in log.value_ticks] == [
        ("0.0001", 224),
        ("0.001", 118),
        ("0.01", 12),
    ]
    assert draw_chart("x", {"a": [(0, float("nan"))]}) is None
    for values in ([(5, 2.0)], [(5, 0.0), (6, 0.0)], [(1, 1e-30), (2, 1e30)], [(1, 3.0), (2, 3.1)]):
        for log_axis in (False, True):
            one = draw_chart("x", {"a": values}, log_axis)
            assert one is None or all(0 <= tick.place <= 250 for tick in one.value_ticks)


@pytest.mark.parametrize(
    ("value", "text"), [(20_000, "20k"), (1.5e6, "1.5M"), (1e-5, "1e-05"), (0.25, "0.25")]
)
def test_numbers_are_written_shortly(value: float, text: str) -> None:
    assert write_number(value) == text


def test_a_sheet_is_taken_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pictures = [
        random.integers(0, 256, (64, width, 3), dtype=np.uint8) for width in (90, 90, 64, 64)
    ]
    sheet = draw_picture_grid([("a", picture) for picture in pictures], columns=2)
    pairs = split_sheet(sheet)
    for found, given in zip([one for pair in pairs for one in pair], pictures, strict=True):
        assert np.array_equal(found, given)
    # Another layout is shown whole.
    assert split_sheet(draw_picture_grid([("a", picture) for picture in pictures], columns=3)) == []
    Image.fromarray(pictures[0]).save(tmp_path / "other.png")
    assert read_samples({1: tmp_path / "other.png"}) == []


# In a real browser


@pytest.fixture(scope="module")
def chromedriver() -> Iterator[str]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver (Debian: apt install chromium-driver)")
    with driver() as found:
        yield found


@pytest.fixture
def browse(chromedriver: str, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Open the page of two runs, as on a desktop or a phone."""
    opened: list[Browser] = []
    runs = [write_run(tmp_path / name, norm=name) for name in ("none", "single")]
    page = tmp_path / "report.html"
    write_report(runs, page)

    def open_page(phone: bool = False) -> Browser:
        opened.append(Browser(chromedriver, phone))
        opened[-1].open(page)
        return opened[-1]

    yield open_page
    for browser in opened:
        browser.close()


LOSS = "const c = document.querySelector('.chart');"
TIP = "return document.querySelector('.tip').textContent"
GRAY = """
const image = [...document.querySelectorAll('.pair')][0].querySelector('.on');
const canvas = document.createElement('canvas');
canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
const pen = canvas.getContext('2d');
pen.drawImage(image, 0, 0);
return pen.getImageData(20, 20, 1, 1).data[0];
"""


def test_in_a_browser(browse: Callable[..., Browser]) -> None:
    page = browse()
    sizes = page.run("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert all(complete and width > 0 for complete, width in sizes)
    # Pointing at a curve says what is there.
    hover = "const b = c.getBoundingClientRect(); c.dispatchEvent(new PointerEvent('pointermove', "
    page.run(f"{LOSS}{hover}{{clientX: b.right - 30, clientY: b.top + 50, bubbles: true}}))")
    assert page.run(TIP) == "step 1,900\n0.0005263  none\n0.0005263  single"
    assert page.run("return document.querySelectorAll('.pointer circle').length") == 2
    page.run(f"{LOSS}c.dispatchEvent(new PointerEvent('pointerleave'))")
    assert page.run("return document.querySelector('.tip').hidden")
    # So do the arrow keys, from where the pointer was to the left.
    page.run(f"{LOSS}c.focus()")
    page.press(".chart", "\ue012", "\ue012")
    assert page.run(TIP).startswith("step 1,700")
    # The slider over steps changes the output: its gray is the step's.
    assert page.run(GRAY) == pytest.approx(60, abs=2)  # of 255, for JPEG
    page.press("#samples1", "\ue012")
    assert page.run(GRAY) == pytest.approx(50, abs=2)
    assert page.run("return document.querySelector('output[for=samples1]').textContent") == "1,000"
    page.press("#samples1", "\ue011")  # home
    assert page.run(GRAY) == pytest.approx(45, abs=2)
    assert page.run("return document.querySelectorAll('#run2 .pair:first-child .on').length") == 1
    # The line between reference and output moves.
    clip = "return getComputedStyle(document.querySelector('.pair .before')).clipPath"
    assert page.run(clip) == "inset(0px 50% 0px 0px)"
    page.press("#wipe1-1", "\ue011")
    assert page.run(clip) == "inset(0px 100% 0px 0px)"
    # A card that is markup is text, and nothing was asked of any other place.
    assert page.run("return document.title") == "2 training runs · darkroom"
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.log() == []


def test_on_a_phone(browse: Callable[..., Browser]) -> None:
    page = browse(phone=True)
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    scrolled, inner = page.run(width)
    assert scrolled <= inner
    assert page.log() == []
