"""darkroom export: a network as an ONNX file, for editors and programs of one's own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Overwrite, Quiet
from darkroom.errors import UsageError, printable

if TYPE_CHECKING:
    from darkroom.models.model import Model
    from darkroom.models.onnx_export import NoiseSource
    from darkroom.raw.image import RawImage

SUFFIX = ".dtmodel"


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Weights by name (darkroom models), a file, or NETWORK=FILE."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where it goes. Default: MODEL.onnx, or rawdenoise-MODEL-ISO.dtmodel, here.",
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            "--for",
            metavar="PHOTO",
            help="Fold the noise of this RAW photo in, for others of its camera at its ISO.",
        ),
    ] = None,
    dtmodel: Annotated[
        bool,
        typer.Option(
            "--dtmodel", help="A model for darktable 5.6; needs --for, since it tells no noise."
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a network as an ONNX file, which runs without darkroom.

    Beside MODEL.onnx comes MODEL.json, which says what goes in and what comes out: planes, black,
    white balance, gain, noise, grid and halo. Needs ONNX, which the extra onnx installs.

    Examples:

    darkroom export safelight -o safelight.onnx

    darkroom export safelight --for IMG.ARW --dtmodel
    """
    _check_options(out, photo, dtmodel)
    from darkroom.models.loading import find_source, list_files
    from darkroom.models.onnx_export import check_installed, export_model
    from darkroom.output.atomic import atomic_write, check_target
    from darkroom.weights import registry

    check_installed()
    with output.Stages(quiet) as stages:
        with stages.stage("load the model"):
            asked = inputs.load_network(name, "cpu", "fp32")
            entry = find_source(name).entry
        raw = None if photo is None else inputs.read_photo(photo)
        network = asked if raw is None else asked.for_sensor(raw.cfa.sensor)
        if network is not asked:
            entry = registry.ENTRIES[network.name]
        dtmodel = dtmodel or (out is not None and out.suffix == SUFFIX)
        target = out or Path(_default_name(network, raw, dtmodel))
        contract = target.with_suffix(".json")
        read = (*list_files(name), *(() if photo is None else (photo,)))
        for path in (target,) if dtmodel else (target, contract):
            check_target(path, overwrite, read)
        source = None
        if photo is not None and raw is not None:
            with stages.stage("measure the noise"):
                source = _measure_noise(photo, raw, network, dtmodel, quiet)
        with stages.stage("export"):
            if dtmodel:
                from darkroom.models.dtmodel import export_dtmodel

                assert source is not None, "it is asked for"
                data, facts = export_dtmodel(network, entry, source, target.stem), None
            else:
                data, facts = export_model(network, entry, source)
    with atomic_write(target, overwrite, size=len(data), inputs=read) as stream:
        stream.write(data)
        if facts is not None:  # the one is nothing without the other
            with atomic_write(contract, overwrite, inputs=read) as beside:
                beside.write(f"{json.dumps(facts, indent=2)}\n".encode())
    if not quiet:
        if entry is not None and not entry.licence.open:
            output.warn(f"{network.name}: {entry.licence.notice}; the file is under the same terms")
        described = f", described in {contract}" if facts else ""
        output.say(f"{target}: {network.name}, {len(data) / 1e6:.1f} MB{described}")


def _check_options(out: Path | None, photo: Path | None, dtmodel: bool) -> None:
    """Raise UsageError for options that do not fit together."""
    if out is not None:
        inputs.refuse_folder(out)
        if dtmodel and out.suffix != SUFFIX:
            raise UsageError(f"{out}: darktable's models end in {SUFFIX}; name it so")
        if not dtmodel and out.suffix not in (SUFFIX, ".onnx"):
            raise UsageError(f"{out}: give a name that ends in .onnx or {SUFFIX}")
        if out.suffix == SUFFIX:
            from darkroom.models.dtmodel import check_id

            check_id(out.stem)
            dtmodel = True
    if dtmodel and photo is None:
        raise UsageError(
            "--dtmodel needs --for PHOTO: darktable tells its models no noise, so that of a photo "
            "goes in"
        )


def _default_name(network: "Model", raw: "RawImage | None", dtmodel: bool) -> str:
    """Name the file after the model and, for darktable, the ISO that it is for."""
    if not dtmodel:
        return f"{network.name}.onnx"
    iso = f"-iso{raw.exposure.iso:g}" if raw is not None and raw.exposure.iso else ""
    return f"rawdenoise-{network.name}{iso}{SUFFIX}"


def _measure_noise(
    photo: Path, raw: "RawImage", network: "Model", dtmodel: bool, quiet: bool
) -> "NoiseSource":
    """Measure a photo as enhance does. Raises UsageError where the network is told no noise."""
    from darkroom.color.highlights import Highlights
    from darkroom.models.dtmodel import check_model
    from darkroom.models.onnx_export import NoiseSource
    from darkroom.mosaic.noise import measure_noise
    from darkroom.pipeline import Options, prepare, take_choices

    if dtmodel:
        check_model(network)
    if not network.takes_noise:
        raise UsageError(f"--for: {network.name} is told of no noise; leave it out")
    warnings = (*raw.warnings, *network.check(raw))
    for line in () if quiet else warnings:
        output.warn(line)
    settings = Options(highlights=Highlights.CLIP).resolve(network)
    ready = prepare(raw, network, settings, lambda line: None)  # its picture is not wanted
    assert ready.color is not None, "a network that is told of noise gives camera RGB"
    return NoiseSource(
        name=printable(photo.name),
        camera=printable(raw.camera),
        iso=raw.exposure.iso,
        gain=ready.gain.value,
        noise=measure_noise(take_choices(raw, settings)),
        color=ready.color,
    )
