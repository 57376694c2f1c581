"""The page's HTML: what comes from outside is escaped, and nothing is loaded from elsewhere."""

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import resources
from pathlib import PurePath
from urllib.parse import quote

from darkroom.batch.journal import JOURNAL
from darkroom.batch.record import Outcome
from darkroom.batch.report.summary import Digest
from darkroom.batch.report.thumbnails import Pair

MARK = '<meta name="generator" content="darkroom batch">'
"""Tells a report from other pages; within the first bytes."""
EXIT_CODES = {
    1: "something went wrong",
    2: "the options do not fit",
    3: "the weights",
    4: "the RAW photo cannot be read",
    5: "the picture cannot be written",
}
"""What `darkroom enhance` says with its exit codes. Source: `darkroom.errors`."""
TALL = 1.1
"""Pictures higher than so many times their width are shown in a square."""


def pieces(
    digest: Digest, pairs: Iterable[tuple[Outcome, Pair]], folder: str, links: str | None
) -> Iterator[str]:
    """Yield the page, piece by piece.

    `pairs`: the pictures of `digest.shown`, taken one by one. `folder`: of the pictures, as text.
    `links`: where that folder is, seen from the page; None for no links to the pictures.
    """
    yield head(digest, folder)
    yield failures(digest)
    yield from photos(pairs, len(digest.shown), links)
    yield from rows(digest)
    yield foot()


def head(digest: Digest, folder: str) -> str:
    """Return the page's beginning, with the summary."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_sha256(style)}'; script-src '{_sha256(script)}'"
    )
    count = digest.done + digest.failed
    title = f"{count} photo{'' if count == 1 else 's'}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{MARK}
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · darkroom</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="brand">darkroom</p>
<h1>{title}</h1>
<p class="soft where">{_period(digest)} · <bdi>{text(folder)}</bdi></p>
<dl class="numbers">{"".join(_numbers(digest))}</dl>
{_contents(digest)}
</header>
<main>
"""


def foot() -> str:
    """Return the page's end."""
    return f"""</main>
<footer>Written by darkroom batch from its journal, {JOURNAL}. “As taken” is the RAW photo developed
plainly, without any gain. Drag over a picture, or press the arrow keys.</footer>
<script>{_asset("page.js")}</script>
</body>
</html>
"""


def failures(digest: Digest) -> str:
    """Return the section of what failed; nothing where nothing did."""
    if not digest.failures:
        return ""
    items = []
    for outcome in digest.failures:
        meaning = EXIT_CODES.get(outcome.exit_code, EXIT_CODES[1])
        items.append(
            f"<li><h3><bdi>{text(PurePath(outcome.input).name)}</bdi></h3>"
            f'<p class="code">exit code {outcome.exit_code}: {meaning}</p>'
            f"<p>{text(outcome.error or '')}</p></li>"
        )
    hidden = _hidden(digest.failed - len(digest.failures))
    body = "\n".join(items)
    return f"""<section>
<h2 id="failed">Failed<small>{digest.failed}</small></h2>
<ul class="failures">{body}</ul>{hidden}
</section>
"""


def photos(pairs: Iterable[tuple[Outcome, Pair]], count: int, links: str | None) -> Iterator[str]:
    """Yield the section of photos with their pictures, one by one; nothing where there are none."""
    if not count:
        return
    yield f'<section>\n<h2 id="photos">Photos<small>{count}</small></h2>\n<div class="photos">\n'
    for number, (outcome, pair) in enumerate(pairs, 1):
        yield f"<article>\n{_pictures(number, outcome, pair)}{_about(outcome, links)}</article>\n"
    yield "</div>\n</section>\n"


def rows(digest: Digest) -> Iterator[str]:
    """Yield the section of photos without pictures; nothing where there are none."""
    count = digest.done - len(digest.shown)
    if not count:
        return
    yield f'<section>\n<h2 id="earlier">Earlier photos<small>{count}</small></h2>\n'
    yield '<div class="wide"><table>\n<thead><tr>'
    yield "".join(f"<th>{name}</th>" for name in ("Photo", "Camera", "Gain", "Time", "Warnings"))
    yield "</tr></thead>\n<tbody>\n"
    for outcome in digest.rows:
        yield (
            f"<tr><td><bdi>{text(outcome.output)}</bdi></td><td>{text(outcome.camera)}</td>"
            f'<td class="number">{_gain(outcome)}</td>'
            f'<td class="number">{duration(sum(outcome.seconds.values()))}</td>'
            f"<td>{text('; '.join(outcome.warnings))}</td></tr>\n"
        )
    yield f"</tbody>\n</table></div>{_hidden(count - len(digest.rows))}\n</section>\n"


def text(given: str) -> str:
    """Escape text for HTML; bytes of names that are no UTF-8 are shown by their numbers."""
    return html.escape(given.encode("utf-8", "backslashreplace").decode("utf-8"))


