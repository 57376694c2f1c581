"""Pictures on terminals: read back as the protocols say, by readers written here."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import tiny_weights, write_photos
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from darkroom.cli import app, terminal_picture
from darkroom.cli.terminal_picture import TerminalProtocol, encode_picture, find_protocol
from darkroom.color.color_space import ColorSpace, encode_light, srgb_to_space
from darkroom.color.transfer import srgb_decode


def picture(height: int = 40, width: int = 64) -> NDArray[np.uint8]:
    """Few enough colours for a palette, at edges that are no multiples of six."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows // 8 * 40, columns // 16 * 60, np.full_like(rows, 90)], 2).astype(
        np.uint8
    )


def read_sixels(text: str) -> NDArray[np.uint8]:
    """Draw sixels as a VT340 does."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert found is not None
    width, height = int(found[1]), int(found[2])
    drawn = np.zeros((height + 6, width, 3), np.uint8)
    palette: dict[int, list[int]] = {}
    left = top = color = 0
    pattern = r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)"
    for one in re.finditer(pattern, found[3]):
        number, red, green, blue, chosen, count, repeated, single, back, down = one.groups()
        if number:
            palette[int(number)] = [round(int(code) * 2.55) for code in (red, green, blue)]
        elif chosen:
            color = int(chosen)
        elif back or down:
            left, top = 0, top + (6 if down else 0)
        else:
            sign, times = (repeated, int(count)) if repeated else (single, 1)
            for bit in range(6):
                if (ord(sign) - 63) >> bit & 1:
                    drawn[top + bit, left : left + times] = palette[color]
            left += times
    return drawn[:height]


def test_sixels_draw_the_picture() -> None:
    """Within 2 codes: sixels have 101 steps of each colour."""
    drawn = read_sixels("".join(encode_picture(picture(), TerminalProtocol.SIXEL)))
    assert np.abs(drawn.astype(int) - picture()).max() <= 2


def test_other_colours_and_depths_are_shown_as_srgb() -> None:
    """Against the picture that they were made of, to a code: they hold more than 8 bits."""
    light = srgb_decode(torch.from_numpy(picture() / 255)).numpy()
    beyond = light.astype(np.float32)
    beyond[0, 0] = -0.1, 7.0, 0.5
    linear = "".join(encode_picture(beyond, TerminalProtocol.ITERM2, ColorSpace.LINEAR))
    matrix = srgb_to_space(ColorSpace.PROPHOTO)
    codes = encode_light((light @ matrix.T).astype(np.float32), ColorSpace.PROPHOTO.curve) * 65535
    pro = encode_picture(codes.astype(np.uint16), TerminalProtocol.ITERM2, ColorSpace.PROPHOTO)
    for text in (linear, "".join(pro)):
        file = base64.b64decode(text.partition(":")[2].rstrip("\a"))
        drawn = np.asarray(Image.open(io.BytesIO(file))).astype(int)
        assert np.abs(drawn - picture())[1:].max() <= 1
    assert drawn.shape == picture().shape


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("protocol", [TerminalProtocol.KITTY, TerminalProtocol.ITERM2])
def test_png_arrives_whole(protocol: TerminalProtocol, kind: type) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3))
    given = (noise * (257 if kind is np.uint16 else 1)).astype(kind)
    text = "".join(encode_picture(given, protocol))
    if protocol is TerminalProtocol.KITTY:
        chunks = re.findall(r"\x1b_G(?:a=T,f=100,)?m=(\d);([^\x1b]*)\x1b\\", text)
        assert [more for more, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
        assert max(len(data) for _, data in chunks) == 4096
        data = "".join(data for _, data in chunks)
    else:
        found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):(.*)\a", text)
        assert found is not None
        data = found[2]
        assert len(base64.b64decode(data)) == int(found[1])
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.asarray(image), noise)


def test_large_pictures_are_reduced() -> None:
    large = np.zeros((900, 3600, 3), np.uint8)
    (text,) = encode_picture(large, TerminalProtocol.ITERM2)
    with Image.open(io.BytesIO(base64.b64decode(text.partition(":")[2].rstrip("\a")))) as image:
        assert image.size == (800, 200)


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, TerminalProtocol.KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, TerminalProtocol.KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, TerminalProtocol.ITERM2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, TerminalProtocol.ITERM2),
        ({"TERM": "foot-extra"}, TerminalProtocol.SIXEL),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_terminals_are_told_by_their_variables(
    environment: dict[str, str], protocol: TerminalProtocol | None
) -> None:
    assert find_protocol(environment) is protocol


def test_show_draws_or_says_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    (photo,) = write_photos(tmp_path, 1)
    words = ["enhance", str(photo), "-o", str(tmp_path / "o.png"), "-m", str(weights), "--show"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert f"this terminal draws no pictures; open {tmp_path / 'o.png'}\n" in done.stderr
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setattr(terminal_picture.sys.stderr, "isatty", lambda: True)
    terminal_picture.show_picture(picture(), tmp_path / "o.png")
    assert capsys.readouterr().err.startswith("\x1b_Ga=T,f=100,m=")
    refused = CliRunner().invoke(
        app, ["enhance", str(photo), "-o", "-", "--format", "png", "--show"]
    )
    assert (refused.exit_code, "--show" in refused.stderr) == (2, True)
