"""darkroom enhance: dark RAW photos in, finished pictures out, one after the other."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import config, inputs, options, output, targets
from darkroom.cli.choices import FileChoices, PictureChoices
from darkroom.cli.startup import defer_collection, load_libraries
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.models.model import Model
    from darkroom.output.picture import SaveOptions
    from darkroom.pipeline import Options
    from darkroom.raw.image import RawImage

STDIN, STDOUT = 0, 1
"""Descriptors: a shell may have opened a file there."""
SEEN = 0.3
"""Stops of BaselineExposure that nobody overlooks."""


def enhance(
    ctx: typer.Context,
    photos: options.Photos,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|FOLDER",
            help="Where the picture goes: .png, .tif, .jpg, .webp, .avif, .jxl, .exr or .dng, or - "
            "for standard output; a folder for one or more. Default: PHOTO's name with .png, in "
            "this folder.",
        ),
    ] = None,
    model: options.ModelName = "safelight",
    norm_statistics: options.NormStatistics = "stored",
    ratio: options.Ratio = None,
    choices: PictureChoices = PictureChoices(),
    dark: Annotated[
        list[Path] | None,
        typer.Option(
            "--dark",
            metavar="FRAME",
            help="A dark frame (lens cap on, same ISO and exposure) to take off, or a folder of "
            "them; may be repeated. One gives black, hot pixels and shading; more, all that stays.",
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|tif|jpg|webp|avif|jxl|exr|dng",
            help="In folders; needed where the output is -.",
        ),
    ] = None,
    file: FileChoices = FileChoices(),
    preview: Annotated[
        bool,
        typer.Option("--preview", help="A quick look: the picture reduced to 2 megapixels."),
    ] = False,
    show: Annotated[
        bool,
        typer.Option(
            "--show", help="Draw the picture on the terminal (kitty, iTerm2, sixel) as well."
        ),
    ] = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    no_config: config.NoConfig = False,
    preset: config.Preset = None,
    quiet: options.Quiet = False,
    verbose: config.Verbose = False,
) -> None:
    """Brighten dark RAW photos, one or a few; darkroom batch is for many.

    Examples:

    darkroom enhance IMG.ARW -o out.png

    darkroom enhance IMG_1.ARW IMG_2.ARW -o bright/

    darkroom enhance IMG.ARW -o out.tif --bits 16 --ratio 100

    cat IMG.DNG | darkroom enhance - -o - --format jpg > out.jpg

    Of several photos, one that fails costs only itself; the exit code is then 1.
    """
    config.tell_options(ctx, quiet=quiet, verbose=verbose)
    references = inputs.list_references(choices.profile, dark or ())
    with defer_collection():
        ahead = load_libraries(photos[0])
    plan, save = _plan_output(photos, out, file_format, file, model, references)
    piped = any(target == inputs.STANDARD for _, target in plan.pairs)
    if save.keep_time and piped:
        raise UsageError("--keep-time needs a file; name it with -o")
    if piped and show:
        raise UsageError("--show says where the file is if need be; name it with -o")
    if piped and as_json:
        raise UsageError("--json and -o - both want standard output; write the picture to a file")
    if show and save.format.value == "dng":
        raise UsageError("--show: a DNG is no finished picture; write a .png, .tif or .jpg")
    if preview and references:
        raise UsageError("--preview makes the photo smaller; leave --profile and --dark out")
    for photo, _ in plan.pairs:
        if photo in references and photo != choices.profile:
            raise UsageError(f"--dark {photo}: is the photo itself; give frames without any light")
    if plan.companions and not quiet:
        output.say(plan.companions)
    with output.Stages(quiet) as stages, stages.stage("load the model"):
        picture_options = choices.read(save.picture_bits, save.format, ratio, dark or ())
        save.check_space(picture_options.color_space)
        from darkroom.batch.devices import weights_sha256
        from darkroom.models.loading import load_model

        network = load_model(model, device, precision, norm_statistics, save.picture_bits)
        digest = weights_sha256(network)
    job = _Job(
        network,
        digest,
        picture_options,
        save,
        norm_statistics,
        choices.wb,
        quiet=quiet,
        as_json=as_json,
        preview=preview,
        show=show,
        several=plan.several,
        loading=stages.seconds,
        ahead=ahead,
    )
    if plan.several:
        targets.make_each(plan, job.make, save, quiet=quiet, as_json=as_json)
    else:
        job.make(*plan.pairs[0])


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done to each photo, by a network that is loaded once.

    `digest`: of its tensors. `several`: warnings say which photo they are about. `loading`:
    seconds, which the first photo's are told to have taken. `ahead`: photos that are read already.
    """

    network: "Model"
    digest: str
    options: "Options"
    save: "SaveOptions"
    norm_statistics: str
    wb: str
    quiet: bool
    as_json: bool
    preview: bool
    show: bool
    several: bool
    loading: dict[str, float]
    ahead: "dict[Path, RawImage]"

    def make(self, photo: Path, target: Path) -> None:
        """Make one picture and say so."""
        from darkroom.batch.stages import describe, describe_metadata
        from darkroom.cli.terminal_picture import show_picture
        from darkroom.mosaic.binning import shrink_photo
        from darkroom.output.metadata import find_time
        from darkroom.output.picture import save_picture
        from darkroom.output.rows import PictureRows, gather
        from darkroom.pipeline import enhance, enhance_by_rows

        network, save = self.network, self.save
        # What is shown is looked at again, and a pipe gets a picture whole or not at all.
        make = enhance if self.show or target == inputs.STANDARD else enhance_by_rows

        def write() -> None:
            save_picture(
                picture.pixels,
                sink,
                save,
                metadata=metadata,
                time=time,
                space=picture.color_space,
                camera=picture.camera,
            )

        with output.Stages(self.quiet) as stages:
            with stages.stage("read"):
                raw = self.ahead.pop(photo, None) or inputs.read_photo(photo)
                if self.preview:
                    raw = shrink_photo(raw)
            with stages.stage("enhance") as watch:
                picture = make(raw, network, self.options, watch)
                sink = sys.stdout.buffer if target == inputs.STANDARD else target
                used = network.for_sensor(raw.cfa.sensor)
                metadata = describe_metadata(raw, picture, used, self.digest, self.options, save)
                path = None if photo == inputs.STANDARD else photo
                time = find_time(raw, path) if save.keep_time else None
                if comes_by_rows := isinstance(picture.pixels, PictureRows):
                    write()  # while the network runs
            with stages.stage("write"):
                if not comes_by_rows:
                    write()
        facts = describe(raw, picture, network) | {
            "network": used.architecture.name,
            "format": save.format.value,
            "bits": save.bits,
            "norm_statistics": self.norm_statistics,
            "profile": self.options.profile and self.options.profile.identity,
            "dark": self.options.dark and self.options.dark.identity,
            "color_space": picture.color_space.value,
            "tone": self.options.tone.value,
            "saturation": self.options.saturation,
            "resize": self.options.resize,
            "wb": self.wb,
        }
        taken = self.loading | stages.seconds
        self.loading.clear()
        seconds = {name: round(seconds, 3) for name, seconds in taken.items()}
        if not self.quiet:
            lines = list(picture.warnings)
            unknown = f"lens {picture.lens}" in lines
            if save.keep_time and time is None:
                lines.append("nothing tells when the photo was taken; the file keeps today's time")
            for line in lines:
                output.warn(f"{photo.name}: {line}" if self.several else line)
            output.say(
                "{output}: {width} x {height}, x{gain:.4g} ({gain_reason}), {model} on {device} "
                "in {precision}, {total:.1f} s".format(
                    **facts, output=target, total=sum(seconds.values())
                )
                + (f"; lens {picture.lens}" if picture.lens and not unknown else "")
            )
            if picture.camera is not None and picture.camera.baseline_exposure > SEEN:
                output.say(
                    "light above white is kept, BaselineExposure is "
                    f"{picture.camera.baseline_exposure:+.1f}; for editors that leave that to "
                    "you, as darktable does, there is --dng bright"
                )
        if self.show:
            show_picture(gather(picture.pixels), target, picture.color_space)
        if self.as_json:
            record = {"photo": str(photo), "output": str(target), **facts, "seconds": seconds}
            output.print_json(record)


