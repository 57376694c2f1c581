"""A photo on its way between two processes: everything but the mosaic as JSON values."""

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import CFA, BlackOrigin, Color, Exposure, RawImage, WhiteBalance


def header(raw: RawImage) -> dict[str, Any]:
    """Return all of a photo but its mosaic as JSON values; exact, floats included."""
    balance = raw.color.white_balance
    return {
        "cfa": raw.cfa.pattern,
        "black": raw.black.tolist(),
        "white": raw.white.tolist(),
        "color": {
            "white_balance": None if balance is None else balance.tolist(),
            "xyz_to_camera": raw.color.xyz_to_camera.tolist(),
            "source": raw.color.source.value,
        },
        "exposure": [raw.exposure.seconds, raw.exposure.iso, raw.exposure.aperture],
        "orientation": raw.orientation,
        "pixel_aspect": raw.pixel_aspect,
        "camera": raw.camera,
        "lens": raw.lens,
        "time": None if raw.time is None else raw.time.isoformat(),
        "margins": raw.margins,
        "row_black": _listed(raw.row_black),
        "masked_black": _listed(raw.masked_black),
        "masked_noise": raw.masked_noise,
        "black_origin": None if raw.black_origin is None else _black_header(raw.black_origin),
        "noise_profile": raw.noise_profile,
        "warnings": raw.warnings,
    }


def from_header(values: dict[str, Any], mosaic: NDArray[Any]) -> RawImage:
    """Put a photo together again from `header` and its mosaic."""
    color, balance = values["color"], values["color"]["white_balance"]
    time, profile = values["time"], values["noise_profile"]
    origin = values["black_origin"]
    return RawImage(
        mosaic=mosaic,
        cfa=CFA(values["cfa"]),
        black=np.array(values["black"], np.float32),
        white=np.array(values["white"], np.float32),
        color=Color(
            None if balance is None else np.array(balance),
            np.array(color["xyz_to_camera"]),
            WhiteBalance(color["source"]),
        ),
        exposure=Exposure(*values["exposure"]),
        orientation=values["orientation"],
        pixel_aspect=values["pixel_aspect"],
        camera=values["camera"],
        lens=values["lens"],
        time=None if time is None else datetime.fromisoformat(time),
        margins=(values["margins"][0], values["margins"][1]),
        row_black=_array(values["row_black"]),
        masked_black=_array(values["masked_black"]),
        masked_noise=values["masked_noise"],
        black_origin=None if origin is None else _black_origin(origin),
        noise_profile=None if profile is None else (profile[0], profile[1]),
        warnings=tuple(values["warnings"]),
    )


def _black_header(origin: BlackOrigin) -> dict[str, Any]:
    return {
        "stated": origin.stated.tolist(),
        "reason": origin.reason,
        "error": _listed(origin.error),
        "row_noise": origin.row_noise,
        "row_noise_left": origin.row_noise_left,
    }


def _black_origin(values: dict[str, Any]) -> BlackOrigin:
    arrays = {"stated": np.array(values["stated"], np.float32), "error": _array(values["error"])}
    return BlackOrigin(**(values | arrays))


def _listed(values: NDArray[np.float32] | None) -> list[Any] | None:
    return None if values is None else values.tolist()


def _array(values: list[Any] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, np.float32)
