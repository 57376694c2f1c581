"""Many photos: decode, network and encode overlap; one photo's failure costs one photo."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from darkroom.files.picture import PictureFormat, SaveOptions
from darkroom.journal import Outcome
from darkroom.model import Model
from darkroom.pipeline import Options
from darkroom.sources import Job


class Stage(Enum):
    """Where a photo is; also the keys of `Outcome.seconds`."""

    DECODE = "decode"
    NETWORK = "network"
    ENCODE = "encode"


@dataclass(frozen=True, slots=True)
class Progress:
    """A photo has entered a stage, or moved on in it by `share` (0 to 1)."""

    job: Job
    stage: Stage
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user may decide about a batch.

    `picture`: per photo. `save`: how pictures are written; without its `overwrite`, only pictures
    that an earlier batch made and nobody changed since are ever replaced. `jobs`: photos decoded,
    and as many encoded, at the same time; None for what the processor bears. `timeout`: seconds
    after which decoding a photo is given up. `resume`: skip what the journal says is done; False
    does all again. `check_hash`: tell changed inputs by their SHA-256, not size and time.
    """

    picture: Options = Options()
    save: SaveOptions = SaveOptions(PictureFormat.PNG)  # noqa: RUF009 - frozen
    jobs: int | None = None
    timeout: float = 60.0
    resume: bool = True
    check_hash: bool = False


def load_models(name_or_path: str | Path, device: str, precision: str) -> tuple[Model, ...]:
    """Load a model once per device: one for the devices of `load_model`, all for cuda:all."""
    raise NotImplementedError


def enhance_all(
    photos: Iterable[Job | Path | str | None],
    out: Path,
    model: str | Path | Model | Sequence[Model] = "safelight",
    options: BatchOptions = BatchOptions(),
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Outcome]:
    """Enhance many photos into the folder `out`, and yield what became of each as it is done.

    `photos`: jobs (see `darkroom.sources.find_jobs`), which may come one by one without end, None
    standing for "nothing at the moment"; or paths of photos and folders. `model`: a name, a file,
    or models ready to run, each on its own device. `watch` is called from several threads.
    A journal (`darkroom.journal`) in `out` makes it resumable at any time: closing the generator,
    or an exception in the thread that runs it, drops the photos at hand and leaves nothing
    half-written. Raises OutputError where nothing more can be written (disk full, folder gone).
    """
    raise NotImplementedError
