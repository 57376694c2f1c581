"""Colours that a picture cannot show, and light above its white, brought in; hues stay.

First gamut: what lies outside the picture's colour space loses chroma towards the gray of its
luminance, as far as needed, along a straight line in linear light, so its dominant wavelength
stays. Of random colours of cameras outside sRGB half turn by less than 0.7 degrees of OKLab's hue,
nine of ten by less than 4; in OKLab itself the limit jumps, since its sRGB is hollow around blue,
and in square roots of light noise near 0 is amplified tenfold. Then light: the largest channel
follows the tone curve, the others keep their ratios to it.
"""

import torch
from torch import Tensor

from darkroom.color.tone_curve import Shoulder

Luminance = tuple[float, float, float]
"""Shares of R, G and B."""
LUMINANCE: Luminance = (0.2126, 0.7152, 0.0722)
"""Of linear sRGB. Source: ITU-R BT.709-6, item 3.2."""
INSIDE = 0.98
"""Share of the chroma that the space shows from which on it is compressed, that nothing clips.

At 0.95 colours inside the space, near its limit, lose so much that photos of known truth are 0.2 dB
worse where there is little noise; at 0.99 nothing more is gained."""
TINY = 1e-6


def bring_in_gamut(
    rgb: Tensor, shoulder: Shoulder | None, luminance: Luminance = LUMINANCE
) -> None:
    """Bring (3, n) linear RGB to 0 to 1 in place; light above white by a shoulder, or to white.

    Nothing changes where chroma is below INSIDE of what the space shows and light below the knee.
    Gray stays gray. Continuous in colour and light.
    """
    # Several times as fast as torch's reductions over three rows.
    low = torch.minimum(torch.minimum(rgb[0], rgb[1]), rgb[2])
    high = torch.maximum(torch.maximum(rgb[0], rgb[1]), rgb[2])
    # Gray's luminance is at most the largest channel, so these are all that can change, and more.
    places = (low < (1 - INSIDE) * high).nonzero().flatten()
    if len(places):
        chosen = _compressed(rgb.index_select(1, places), luminance)
        rgb.index_copy_(1, places, chosen)
        high.index_copy_(0, places, chosen.amax(0))
    knee = 1.0 if shoulder is None else shoulder.knee
    places = (high > knee).nonzero().flatten()
    if len(places):
        light = high.index_select(0, places)
        scale = (1.0 if shoulder is None else shoulder.curve(light)) / light
        rgb.index_copy_(1, places, rgb.index_select(1, places).mul_(scale))
    rgb.clamp_(0, 1)


def _compressed(rgb: Tensor, luminance: Luminance) -> Tensor:
    """Return (3, n) colours with less chroma where it is above INSIDE of what the space shows.

    The space here has no upper end, which is the tone curve's.
    """
    red, green, blue = luminance
    light = rgb.clamp(min=0)  # of which each colour has some; luminance may be negative
    gray = light[0] * red + light[1] * green + light[2] * blue
    chroma = rgb - gray
    share = chroma.amin(0).neg_().div_(gray.clamp(min=TINY))  # 1 where a channel is 0
    room = 1 - INSIDE
    shown = torch.expm1((INSIDE - share) / room).mul_(-room).add_(INSIDE)
    factor = torch.where(share > INSIDE, shown / share, 1.0)
    return torch.addcmul(gray, chroma, factor)
