"""All published networks that the parity table holds darkroom's own against."""

from darkroom.evaluation.published import Published, llpacknet, perceptilabs, redi, sid

PUBLISHED: tuple[Published, ...] = (
    *sid.PUBLISHED,
    *perceptilabs.PUBLISHED,
    *llpacknet.PUBLISHED,
    *redi.PUBLISHED,
)
