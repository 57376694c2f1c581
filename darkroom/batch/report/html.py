"""The page's HTML: what comes from outside is escaped, and nothing is loaded from elsewhere."""

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from urllib.parse import quote

from darkroom.batch.jobs import REPORT_MARK
from darkroom.batch.journal import JOURNAL
from darkroom.batch.record import Outcome
from darkroom.batch.report.summary import BatchSummary
from darkroom.batch.report.thumbnails import BeforeAfter
from darkroom.output.page import find_pages


def render_page(
    summary: BatchSummary,
    photos: Iterable[tuple[Outcome, BeforeAfter]],
    folder: str,
    links: str | None,
) -> Iterator[str]:
    """Yield the page, piece by piece.

    `photos`: those of `summary.shown` and their pictures, taken one by one. `folder`: of the
    pictures, as text. `links`: where that folder is, seen from the page; None for no links.
    """
    pages = find_pages("darkroom.batch.report")
    pages.filters.update(
        address=_write_address,
        duration=format_duration,
        exposure=_format_exposure,
        filename=lambda path: PurePath(path).name,
        period=_format_period,
    )
    facts = {"summary": summary, "photos": photos, "folder": folder, "links": links}
    return pages.get_template("page.html.j2").generate(facts, mark=REPORT_MARK, journal=JOURNAL)


def format_duration(seconds: float) -> str:
    """Write a duration for people: 0.42 s, 12.3 s, 4 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )


def _write_address(name: str) -> str:
    """Write a picture's name as a link; of POSIX names bytes that are no UTF-8 come back."""
    try:
        return quote(name, errors="surrogateescape")
    except UnicodeEncodeError:  # as only Windows' names, or a journal's from elsewhere, may be
        return quote(name, errors="surrogatepass")


def _format_exposure(outcome: Outcome) -> str:
    """Write an exposure as photographers do: 1/30 s at ISO 1600."""
    parts, seconds = [], outcome.exposure_seconds
    if seconds:
        parts.append(f"1/{1 / seconds:.0f} s" if seconds < 0.3 else f"{seconds:.3g} s")
    if outcome.iso:
        parts.append(f"ISO {outcome.iso:.0f}")
    return ", ".join(parts)


def _format_period(summary: BatchSummary) -> str:
    """Write when the first photo was begun and the last one ended, to the minute."""
    if summary.first is None or summary.last is None:
        return "nothing yet"
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (summary.first, summary.last))
    if first == last:
        return first
    same_day = summary.first.date() == summary.last.date()
    return f"{first} \N{EN DASH} {last[-5:] if same_day else last}"
