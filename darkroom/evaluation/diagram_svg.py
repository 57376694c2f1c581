"""A figure of a network as SVG: text stays text, and pointing at a block tells all about it."""

from html import escape

from darkroom.evaluation.diagram_figure import DOWN, FLOW, SKIP, UP, Figure

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def write_svg(figure: Figure) -> str:
    """Write a figure as an SVG document, self-contained."""
    size = f"{figure.width:.0f} {figure.height:.0f}"
    width, height = size.split()
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {size}" font-family="{FONT}">',
        "<defs>",
    ]
    heads = {color: f"head{number}" for number, color in enumerate((DOWN, UP, FLOW, SKIP))}
    lines += [
        f'<marker id="{name}" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" '
        f'markerHeight="6" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0 6 3 0 6z" fill="{color}"/></marker>'
        for color, name in heads.items()
    ]
    lines += ["</defs>", f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for curve in figure.curves:
        (x0, y0), *rest = curve.points
        bends = " ".join(f"{x:.1f} {y:.1f}" for x, y in rest)
        dashes = ' stroke-dasharray="5 3"' if curve.dashed else ""
        lines.append(
            f'<path d="M{x0:.1f} {y0:.1f}C{bends}" fill="none" stroke="{curve.color}" '
            f'stroke-width="1.3"{dashes} marker-end="url(#{heads[curve.color]})"/>'
        )
    for box in figure.boxes:
        inner = "".join(
            f'<path d="M{x:.1f} {box.top:.1f}v{box.height:.1f}" stroke="{box.edge}" '
            'stroke-width=".7"/>'
            for x in box.lines
        )
        tip = f"<title>{escape(box.tip)}</title>" if box.tip else ""
        lines.append(
            f'<g>{tip}<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="2" fill="{box.fill}" stroke="{box.edge}"/>{inner}</g>'
        )
    lines += [
        f'<text x="{word.x:.1f}" y="{word.y:.1f}" font-size="{word.size:g}" fill="{word.color}" '
        f'text-anchor="{word.anchor}">{escape(word.text)}</text>'
        for word in figure.words
    ]
    return "\n".join([*lines, "</svg>", ""])
