"""What a user asks of a batch, and the photos and models that it comes to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom.batch import watch
from darkroom.batch.cluster.journal_mirror import journal_folder
from darkroom.batch.cluster.resources import ClusterOptions
from darkroom.batch.devices import load_models
from darkroom.batch.jobs import FileState, Inputs, Job, OutputNaming, Search, find_jobs
from darkroom.batch.options import BatchOptions
from darkroom.batch.report import check_report
from darkroom.batch.run import PreparedBatch
from darkroom.batch.storage import find_url_jobs, is_url, without_file
from darkroom.errors import UsageError
from darkroom.models.loading import list_files
from darkroom.output.atomic import make_folder


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """All that a user decides about a batch, except which photos.

    `out`: a folder's path or URL. `watch`: go on with what arrives. `cluster`: the address of a Ray
    cluster, None for this machine. `report`: the page to write about it afterwards.
    `norm_statistics`: as for `load_model`. `profile`: the file that the options' own was read from,
    which no picture replaces. Raises UsageError for URLs where only paths will do, and
    what `check_report` raises.
    """

    out: str
    options: BatchOptions
    naming: OutputNaming
    search: Search
    watch: bool = False
    model: str = "safelight"
    device: str = "auto"
    precision: str = "auto"
    cluster: str | None = None
    report: Path | None = None
    norm_statistics: str = "stored"
    profile: Path | None = None

    def __post_init__(self) -> None:
        _check_urls([self.out], self.cluster, self.report)
        if self.report is not None:
            check_report(self.report, self.folder, self.options.save.overwrite)

    @property
    def folder(self) -> Path:
        """The folder on this machine that holds the journal."""
        out = without_file(self.out)
        return journal_folder(out) if is_url(out) else Path(out)


def prepare(request: BatchRequest, sources: Sequence[str]) -> PreparedBatch:
    """Find the photos and load the models of a batch, so that `run` can begin.

    `sources`: photos, folders and globs, or with the search's `missing` photos of a list, which may
    be empty. Raises DarkroomError where there are none, or the models are not fit.
    """
    search = replace(request.search, skip=request.folder, skip_file=request.report)
    out, options = without_file(request.out), request.options
    if not is_url(out) and Path(out).exists():
        make_folder(Path(out))  # fails now where it is none
    jobs: Iterable[Job | None]
    known: Mapping[str, FileState] = {}
    if request.watch:
        jobs = watch.watch_folders(sources, request.naming, search)
    else:
        _check_urls(sources, request.cluster)
        jobs, known = _find(sources, request.naming, search)
    inputs = (*list_files(request.model), *([request.profile] if request.profile else []))
    if request.report is not None:
        read = Inputs(jobs if isinstance(jobs, Sequence) else (), inputs)
        read.spare(str(request.report), "choose another name for the report")
    if request.cluster is not None:
        cluster = ClusterOptions(
            request.cluster,
            request.model,
            request.device,
            request.precision,
            request.norm_statistics,
        )
        return PreparedBatch(jobs, out, options, cluster=cluster, known=known, inputs=inputs)
    models = load_models(
        request.model,
        request.device,
        request.precision,
        request.norm_statistics,
        options.picture.bits,
    )
    for model in models:
        options.picture.resolve(model)
    return PreparedBatch(jobs, out, options, models, inputs=inputs)


def _find(
    sources: Sequence[str], naming: OutputNaming, search: Search
) -> tuple[list[Job], Mapping[str, FileState]]:
    """Find photos, and what is known of them already. Raises UsageError where there are none."""
    names = [without_file(name) for name in sources]
    if any(is_url(name) for name in names):
        return find_url_jobs(names, naming, search)
    found = find_jobs(names, naming, search)
    if not found and not search.missing:
        more = "add --all for files of any ending" if search.recursive else "add -r for subfolders"
        raise UsageError(f"{', '.join(names)}: no RAW photo in there; {more}")
    return found, {}


def _check_urls(names: Sequence[str], cluster: str | None, report: Path | None = None) -> None:
    """Raise UsageError for URLs where only paths will do."""
    urls = [name for name in names if is_url(without_file(name))]
    if urls and cluster is None:
        raise UsageError(f"{urls[0]}: URLs need --cluster; copy the photos to a folder instead")
    if urls and report is not None:
        raise UsageError(f"{urls[0]}: --report needs the pictures in a folder; leave it out")
    if urls and len(urls) < len(names):
        raise UsageError(f"{urls[0]}: paths and URLs do not mix; run a batch for each")
