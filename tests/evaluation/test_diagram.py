"""Drawings of networks: what flows where, in letters, as SVG and painted."""

from xml.etree import ElementTree

import numpy as np
import pytest

from darkroom.evaluation.diagram import BlockKind, Diagram, plan_diagram
from darkroom.evaluation.diagram_figure import lay_out_figure, paint_figure
from darkroom.evaluation.diagram_svg import write_svg
from darkroom.evaluation.diagram_text import draw_diagram_text
from darkroom.models.architectures import ARCHITECTURES, find_architectures
from darkroom.models.architectures.base import Architecture
from darkroom.models.summary import ModelSummary, summarize_model

DISTINCT = [a for a in ARCHITECTURES if not a.name.startswith("redi-group-norm-")]
SVG = "{http://www.w3.org/2000/svg}"


def summarized(architecture: Architecture) -> ModelSummary:
    network = architecture.outline(architecture.dialects[-1])
    return summarize_model(network, architecture, (640, 480))


def planned(name: str) -> Diagram:
    architecture = find_architectures(name)[0]
    return plan_diagram(summarized(architecture), architecture.scale)


def arrows(diagram: Diagram, skip: bool) -> list[tuple[str, str]]:
    names = [block.name for block in diagram.blocks]
    return [(names[a.source], names[a.target]) for a in diagram.arrows if a.skip is skip]


@pytest.mark.parametrize("architecture", DISTINCT, ids=lambda a: f"{a.name}-{a.sensor.value}")
def test_any_network_is_drawn_whole(architecture: Architecture) -> None:
    summary = summarized(architecture)
    diagram = plan_diagram(summary, architecture.scale)
    blocks = diagram.blocks
    # Each layer with weights is in one block; input and picture end the drawing.
    drawn = [layer.name for block in blocks for layer in block.layers]
    assert sorted(drawn) == sorted(layer.name for layer in summary.layers if layer.parameters)
    assert (blocks[0].kind, blocks[-1].kind) == (BlockKind.INPUT, BlockKind.PICTURE)
    assert sum(block.parameters for block in blocks) == summary.parameters
    # All is read by what comes later, and all but the input reads.
    assert all(arrow.source < arrow.target for arrow in diagram.arrows)
    assert {arrow.target for arrow in diagram.arrows} == set(range(1, len(blocks)))
    assert {arrow.source for arrow in diagram.arrows} == set(range(len(blocks) - 1))
    figure = lay_out_figure(diagram, architecture.name)
    boxes = figure.boxes[: len(blocks)]
    for number, box in enumerate(boxes):  # none lies on another, all on the figure
        assert box.left > 0
        assert box.left + box.width < figure.width
        assert box.top + box.height < figure.height
        for other in boxes[:number]:
            aside = box.left >= other.left + other.width or other.left >= box.left + box.width
            assert aside or box.top >= other.top + other.height or other.top >= box.top + box.height
    assert len(list(ElementTree.fromstring(write_svg(figure)).iter(f"{SVG}path"))) > len(blocks)
    lines = draw_diagram_text(diagram)
    assert sum(" " + block.name + " " in line for block in blocks for line in lines) >= len(blocks)
    # Every line that begins on the right ends there.
    text = "".join(lines)
    ends = {letter: text.count(letter) for letter in "╮┬╯┴"}
    assert ends["╮"] + ends["┬"] == ends["╯"] + ends["┴"]


def test_a_u() -> None:
    sid = planned("sid")
    assert arrows(sid, skip=True) == [
        (f"levels.{level}.second", f"levels.{8 - level}.first") for level in (3, 2, 1, 0)
    ]
    (joined,) = {block.joined for block in sid.blocks if block.joined}
    assert joined == ("cat",)
    pooled = [arrow for arrow in sid.arrows if arrow.by == ("max pool",)]
    assert len(pooled) == 4
    lines = draw_diagram_text(sid)
    (source,) = (line for line in lines if "levels.3.second" in line)
    (target,) = (line for line in lines if "levels.5.first" in line)
    assert source.endswith("──┼─┼─┼─╮")
    assert "◂─┼─┼─┼─╯" in target
    assert source.index("╮") == target.index("╯")


def test_three_branches() -> None:
    redi = planned("redi")
    flows = arrows(redi, skip=False)
    assert {("input", name) for name in ("middle.0", "coarse.runs", "fine")} <= set(flows)
    assert {("last_fine", "picture"), ("last_coarse", "picture")} <= set(flows)
    assert ("coarse.enter", "coarse_out") in arrows(redi, skip=True)
    dense = next(block for block in redi.blocks if block.name == "coarse.blocks.1")
    assert (dense.kind, dense.words, dense.channels) == (BlockKind.MODULE, "6 layers", 64)
    # Branches begin side by side, whatever the order in which they run.
    depths = {block.name: block.depth for block in redi.blocks}
    assert depths["middle.0"] == depths["coarse.runs"] == depths["fine"] == 1


def test_norms_are_part_of_their_block() -> None:
    blocks = {block.name: block for block in planned("sid-norm-last").blocks}
    assert [layer.name for layer in blocks["levels.0.second"].layers] == [
        "levels.0.second",
        "levels.0.second_last",
    ]
    assert "levels.0.second_last" not in blocks


def test_letters_for_old_terminals() -> None:
    lines = draw_diagram_text(planned("redi"), ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert any("64x15x20" in line and line.endswith("+") for line in lines)


def test_words_of_others_are_escaped_and_pixels_are_painted() -> None:
    figure = lay_out_figure(planned("llpacknet"), "<script>&", "facts")
    root = ElementTree.fromstring(write_svg(figure))
    assert root.findall(f"{SVG}text")[0].text == "<script>&"
    assert any("parameters" in (title.text or "") for title in root.iter(f"{SVG}title"))
    pixels = paint_figure(figure, scale=1.0)
    assert pixels.shape == (round(figure.height), round(figure.width), 3)
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    # The middle of each block has its colour, but where an inner line or an arrow's end is.
    colors = [tuple(bytes.fromhex(box.fill[1:])) for box in figure.boxes if box.tip]
    for color in set(colors):
        assert (np.abs(pixels.astype(int) - color).max(axis=2) <= 2).sum() > 50


def test_activations_stand_where_they_are() -> None:
    """A norm after the activation is drawn after it."""
    blocks = {block.name: block for block in planned("sid-norm-last").blocks}
    assert blocks["levels.0.first"].words == "conv 3x3, leaky relu 0.2, affine"
