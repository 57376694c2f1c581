"""What `darkroom evaluate LIST` does: reads the pairs, scores the models, prints and writes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.batch.devices import weights_sha256
from darkroom.cli import inputs, output
from darkroom.errors import UsageError
from darkroom.evaluation.contenders import (
    LIBRAW,
    Protocol,
    contend,
    contend_libraw,
    with_itself,
)
from darkroom.evaluation.decoded_pairs import DecodedAnew, DecodedPairs
from darkroom.evaluation.paired import Known, PairScore, know_nothing, score_pairs
from darkroom.evaluation.published_scores import find_published
from darkroom.evaluation.score_journal import ScoreJournal, describe_pairs
from darkroom.evaluation.score_sheet import draw_score_sheet
from darkroom.evaluation.score_summary import (
    WORDS,
    Summary,
    list_figures,
    summarise,
    tabulate,
    write_csv,
    write_markdown,
)
from darkroom.evaluation.scores import DEFAULT, parse_metrics
from darkroom.models.loading import list_files
from darkroom.models.model import Model
from darkroom.output.atomic import atomic_write, check_target
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pairs.exposures import ExposurePair, Split
from darkroom.pairs.layouts import read_pairs
from darkroom.pairs.store import PairStore, default_store
from darkroom.pipeline import Options

WIDTH = 160
"""Columns of the table where it is piped."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pairs are scored, amplified how, by which metrics; as on the command line."""

    place: Path
    references: Path | None
    split: str | None
    first: bool
    gain: str
    rule: str | None
    ratios: Sequence[float]
    metrics: Sequence[str]

    def protocol(self) -> Protocol:
        """Read how photos are amplified. Raises UsageError for what does not fit together."""
        if self.gain not in ("true", "auto"):
            raise UsageError(f"--gain {self.gain}: give true or auto; a number is for --ratio")
        if self.rule is not None and self.gain != "auto":
            raise UsageError("--gain-rule finds gains; add --gain auto")
        if len(self.ratios) > 1:
            raise UsageError("--ratio: give one for pairs; several are for --simulate")
        return Protocol(self.ratios[0] if self.ratios else None, self.gain == "auto")

    def pairs(self, protocol: Protocol) -> list[ExposurePair]:
        """Find the pairs; their ratios may be unknown where the protocol needs none."""
        split = inputs.choice("--split", Split, self.split)
        ratio = 1.0 if protocol.automatic else protocol.ratio
        try:
            return read_pairs(self.place, longs=self.references, split=split, first=self.first)
        except UsageError:
            if ratio is None:
                raise
        return read_pairs(
            self.place, longs=self.references, split=split, first=self.first, ratio=ratio
        )


@dataclass(frozen=True, slots=True)
class Files:
    """What is read and written beside the pairs; as on the command line."""

    cache: str | None
    resume: Path | None
    csv: Path | None
    markdown: Path | None
    sheet: Path | None
    overwrite: bool

    def check(self, inputs: Sequence[Path]) -> None:
        """Raise OutputError or UsageError for what could not be written at the end."""
        if self.sheet is not None:
            PictureFormat.from_path(self.sheet)
        written = [path for path in (self.csv, self.markdown, self.sheet) if path is not None]
        for path in written:
            check_target(path, self.overwrite, inputs)
        if self.resume is not None:
            check_target(self.resume, overwrite=True, inputs=inputs)
            written.append(self.resume)
        if len({path.resolve() for path in written}) < len(written):
            raise UsageError("--resume, --csv, --markdown and --sheet: give each a file of its own")


