"""A network drawn as a figure: blocks by scale, as wide as their channels, skips as arcs.

The figure is laid out once, as boxes, curves and texts, and then written as SVG or painted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from darkroom.evaluation.diagram import Arrow, Block, BlockKind, Diagram

INK, SOFT = "#1d2330", "#6b7380"
COLORS = {
    BlockKind.INPUT: ("#d5d9e0", "#59616f"),
    BlockKind.CONVOLUTION: ("#a9c6ea", "#2f5d93"),
    BlockKind.DECONVOLUTION: ("#a5d8c3", "#28785a"),
    BlockKind.MODULE: ("#cdbfe6", "#5d4593"),
    BlockKind.PICTURE: ("#f7cf91", "#a3680f"),
}
"""Of a block and of its edge."""
DOWN, UP, FLOW, SKIP = "#c4541a", "#28785a", "#59616f", "#8b94a3"
"""Of arrows to coarser scales, to finer ones, along one, and past others."""

TITLE, NAME, SMALL = 15.0, 11.0, 9.5
"""Sizes of text."""
HIGHEST, SMALLER, LOWEST = 104.0, 0.76, 20.0
"""Height of the blocks of the finest scale, and of each coarser one in proportion, and at least."""
THINNEST, PER_ROOT = 5.0, 1.7
"""Width of a block: this, and so much more by the square root of its channels."""
PER_LAYER = 6.0
"""More width of a block of layers, for each."""
MARGIN, SCALES, GAP, ROW = 28.0, 96.0, 16.0, 46.0
"""Around all, left for the names of scales, between blocks, and between rows."""
TURN = 11.0
"""More between blocks of different scales."""
SUPERSAMPLED = 3
CURVE = 40
"""Straight pieces of a painted curve."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with rounded corners; `lines`: upright ones in it, at these x."""

    left: float
    top: float
    width: float
    height: float
    fill: str
    edge: str
    lines: tuple[float, ...] = ()
    tip: str = ""

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class Curve:
    """A cubic curve that ends in an arrow; `points`: (x, y) of its four."""

    points: tuple[tuple[float, float], ...]
    color: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text, whose baseline begins, has its middle or ends at x: start, middle, end."""

    x: float
    y: float
    text: str
    size: float = NAME
    color: str = INK
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of so many pixels, and what is on it, in the order in which it is drawn."""

    width: float
    height: float
    curves: tuple[Curve, ...]
    boxes: tuple[Box, ...]
    words: tuple[Words, ...]


def lay_out_figure(diagram: Diagram, title: str, facts: str = "") -> Figure:
    """Lay out the figure of a network, under its title and one line of facts."""
    blocks = diagram.blocks
    tops = _find_rows(blocks)
    boxes = _place_boxes(blocks, tops)
    right = max(box.left + box.width for box in boxes)
    bottom = max(box.top + box.height for box in boxes) + ROW
    words = [
        Words(MARGIN, MARGIN + 4, title, TITLE, anchor="start"),
        Words(MARGIN, MARGIN + 22, facts, NAME, SOFT, "start"),
        *_name_scales(blocks, boxes),
        *_name_blocks(blocks, boxes),
    ]
    legend = list(_draw_legend(blocks, bottom))
    boxes += [item for item in legend if isinstance(item, Box)]
    words += [item for item in legend if isinstance(item, Words)]
    curves = (_draw_arrow(arrow, blocks, boxes) for arrow in diagram.arrows)
    widest = max(word.x + _width(word.text, word.size) for word in words if word.anchor == "start")
    return Figure(
        max(right, widest) + MARGIN, bottom + MARGIN, tuple(curves), tuple(boxes), tuple(words)
    )


def _find_rows(blocks: Sequence[Block]) -> dict[int, tuple[float, float]]:
    """Return top and height of the blocks of each scale, the finest above."""
    rows, top = {}, MARGIN + 66
    for level, reduction in enumerate(sorted({block.reduction for block in blocks})):
        height = max(HIGHEST * SMALLER**level, LOWEST)
        rows[reduction] = top, height
        top += height + ROW
    return rows