def _plan_output(
    photos: Sequence[Path],
    out: str | None,
    file_format: str | None,
    file: FileChoices,
    model: str,
    references: Sequence[Path],
) -> tuple[targets.TargetPlan, "SaveOptions"]:
    """Settle where and how pictures are written, and fail now if they could not be.

    `references`: a profile and dark frames, which are read too.
    """
    from darkroom.models.loading import list_files
    from darkroom.output.atomic import check_target, make_folder, spare_inputs
    from darkroom.output.picture import PictureFormat

    kind = PictureFormat.from_name(file_format, dng=True) if file_format else None
    plan = targets.plan_targets(photos, out, file_format or "png")
    target = plan.pairs[0][1]
    if target == inputs.STANDARD and kind is None:
        raise UsageError("-o - needs --format png, tif, jpg, webp, avif, jxl, exr or dng")
    kind = kind or PictureFormat.from_path(target, dng=True)
    known = [STDIN if one == inputs.STANDARD else one for one, _ in plan.pairs]
    read = (*known, *list_files(model), *references)
    save = file.read(kind, read)
    if plan.several:
        return plan, save
    if target != inputs.STANDARD:
        if plan.folder:
            make_folder(target.parent)
        check_target(target, save.overwrite, read)
    elif sys.stdout.isatty():
        raise UsageError("standard output is a terminal; redirect it, or name a file with -o")
    else:
        spare_inputs(STDOUT, read)
    return plan, save
