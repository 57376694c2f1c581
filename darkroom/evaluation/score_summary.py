"""Scores of many pairs as a few rows: means over all, by ratio, and without misaligned scenes."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from darkroom.evaluation.paired import PairScore
from darkroom.evaluation.published_scores import ALIGNED_SCENES, ALL, PublishedScore
from darkroom.evaluation.scores import FIGURES, Metric

MAX_RATIOS = 8
"""A data set of more different ratios (SID has three) gets no row for each."""
HEADINGS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_8bit": "8-bit PSNR",
    "ssim_8bit": "8-bit SSIM",
    "ssim_gaussian": "Gaussian SSIM",
    "aligned_psnr": "aligned PSNR",
    "aligned_ssim": "aligned SSIM",
    "lpips": "LPIPS",
}
"""What people read above each figure."""


WORDS = ("model", "over", "published", "measure")
"""Columns of words, to be set left."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Means of a model over a group of pairs, with what was published of the same."""

    model: str
    group: str
    count: int
    figures: dict[str, float]
    published: tuple[PublishedScore, ...] = ()

    @property
    def published_words(self) -> str:
        """The published means for people, as "28.88 / 0.787 [Chen et al., CVPR 2018]"."""
        return "; ".join(f"{p.psnr:.2f} / {p.ssim:.3f} [{p.source}]" for p in self.published)


def list_figures(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Name the figures of some metrics, in their order."""
    return tuple(name for metric in metrics for name in FIGURES[metric])


def summarise(
    scores: Iterable[PairScore], published: Mapping[str, Sequence[PublishedScore]] = {}
) -> list[Summary]:
    """Average scores by model and group, models in their order; `published`: by model."""
    by_model: dict[str, list[PairScore]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    return [
        Summary(
            model,
            group,
            len(members),
            {name: fmean(one.figures[name] for one in members) for name in members[0].figures},
            tuple(one for one in published.get(model, ()) if one.group == group),
        )
        for model, found in by_model.items()
        for group, members in _group(found).items()
    ]


def _group(scores: list[PairScore]) -> dict[str, list[PairScore]]:
    """Divide the scores of one model; a group that is no other than all is left out."""
    groups = {ALL: scores}
    ratios = sorted({round(one.ratio) for one in scores})
    if 1 < len(ratios) <= MAX_RATIOS:
        for ratio in ratios:
            groups[f"x{ratio}"] = [one for one in scores if round(one.ratio) == ratio]
    aligned = [one for one in scores if not one.misaligned]
    if 0 < len(aligned) < len(scores):
        groups[ALIGNED_SCENES] = aligned
    return groups


def format_figure(name: str, value: float) -> str:
    """Write a figure for people: PSNR with two decimals, all else with three."""
    return f"{value:.2f}" if "psnr" in name else f"{value:.3f}"


def tabulate(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a table for people.

    The last column, what was published, is there where anything was.
    """
    names = list(summaries[0].figures) if summaries else []
    heads = ["model", "over", "pairs", *(HEADINGS[name] for name in names)]
    cells = [
        [one.model, one.group, str(one.count)]
        + [format_figure(name, one.figures[name]) for name in names]
        for one in summaries
    ]
    if any(one.published for one in summaries):
        heads.append("published")
        for row, one in zip(cells, summaries, strict=True):
            row.append(one.published_words)
    return heads, cells


def write_markdown(summaries: Sequence[Summary], title: str) -> str:
    """Write the table as Markdown, under a line that says what was done."""
    return write_table(*tabulate(summaries), title)


def write_table(heads: list[str], cells: list[list[str]], title: str) -> str:
    """Write any table as Markdown, its columns of words set left."""
    rule = ["---" if head in WORDS else "---:" for head in heads]
    rows = [heads, rule, *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([title, "", *lines, ""])


def write_csv(scores: Iterable[PairScore], figures: Sequence[str]) -> str:
    """Write a row for each pair and model, every digit of each figure."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", "name", "scene", "ratio", "gain", "misaligned", *figures])
    for one in scores:
        facts = [one.model, one.name, one.scene, one.ratio, one.gain, int(one.misaligned)]
        table.writerow([*facts, *(one.figures[name] for name in figures)])
    return text.getvalue()