def _place_boxes(blocks: Sequence[Block], rows: dict[int, tuple[float, float]]) -> list[Box]:
    """Place each block: to the right of all that it reads, and beside others of its scale."""
    columns: list[int] = []
    taken: set[tuple[int, int]] = set()
    for block in blocks:
        column = block.depth
        while (column, block.reduction) in taken:
            column += 1
        taken.add((column, block.reduction))
        columns.append(column)
    widths = [_measure(block) for block in blocks]
    room = [0.0] * (max(columns) + 1)
    for group in _group_names(blocks):
        share = _width(_name_group(blocks, group), NAME) / len(group)
        for number in group:
            room[columns[number]] = max(room[columns[number]], widths[number], share)
    scales: list[set[int]] = [set() for _ in room]
    for column, block in zip(columns, blocks, strict=True):
        scales[column].add(block.reduction)
    lefts = [MARGIN + SCALES]
    for width, own, after in zip(room, scales, [*scales[1:], set()], strict=True):
        lefts.append(lefts[-1] + width + GAP + TURN * (own != after))
    boxes = []
    for block, column, width in zip(blocks, columns, widths, strict=True):
        left = lefts[column] + (room[column] - width) / 2
        top, height = rows[block.reduction]
        fill, edge = COLORS[block.kind]
        lines: tuple[float, ...] = ()
        if block.kind is BlockKind.MODULE:
            steps = range(1, len(block.layers))
            lines = tuple(left + width * step / len(block.layers) for step in steps)
        elif len(block.layers) > 1:  # norms
            lines = tuple(left + width - 3 * step for step in range(1, len(block.layers)))
        boxes.append(Box(left, top, width, height, fill, edge, lines, _describe(block)))
    return boxes


def _measure(block: Block) -> float:
    """Return the width of a block."""
    more = PER_LAYER * len(block.layers) if block.kind is BlockKind.MODULE else 0.0
    return THINNEST + PER_ROOT * float(np.sqrt(block.channels)) + more


def _group_names(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """List blocks that follow each other at one scale and have one name."""
    numbered = enumerate(blocks)
    for _, group in groupby(numbered, key=lambda pair: (pair[1].group, pair[1].reduction)):
        yield [number for number, _ in group]


def _name_group(blocks: Sequence[Block], group: Sequence[int]) -> str:
    """Name blocks that are drawn together: one by its own name."""
    first = blocks[group[0]]
    return first.name if len(group) == 1 else first.group


def _describe(block: Block) -> str:
    """Tell all about a block, for who points at it."""
    shape = " x ".join(map(str, block.shape))
    parts = [block.name, block.words, shape]
    if block.parameters:
        work = sum(layer.macs for layer in block.layers) / 1e9
        parts += [f"{block.parameters:,} parameters", f"{work:,.2f} GMACs"]
    return "; ".join(parts)


def _name_scales(blocks: Sequence[Block], boxes: Sequence[Box]) -> Iterator[Words]:
    """Name each scale on the left, with the size of what is at it."""
    for reduction in sorted({block.reduction for block in blocks}):
        number = next(n for n, block in enumerate(blocks) if block.reduction == reduction)
        height, width = blocks[number].shape[1:]
        size = f"{width} \N{MULTIPLICATION SIGN} {height}"
        yield Words(MARGIN, boxes[number].middle - 2, f"1/{reduction}", 13.0, anchor="start")
        yield Words(MARGIN, boxes[number].middle + 12, size, SMALL, SOFT, "start")


def _name_blocks(blocks: Sequence[Block], boxes: Sequence[Box]) -> Iterator[Words]:
    """Write the channels above each block, and the name below those that share one."""
    for block, box in zip(blocks, boxes, strict=True):
        yield Words(box.left + box.width / 2, box.top - 5, str(block.channels), SMALL, SOFT)
    for group in _group_names(blocks):
        first, last = boxes[group[0]], boxes[group[-1]]
        center = (first.left + last.left + last.width) / 2
        yield Words(center, first.top + first.height + 14, _name_group(blocks, group))


def _draw_legend(blocks: Sequence[Block], top: float) -> Iterator[Box | Words]:
    """Name the colours, along the bottom."""
    x = MARGIN
    for kind, (fill, edge) in COLORS.items():
        if any(block.kind is kind for block in blocks):
            yield Box(x, top - 9, 10, 10, fill, edge)
            yield Words(x + 15, top, kind.value, SMALL, SOFT, "start")
            x += 33 + _width(kind.value, SMALL)
    kinds = dict.fromkeys(kind for block in blocks for kind in block.joined)
    skip = {f"skip connection, {' or '.join(kinds)}": SKIP} if kinds else {}
    meanings = {"to coarser": DOWN, "to finer": UP} | skip
    for name, color in meanings.items():
        yield Box(x, top - 5, 14, 2, color, color)
        yield Words(x + 19, top, name, SMALL, SOFT, "start")
        x += 37 + _width(name, SMALL)


def _draw_arrow(arrow: Arrow, blocks: Sequence[Block], boxes: Sequence[Box]) -> Curve:
    """Draw what flows from one block to another: past others as an arc, else the short way."""
    source, target = boxes[arrow.source], boxes[arrow.target]
    step = blocks[arrow.target].reduction - blocks[arrow.source].reduction
    x0, y0 = source.left + source.width + 1, source.middle
    x1, y1 = target.left - 2, target.middle
    between = [
        box
        for box, block in zip(boxes, blocks, strict=False)
        if step == 0
        and block.reduction == blocks[arrow.source].reduction
        and x0 < box.left < x1 - 3
    ]
    if step == 0 and (arrow.skip or between):
        rise = min(ROW - 20, 8 + 0.16 * (x1 - x0)) * 4 / 3
        top = source.top - 17 if between else source.top + source.height * 0.12
        x0, x1 = x0 - source.width / 2 * bool(between), x1 + (target.width / 2 + 2) * bool(between)
        bend = 0.18 * (x1 - x0)
        points = ((x0, top), (x0 + bend, top - rise), (x1 - bend, top - rise), (x1, top))
        return Curve(points, SKIP if arrow.skip else FLOW, dashed=arrow.skip)
    bend = max(GAP, 0.5 * (x1 - x0)) if step else (x1 - x0) / 3
    points = ((x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1))
    if not arrow.skip:
        return Curve(points, DOWN if step > 0 else UP if step < 0 else FLOW)
    if step > 0:  # down on the target from above, past what is beside it
        x1, y1 = target.left + target.width / 2, target.top - 17
        y0 = source.top + 0.8 * source.height
        points = ((x0, y0), (x0 + bend, y0), (x1, y1 - 2 * ROW), (x1, y1))
    else:  # up from the source, past what is beside that
        x0, y0 = source.left + source.width / 2, source.top - 17
        points = ((x0, y0), (x0, y0 - ROW), (x1 - bend, y1), (x1, y1))
    return Curve(points, SKIP, dashed=True)


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: float) -> float:
    """Return how wide a text is, in about any font without serifs."""
    return _font(size).getlength(text) * 1.06


