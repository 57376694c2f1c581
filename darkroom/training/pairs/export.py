"""What comes out of a run on pairs: weights that load without asking, their card, the recipe."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import darkroom
from darkroom.models.architectures import find_architectures
from darkroom.output.atomic import atomic_write
from darkroom.training.pairs.networks.llpacknet import run_unamplified
from darkroom.training.state import pack_tensors
from darkroom.weights.checkpoint import ARCHITECTURE
from darkroom.weights.registry import Output

if TYPE_CHECKING:
    from darkroom.training.pairs.trainer import PairRun

RECIPE = "recipe.json"
TURNS = {"flip_rows", "flip_columns", "flip_sites", "transpose"}
"""Of recipes, what networks that draw their own crops do not read."""
PACKAGE = Path(darkroom.__file__).parent


def find_version() -> str:
    """Return darkroom's version, and the commit where it runs from a checkout."""
    version = darkroom.__version__
    if (PACKAGE.parent / ".git").exists():
        with suppress(OSError, subprocess.SubprocessError):
            line = ["git", "-C", str(PACKAGE), "rev-parse", "--short=12", "HEAD"]
            found = subprocess.run(line, capture_output=True, text=True, timeout=10, check=True)
            version += f" ({found.stdout.strip()})"
    return version


def write_run_facts(run: "PairRun", folder: Path) -> None:
    """Write what a run is: `recipe.json`."""
    facts = run.job.describe() | {"steps": run.job.steps, "darkroom": find_version()}
    with atomic_write(folder / RECIPE, overwrite=True) as stream:
        stream.write((json.dumps(facts, indent=2) + "\n").encode())


def write_weights(run: "PairRun", folder: Path) -> None:
    """Write the weights as float32 safetensors, ready for `--model`, and their card."""
    job = run.job.describe()
    facts = {
        "format": "pt",
        ARCHITECTURE: run.job.network.architecture,
        "sensor": job["sensor"],
        "network": job["network"],
        "recipe": json.dumps(job["recipe"]),
        "data": json.dumps(job["data"] | {"name": run.job.source.name}),
        "steps": str(run.step),
        "darkroom": find_version(),
    }
    tensors = {name: value.cpu().contiguous() for name, value in run.weights().items()}
    name = run.job.network.name
    with atomic_write(folder / f"{name}.safetensors", overwrite=True) as stream:
        stream.write(pack_tensors(tensors, facts))
    with atomic_write(folder / f"{name}.md", overwrite=True) as stream:
        stream.write(write_card(run, job).encode())


def write_card(run: "PairRun", job: dict[str, Any]) -> str:
    """Say in Markdown what the weights are, what they learned from, how, and how good they are."""
    name, data = job["network"], job["data"]
    unused = {"epochs" if job["recipe"]["steps"] else "steps"}
    if run.job.network.draw is not None:
        unused |= TURNS
    recipe = "\n".join(
        f"| {key} | {value} |" for key, value in job["recipe"].items() if key not in unused
    )
    scores = "\n".join(
        f"| {what} | {score['psnr']:.2f} | {score['ssim']:.3f} |"
        for what, score in run.scores.items()
    )
    table = (
        f"| ratio | PSNR, dB | SSIM |\n|---|---|---|\n{scores}" if scores else "None were taken."
    )
    begun = f"Begun with weights of SHA-256 {job['begin']}.\n\n" if job["begin"] else ""
    paints = find_architectures(job["architecture"])[0].output is Output.SRGB
    count = len(run.job.source.photos)
    photos = f", and {count} clean photographs, seen by simulated sensors" * (count > 0)
    colours = "The weights paint in the colours of the cameras of these pairs.\n\n" * paints
    return (
        f"# {name}, trained on pairs\n\n"
        f"`darkroom enhance photo --model {name}.safetensors`\n\n"
        f"Network: {job['architecture']}, for {job['sensor']} sensors; {run.step} of "
        f"{run.job.steps} steps, {job['precision']}, by darkroom {find_version()}.\n\n{begun}"
        f"## Data\n\n{run.job.source.name}: {data['pairs']} pairs of {data['scenes']} scenes"
        f"{photos}; SHA-256 of their names {data['sha256']}.\n\n{colours}"
        f"## Recipe\n\n| | |\n|---|---|\n{recipe}\n\n"
        f"## Scores\n\nOn the middles of test pairs, {_tell_gain(run)}.\n\n{table}\n"
    )


def _tell_gain(run: "PairRun") -> str:
    """Say what the photos that were scored were amplified by."""
    if run.job.recipe.m:
        return f"amplified by REDI's estimate with m = {run.job.recipe.m:g}, not by the true ratio"
    if run.job.network.forward is run_unamplified:
        return "amplified by the network itself, not by the true ratio"
    return "at the true ratio"
