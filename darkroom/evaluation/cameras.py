"""Cameras that are simulated: how their sensors see colours."""

import numpy as np

from darkroom.errors import UsageError
from darkroom.raw.image import SRGB_TO_XYZ, Color

XYZ_TO_CAMERA = {
    "Sony ILCE-7SM2": (5838, -1430, -246, -3498, 11477, 2297, -748, 1885, 5778),
    "Sony ILCE-7M3": (7374, -2389, -551, -5435, 13162, 2519, -1006, 1795, 6552),
    "Canon EOS 5D Mark III": (6722, -635, -963, -4287, 12460, 2028, -908, 2162, 5668),
    "Canon EOS 5D Mark II": (4716, 603, -830, -7798, 15474, 2480, -1496, 1937, 6651),
    "Canon EOS 6D": (7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758),
    "Nikon D800": (7866, -2108, -555, -4869, 12483, 2681, -1176, 2069, 7501),
    "Nikon D700": (8139, -2171, -663, -8747, 16541, 2295, -1925, 2008, 8093),
    "Nikon D850": (10405, -3755, -1270, -5461, 13787, 1793, -1040, 2015, 6785),
    "Nikon D1": (7640, -2200, -970, -9110, 17100, 2040, -2820, 3310, 8370),
    "Fujifilm X-T1": (8458, -2451, -855, -4597, 12447, 2407, -1475, 2482, 6526),
    "Olympus E-M1": (7687, -1984, -606, -4327, 11928, 2721, -1381, 2339, 6452),
    "Pentax K-5": (8713, -2833, -743, -4342, 11900, 2772, -722, 1543, 6247),
}
"""CIE XYZ (D65) to camera RGB times 10000, of cameras of several makers and decades.

Source: Adobe DNG Converter's ColorMatrix2 tags, as dcraw lists them.
"""


def find_camera(name: str) -> tuple[str, Color]:
    """Return a camera's whole name and its colours in daylight, the white balance that of D65.

    `name`: any part of it, in any case, that no other camera has. Raises UsageError.
    """
    found = [known for known in XYZ_TO_CAMERA if name.lower() in known.lower()]
    found = [known for known in found if known.lower() == name.lower()] or found
    if len(found) != 1:
        reason = "several cameras are called so" if found else "no camera is called so"
        raise UsageError(f"--camera {name}: {reason}; give one of {', '.join(XYZ_TO_CAMERA)}")
    matrix = np.array(XYZ_TO_CAMERA[found[0]]).reshape(3, 3) / 10000
    white = (matrix @ SRGB_TO_XYZ).sum(1)
    return found[0], Color(white[1] / white, matrix)
