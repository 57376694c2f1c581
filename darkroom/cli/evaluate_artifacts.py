"""What `darkroom evaluate --simulate FOLDER --metrics artifacts` does."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from darkroom.cli import output
from darkroom.cli.evaluate_pairs import WIDTH, Files, flatten, write_text
from darkroom.evaluation import artifact_scenes, artifact_summary
from darkroom.evaluation.contenders import LIBRAW
from darkroom.evaluation.score_summary import WORDS, write_table
from darkroom.evaluation.simulated import ENDINGS, name_ratio, read_scenes
from darkroom.models.loading import list_files
from darkroom.models.model import Model
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.pipeline import Options

RATIOS = (1.0, 10.0, 100.0, 300.0)


def evaluate_artifacts(
    folder: Path,
    names: Sequence[str],
    load: Callable[[str], Model],
    options: Options,
    files: Files,
    ratios: Sequence[float] | None,
    xtrans: bool,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure models on simulated photos; what is wrong is said before the first picture."""
    scenes = read_scenes(folder)
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS]
    files.check([*pictures, *(path for name in names for path in list_files(name))])
    paints = {
        name: artifact_scenes.paint_with_libraw
        if name == LIBRAW
        else artifact_scenes.paint_with(load(name), options)
        for name in names
    }
    cfa = XTRANS if xtrans else BAYER
    scores: list[artifact_scenes.ArtifactScore] = []
    with output.Stages(quiet or as_json) as stages, stages.stage("measuring"):
        for one in artifact_scenes.measure_artifacts(scenes, ratios or RATIOS, paints, cfa):
            scores.append(one)
            if as_json:
                output.print_json({"kind": "value", **asdict(one)})
    summaries = artifact_summary.summarise_artifacts(scores)
    count = f"{len(scenes)} picture{'s' * (len(scenes) > 1)}"
    over = " / ".join(map(name_ratio, dict.fromkeys(one.ratio for one in scores)))
    sensor = "X-Trans" if xtrans else "Bayer"
    title = f"Artifacts at {over}, {sensor}, {count} of {folder.absolute().name}"
    heads, rows = artifact_summary.tabulate_artifacts(summaries)
    if as_json:
        for summary in summaries:
            output.print_json({"kind": "summary", **flatten(asdict(summary))})
    else:
        if not quiet:
            for line in (title, *artifact_summary.list_saturated(scores)):
                output.say(line)
        output.show_rows(heads, rows, WIDTH, WORDS)
    if files.csv is not None:
        write_text(files.csv, artifact_summary.write_artifacts_csv(scores), files.overwrite)
    if files.markdown is not None:
        write_text(files.markdown, write_table(heads, rows, title), files.overwrite)