def evaluate_pairs(
    choice: Choice,
    names: Sequence[str],
    load: Callable[[str], Model],
    options: Options,
    files: Files,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score models on pairs; what is wrong is said before the first picture is made."""
    protocol, metrics = choice.protocol(), parse_metrics(choice.metrics) or DEFAULT
    pairs = choice.pairs(protocol)
    read = [path for pair in pairs for path in (pair.short, pair.long)]
    if choice.place.is_file():
        read.append(choice.place)
    files.check([*read, *(path for name in names for path in list_files(name))])
    settings = {
        "pairs": describe_pairs(pairs),
        "gain": str(protocol) + (f" by {choice.rule}" if choice.rule else ""),
        "metrics": ",".join(metrics),
        "edges": options.edges.value,
    }
    models = {name: load(name) for name in names if name != LIBRAW}
    with ExitStack() as stack:
        decoded: DecodedPairs
        if files.cache == "off":
            decoded = stack.enter_context(DecodedAnew())
        else:
            decoded = default_store() if files.cache is None else PairStore(Path(files.cache))
        contenders = [
            contend(name, _identify(models[name]), models[name], options, protocol)
            if name in models
            else contend_libraw(decoded)
            for name in names
        ]
        known: Known = know_nothing
        journal = None
        if files.resume is not None:
            journal = stack.enter_context(ScoreJournal(files.resume, settings, contenders))
            known = journal.find
            if len(journal) and not quiet:
                output.say(f"{files.resume}: going on from {len(journal)} scores")
        if isinstance(decoded, PairStore):
            _decode(decoded, list(_list_needed(pairs, names, known)), quiet)
        found = score_pairs(pairs, contenders, metrics, decoded, known)
        scores = _follow(found, len(pairs) * len(names), journal, as_json, quiet)
        sheet = None
        if files.sheet is not None:
            sheet = draw_score_sheet(pairs, contenders, scores, decoded)
    published = {one.name: find_published(pairs, one, protocol) for one in contenders}
    summaries = summarise((one for _, one in scores), published)
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)}"
    title = f"{count} of {choice.place.absolute().name}, {settings['gain']}"  # which . has too
    _print_summaries(summaries, title, as_json, quiet)
    if files.csv is not None:
        table = write_csv((one for _, one in scores), list_figures(metrics))
        write_text(files.csv, table, files.overwrite)
    if files.markdown is not None:
        write_text(files.markdown, write_markdown(summaries, title), files.overwrite)
    if files.sheet is not None and sheet is not None:
        kind = PictureFormat.from_path(files.sheet)
        save = SaveOptions(kind, overwrite=files.overwrite, inputs=tuple(read))
        save_picture(sheet, files.sheet, save)


def _identify(model: Model) -> str:
    """Tell weights, and how they run, from others."""
    return f"{weights_sha256(model)} {model.norm_statistics}"


def _list_needed(
    pairs: Sequence[ExposurePair], names: Sequence[str], known: Known
) -> Iterator[ExposurePair]:
    """Yield what has to be decoded for the scores that are not known yet."""
    for index, pair in enumerate(pairs):
        open_names = [name for name in names if known(index, name) is None]
        if open_names:
            yield pair
        if LIBRAW in open_names:
            yield with_itself(pair)


def _decode(store: PairStore, pairs: Sequence[ExposurePair], quiet: bool) -> None:
    """Decode what is not kept yet, having said how much that is."""
    plan = store.plan(pairs)
    if not plan.missing:
        return
    if not quiet:
        output.say(str(plan))
    with _progress(quiet) as bar:
        task = bar.add_task("decoding", total=plan.total)
        store.build(pairs, 0, lambda done, total: bar.update(task, completed=done, total=total))


def _follow(
    found: Iterable[tuple[int, PairScore]],
    total: int,
    journal: ScoreJournal | None,
    as_json: bool,
    quiet: bool,
) -> list[tuple[int, PairScore]]:
    """Collect scores as they are found: noted, shown how far it is, printed as JSON."""
    scores = []
    with _progress(quiet or (as_json and sys.stdout.isatty())) as bar:
        task = bar.add_task("scoring", total=total)
        for index, score in found:
            scores.append((index, score))
            if journal is not None:
                journal.append(index, score)
            if as_json:
                output.print_json({"kind": "pair", **flatten(asdict(score))})
            bar.advance(task)
    return scores


def _print_summaries(summaries: Sequence[Summary], title: str, as_json: bool, quiet: bool) -> None:
    if as_json:
        for one in summaries:
            output.print_json({"kind": "mean", **flatten(asdict(one))})
        return
    if not quiet:
        output.say(title)
    heads, rows = tabulate(summaries)
    output.show_rows(heads, rows, WIDTH, WORDS)


def flatten(record: dict[str, object]) -> dict[str, object]:
    """Put a record's figures beside its other facts."""
    figures = record.pop("figures")
    assert isinstance(figures, dict), "both records have them"
    return {**record, **figures}


def write_text(path: Path, text: str, overwrite: bool) -> None:
    """Write a table whole or not at all."""
    with atomic_write(path, overwrite) as stream:
        stream.write(text.encode())


def _progress(quiet: bool) -> Progress:
    """Make a progress line with the time left: on a terminal only, on standard error."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