def duration(seconds: float) -> str:
    """Write a duration for people: 0.42 s, 12.3 s, 4 min 05 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _pictures(number: int, outcome: Outcome, pair: Pair) -> str:
    """Return the two pictures under one slider, or what is left of them."""
    height, width = pair.size
    size = f'width="{width}" height="{height}"'
    tall = " tall" if height > TALL * width else ""
    if pair.before is None and pair.after is None:
        return '<p class="lost">Photo and picture are not there any more.</p>\n'
    before = _image(pair.before, f'class="before" alt="as taken" {size}')
    after = _image(pair.after, f'class="after" alt="enhanced" {size}')
    if pair.before is None:
        return f'<div class="pair{tall}">{after}<span class="left">photo not found</span></div>\n'
    if pair.after is None:
        alone = before.replace('class="before"', 'class="after"')
        return f'<div class="pair{tall}">{alone}<span class="left">picture not found</span></div>\n'
    return f"""<div class="pair{tall}">
{after}
{before}
<i></i><span class="left" aria-hidden="true">as taken</span>
<span class="right" aria-hidden="true">{_gain(outcome)}</span>
<label class="unseen" for="at{number}">{text(outcome.output)}: how much to show as taken</label>
<input type="range" id="at{number}" min="0" max="100" value="50">
</div>
"""


def _image(jpeg: bytes | None, attributes: str) -> str:
    encoded = base64.b64encode(jpeg or b"").decode("ascii")
    return f'<img {attributes} src="data:image/jpeg;base64,{encoded}">'


def _about(outcome: Outcome, links: str | None) -> str:
    name = f"<bdi>{text(outcome.output)}</bdi>"
    if links is not None:
        address = html.escape(links + quote(outcome.output, errors="surrogateescape"))
        name = f'<a href="{address}">{name}</a>'
    stages = ", ".join(f"{text(name)} {duration(s)}" for name, s in outcome.seconds.items())
    warnings = "".join(f"<li>{text(line)}</li>" for line in outcome.warnings)
    warned = f'<ul class="odd">{warnings}</ul>' if warnings else ""
    facts = (
        text(outcome.camera),
        _exposure(outcome),
        text((outcome.taken or "").replace("T", " ")),
    )
    model = f"{text(outcome.model)} on {text(outcome.device)}" if outcome.model else ""
    return f"""<div class="about">
<h3>{name}</h3>
<p class="gain"><b>{_gain(outcome)}</b> {text(outcome.gain_reason or "")}</p>
<p class="fine">{" · ".join(fact for fact in facts if fact)}</p>
<p class="fine">{duration(sum(outcome.seconds.values()))} ({stages}) · {model}</p>
{warned}</div>
"""


def _gain(outcome: Outcome) -> str:
    return "" if outcome.gain is None else f"&times;{outcome.gain:.3g}"


def _exposure(outcome: Outcome) -> str:
    """Write an exposure as photographers do: 1/30 s at ISO 1600."""
    parts, seconds = [], outcome.exposure_seconds
    if seconds:
        parts.append(f"1/{1 / seconds:.0f} s" if seconds < 0.3 else f"{seconds:.3g} s")
    if outcome.iso:
        parts.append(f"ISO {outcome.iso:.0f}")
    return ", ".join(parts)


def _numbers(digest: Digest) -> Iterator[str]:
    """Yield the large numbers of the summary."""
    yield f"<div><dt>done</dt><dd>{digest.done}</dd></div>"
    bad = ' class="bad"' if digest.failed else ""
    yield f"<div{bad}><dt>failed</dt><dd>{digest.failed}</dd></div>"
    if digest.warned:
        yield f"<div><dt>with warnings</dt><dd>{digest.warned}</dd></div>"
    if digest.per_hour is not None:
        yield f"<div><dt>photos per hour</dt><dd>{digest.per_hour:,.0f}</dd></div>"
        yield f"<div><dt>total time</dt><dd>{duration(digest.worked)}</dd></div>"
    for stage, seconds in digest.stages.items():
        each = duration(seconds / max(digest.done, 1))
        yield f"<div><dt>{text(stage)} each</dt><dd>{each}</dd></div>"


def _period(digest: Digest) -> str:
    if digest.first is None or digest.last is None:
        return "nothing yet"
    first, last = (_moment(time) for time in (digest.first, digest.last))
    if first == last:
        return first
    same_day = digest.first.date() == digest.last.date()
    return f"{first} &ndash; {last[-5:] if same_day else last}"


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _contents(digest: Digest) -> str:
    """Return links to the sections where there are several."""
    sections = {
        "failed": f"{digest.failed} failed" if digest.failed else "",
        "photos": f"{len(digest.shown)} photos with pictures" if digest.shown else "",
        "earlier": f"{digest.done - len(digest.shown)} earlier" if digest.rows else "",
    }
    found = [f'<a href="#{name}">{label}</a>' for name, label in sections.items() if label]
    return f'<nav aria-label="Sections">{"".join(found)}</nav>' if len(found) > 1 else ""


def _hidden(count: int) -> str:
    return f'<p class="soft">And {count} more, see {JOURNAL}.</p>' if count else ""


def _asset(name: str) -> str:
    return resources.files("darkroom.batch.report").joinpath(name).read_text(encoding="utf-8")


def _sha256(code: str) -> str:
    """Return what a page's security policy calls an inline style or script."""
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    return f"sha256-{digest}"