def paint_figure(figure: Figure, scale: float = 2.0) -> NDArray[np.uint8]:
    """Paint a figure on white: (H, W, 3) uint8, `scale` pixels to each of its own."""
    by = scale * SUPERSAMPLED
    size = round(figure.width * scale), round(figure.height * scale)
    whole = Image.new("RGB", (size[0] * SUPERSAMPLED, size[1] * SUPERSAMPLED), "white")
    pen = ImageDraw.Draw(whole)
    for curve in figure.curves:
        _paint_curve(pen, curve, by)
    for box in figure.boxes:
        corners = [box.left, box.top, box.left + box.width, box.top + box.height]
        place = [corner * by for corner in corners]
        pen.rounded_rectangle(place, 2 * by, box.fill, box.edge, max(1, round(by)))
        for x in box.lines:
            pen.line([x * by, place[1], x * by, place[3]], box.edge, max(1, round(0.7 * by)))
    for word in figure.words:
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[word.anchor]
        place_ = (word.x * by, word.y * by)
        text = word.text.replace("\N{MULTIPLICATION SIGN}", "x")  # which the font does not have
        pen.text(place_, text, word.color, _font(word.size * by), anchor)
    return np.array(whole.resize(size, Image.Resampling.LANCZOS))


def _paint_curve(pen: ImageDraw.ImageDraw, curve: Curve, by: float) -> None:
    """Paint a curve, in dashes or whole, and its arrow."""
    t = np.linspace(0, 1, CURVE + 1)[:, None]
    a, b, c, d = (np.array(point) * by for point in curve.points)
    path = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    # Dashes of 5 with gaps of 3, as in the SVG; the last pixels are the arrow's.
    at = np.arange(0, max(way[-1] - 4 * by, 1), by / 2)
    points = np.stack([np.interp(at, way, path[:, axis]) for axis in (0, 1)], axis=1)
    for (start, stop), place in zip(pairwise(points), at / by, strict=False):
        if not curve.dashed or place % 8 < 5:
            pen.line([*start, *stop], curve.color, max(1, round(1.3 * by)))
    forward = (d - c) / max(np.hypot(*(d - c)), 1e-9)
    across = np.array([-forward[1], forward[0]])
    back = path[-1] - 6 * by * forward
    corners = [path[-1], back + 3 * by * across, back - 3 * by * across]
    pen.polygon([tuple(corner) for corner in corners], fill=curve.color)
