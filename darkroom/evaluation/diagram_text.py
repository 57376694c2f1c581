"""A network drawn in letters: the U on its side, a line a block, skip connections on the right."""

from darkroom.evaluation.diagram import Block, Diagram

WIDEST = 16
"""Letters of the bar of the block with the most channels; others go by the square root."""

INDENT = 2
"""Columns by which each coarser scale is set in."""

LINES = {"across": "─", "along": "│", "cross": "┼", "begin": "╮", "end": "╯", "on": "┤"}
BRANCH = {"begin": "┬", "end": "┴", "on": "┼"}  # where a line goes on to the right
TIMES = "\N{MULTIPLICATION SIGN}"
ASCII = str.maketrans(f"─│┼╮╯┤┬┴█◂→{TIMES}", "-|++++++#<>x")
"""What stands for the letters where only ASCII can be shown."""


def draw_diagram_text(diagram: Diagram, ascii_only: bool = False) -> list[str]:
    """Draw a network: lines of text, about 100 columns wide.

    On the left the scale, then a bar as long as the block is wide, its name, what it is and the
    shape of its result. Lines on the right lead to blocks that are not the next one.
    """
    blocks = diagram.blocks
    texts = _write_blocks(blocks)
    width = max(map(len, texts)) + 1
    reads: dict[int, set[int]] = {}
    for arrow in diagram.arrows:
        reads.setdefault(arrow.target, set()).add(arrow.source)
    # A line from each block that others than the next one read, up to the last of these.
    ends = {
        source: max(target for target, found in reads.items() if source in found)
        for source in range(len(blocks))
        if any(source in found and target != source + 1 for target, found in reads.items())
    }
    rails: list[int | None] = []
    lines = []
    for number, text in enumerate(texts):
        if number and number - 1 not in reads.get(number, set()):
            lines.append(" " * width + " " + _rails(rails, {}, False))  # a branch begins
        marks: dict[int, str] = {}
        for place, source in enumerate(rails):
            if source in reads.get(number, set()) and source != number - 1:
                marks[place] = "end" if ends[source] == number else "on"
        if number in ends:
            place = rails.index(None) if None in rails else len(rails)
            rails[place : place + 1] = [number]
            marks[place] = "begin"
        arrives = any(mark != "begin" for mark in marks.values())
        drawn = _rails(rails, marks, bool(marks))
        head = "◂" if arrives else LINES["across"] if marks else " "
        gap = LINES["across"] if marks else " "
        lines.append(f"{text} {gap * (width - len(text) - 1)}{head}{drawn}".rstrip())
        for place, source in enumerate(rails):
            if source is not None and ends[source] == number:
                rails[place] = None
        while rails and rails[-1] is None:
            rails.pop()
    return [line.translate(ASCII) if ascii_only else line for line in lines]


def _rails(rails: list[int | None], marks: dict[int, str], across: bool) -> str:
    """Draw what is right of one line: lines that go on, and those that begin or end here."""
    last = max(marks, default=-1)
    drawn = ""
    for place, source in enumerate(rails):
        filler = LINES["across"] if across and place <= last else " "
        if place in marks:
            letter = (LINES if place == last else BRANCH)[marks[place]]
        elif source is None:
            letter = filler if place < last else " "
        else:
            letter = LINES["cross"] if across and place < last else LINES["along"]
        drawn += filler + letter
    return drawn


def _write_blocks(blocks: tuple[Block, ...]) -> list[str]:
    """Write each block: scale, bar, name, what it is, shape."""
    levels = sorted({block.reduction for block in blocks})
    most = max(block.channels for block in blocks)
    scales, bars, shapes = [], [], []
    before = 0
    for block in blocks:
        bar = "█" * max(1, round(WIDEST * (block.channels / most) ** 0.5))
        bars.append(" " * (INDENT * levels.index(block.reduction)) + f"{bar} {block.name}")
        scales.append(f"1/{block.reduction}" if block.reduction != before else "")
        shapes.append(TIMES.join(map(str, block.shape)))
        before = block.reduction
    joins = [" ".join(block.joined) + " → " if block.joined else "" for block in blocks]
    words = [join + block.words for join, block in zip(joins, blocks, strict=True)]
    columns = (scales, bars, words)
    widths = [max(map(len, column)) for column in columns]
    return [
        f"{scale:<{widths[0]}}  {bar:<{widths[1]}}  {word:<{widths[2]}}  {shape}"
        for scale, bar, word, shape in zip(*columns, shapes, strict=True)
    ]
