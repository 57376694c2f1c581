"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

Photo = Annotated[
    Path, typer.Argument(metavar="PHOTO", help="A RAW photo, or - for standard input.")
]
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTO...", help="RAW photos, or folders of them; - for one on standard input."
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE",
        help="Weights by name (darkroom models) or a file. NETWORK=FILE where a file's tensors fit "
        "two networks, as a warning then says: sid-rggb=FILE is SID trained on R G G B, "
        "sid-norm-last=FILE has its batch norms after the activations, redi-group-norm-8=FILE 8 "
        "groups.",
    ),
]
NormStatistics = Annotated[
    str,
    typer.Option(
        "--norm-statistics",
        metavar="stored|photo",
        help="What batch norms go by: what the checkpoint stores, or, for networks that were "
        "published so, each photo's own, without tiles.",
    ),
]
Ratio = Annotated[
    float | None,
    typer.Option("--ratio", "-r", help="Amplify so many times, 1 to 1000. Default: automatic."),
]
Ev = Annotated[
    float, typer.Option("--ev", help="Stops brighter (or darker, if negative) than that.")
]
GainRule = Annotated[
    str | None,
    typer.Option(
        "--gain-rule",
        metavar="RULE",
        help="Automatic rule: learned, percentile, redi[:M] (M from 1 to 9, as REDI's demo does; "
        "redi-train[:M] as its training code), or llpacknet (the amplifier in the weights of "
        "LLPackNet 2020, where it is the default).",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps|xpu",
        help="Where the network runs: auto is the first CUDA device, else the processor. All but "
        "cpu are experimental; torch's other accelerators go by their names too.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|fp32|bf16|fp16",
        help="auto: half precision for 8 bits where the hardware has it, else fp32.",
    ),
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|off|N",
        help="Tile size in photosites; auto fits the memory that is free.",
    ),
]
HotPixels = Annotated[
    str | None,
    typer.Option(
        "--hot-pixels",
        metavar="repair|keep",
        help="Hot and dead photosites: repaired by default, but for published networks.",
    ),
]
Denoise = Annotated[
    float,
    typer.Option(
        "--denoise",
        metavar="0..2",
        help="0: demosaicing alone; 1: the network's result; between them a blend of both; above "
        "1 stronger, by networks that can be told the noise.",
    ),
]
Highlights = Annotated[
    str | None,
    typer.Option(
        "--highlights",
        metavar="roll|clip",
        help="Light above white: rolled off, so that lamps keep colour and shape (the default, but "
        "for published networks), or clipped.",
    ),
]
Edges = Annotated[
    str,
    typer.Option(
        "--edges",
        metavar="reflect|crop",
        help="Photos that end off the network's grid: continued by reflection, or cropped at the "
        "bottom and right, as published code does.",
    ),
]
Black = Annotated[
    str | None,
    typer.Option(
        "--black",
        metavar="stated|measured|N",
        help="Black level: as the file states it (the default of published networks), as measured "
        "on the photo (of the others), or a number in sensor units.",
    ),
]
Cfa = Annotated[
    str | None,
    typer.Option(
        "--cfa",
        metavar="RGGB|BGGR|GRBG|GBRG",
        help="A Bayer sensor's filters at the picture's first site, where the file states them "
        "wrongly.",
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="The camera's profile (darkroom calibrate): its black, noise and hot pixels.",
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        "--bits",
        help="8, or 16 per sample (PNG, TIFF, JPEG XL), or 32: floats of linear light (TIFF), in "
        "which what is above white goes on; OpenEXR has such of 16 or 32. Default: 8; DNG and "
        "OpenEXR have 16.",
    ),
]
Dng = Annotated[
    str | None,
    typer.Option(
        "--dng",
        metavar="linear|bright|mosaic",
        help="What a DNG holds: the picture in the camera's own colours, denoised and demosaiced "
        "(linear, the default); the same with light above white rolled off, for editors that "
        "ignore BaselineExposure (bright); or denoised alone, as the sensor's filters have it.",
    ),
]
Quality = Annotated[
    int,
    typer.Option("--quality", help="Of JPEG, WebP, AVIF and JPEG XL (100: lossless), 1 to 100."),
]
ColorSpace = Annotated[
    str,
    typer.Option(
        "--color-space",
        metavar="srgb|display-p3|adobe-rgb|rec2020|prophoto|linear",
        help="Of the picture, with its ICC profile; linear is sRGB's primaries without a curve, "
        "and needs more than 8 bits.",
    ),
]
Tone = Annotated[
    str,
    typer.Option(
        "--tone",
        metavar="neutral|soft|contrast",
        help="Contrast: as the light was, less, or more; middle gray stays.",
    ),
]
Saturation = Annotated[
    float, typer.Option("--saturation", metavar="0..2", help="Of colours: 0 gray, 1 as they are.")
]
WhiteBalance = Annotated[
    str,
    typer.Option(
        "--wb",
        metavar="as-shot|auto|daylight|KELVIN",
        help="White balance: the camera's, measured on the picture (gray world), of daylight, or "
        "of light of so many kelvin, 2000 to 25000; not for networks that paint their own colours.",
    ),
]
LensCorrect = Annotated[
    bool,
    typer.Option(
        "--lens-correct",
        help="Take back dark corners, bent lines and colour fringes where lensfun's database knows "
        "camera and lens; not for DNGs. Needs pip install 'darkroom[lens]'.",
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        "--resize",
        metavar="LONGEDGE",
        help="Make the picture smaller, in linear light, so that its longer side has at most so "
        "many pixels; never larger.",
    ),
]
Full = Annotated[
    bool,
    typer.Option(
        "--full",
        help="All that the sensor saw, where the camera shows less of it. Networks that are run as "
        "published always do.",
    ),
]
Strip = Annotated[
    bool,
    typer.Option("--strip", help="Write no metadata but orientation, size and colour profile."),
]
NoGps = Annotated[
    bool,
    typer.Option("--no-gps", help="Leave out the coordinates; names of places stay."),
]
KeepTime = Annotated[
    bool,
    typer.Option("--keep-time", help="Give the picture's file the time the photo was taken."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")]
