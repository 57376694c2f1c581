"""darkroom simulate: a data set of dark RAWs and their references, made from clean pictures."""

from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import output
from darkroom.cli.options import Overwrite, Quiet
from darkroom.errors import UsageError


def simulate(
    pictures: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Clean JPEG or PNG pictures, the scenes.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the data set goes.")
    ],
    ratio: Annotated[
        list[float] | None,
        typer.Option("--ratio", help="Long over short exposure time, any number. Default: 100."),
    ] = None,
    shots: Annotated[
        int, typer.Option("--shots", min=1, max=100, help="Dark photos at each ratio.")
    ] = 1,
    camera: Annotated[
        str, typer.Option("--camera", metavar="NAME", help="Whose colours; part of its name.")
    ] = "Sony ILCE-7SM2",
    xtrans: Annotated[bool, typer.Option("--xtrans", help="An X-Trans sensor.")] = False,
    raw_long: Annotated[
        bool,
        typer.Option("--raw-references", help="References are RAW photos too, not the scenes."),
    ] = False,
    test_every: Annotated[
        int, typer.Option("--test-every", min=0, help="Every such scene is for testing; 0: none.")
    ] = 5,
    size: Annotated[
        int, typer.Option("--size", min=0, help="Photosites a side, cut from the middle; 0: all.")
    ] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make pairs of a dark RAW and its reference from clean pictures, laid out as SID is.

    A simulated sensor with the noise of SID's photos takes each picture. Leaves short/ with DNGs,
    long/ with 16-bit PNGs (or DNGs), train_list.txt and test_list.txt, for evaluate and train.

    Example:

    darkroom simulate pictures/ -o pairs/ --ratio 100 --ratio 300
    """
    from darkroom.evaluation.cameras import find_camera
    from darkroom.evaluation.simulated import read_scenes
    from darkroom.evaluation.simulated_pairs import LISTS, PairsRequest, write_pairs
    from darkroom.mosaic.packing import BAYER, XTRANS

    name, color = find_camera(camera)
    request = PairsRequest(
        camera=f"Simulated {name}",
        color=color,
        ratios=tuple(dict.fromkeys(ratio or (100.0,))),
        shots=shots,
        cfa=XTRANS if xtrans else BAYER,
        raw_long=raw_long,
        test_every=test_every,
        side=size,
    )
    if out.resolve().is_relative_to(pictures.resolve()):  # its pictures would be scenes next time
        raise UsageError(f"{out}: lies among the pictures of {pictures}; choose another folder")
    scenes = read_scenes(pictures, "**/*", "pictures to simulate photos of")
    total = len(scenes) * len(request.ratios) * shots
    with output.Stages(quiet) as stages, stages.stage(f"simulate {total} photos") as watch:
        for done, _ in enumerate(write_pairs(scenes, out, request, overwrite), start=1):
            watch(done / total)
    if not quiet:
        lists = " and ".join(str(out / name) for name in LISTS if (out / name).exists())
        output.say(f"{total} pairs of {len(scenes)} scenes: {lists}")
