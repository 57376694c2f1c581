"""Whether a photo's own values agree with the white level that its file states."""

from darkroom.raw.image import RawImage

STEP = 5
"""Every so many rows are looked at."""
TIMES, SHARE = 2.0, 1e-3
"""White is doubted where more than SHARE of the sites hold more than TIMES the light it stands for.

Cameras that keep values above the white they state end within a third of it, 16383 over 12800 say.
"""


def doubt_white(raw: RawImage) -> str | None:
    """Say that much of the picture is far above white, which is wrong then, or the picture is.

    `raw`: with the black that is used. None where it is not; sites that are missing do not count.
    """
    white, black = float(raw.white.max()), float(raw.black.min())
    limit = black + TIMES * (white - black)
    rows = raw.mosaic[::STEP]
    if rows.max() <= limit:
        return None
    above = rows > limit
    if raw.missing is not None:
        above &= ~raw.missing[::STEP]
    if above.mean() <= SHARE:
        return None
    return (
        f"{100 * above.mean():.2g} % of the picture hold more than {TIMES:g} times the white level "
        f"that the file states ({white:g}): the level or the picture is damaged; copy the file "
        "from the card again"
    )
