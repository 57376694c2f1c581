"""How those who published SID's network named its tensors.

The names say which tensor is which and, where only one publisher used them, what the tensors mean:
the order of the last layer's channels, the packing, the norms' place. What is done with them is in
`sid`. Names that several publishers used for different things are listed once for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

BOOKKEEPING = (".num_batches_tracked", "/Adam", "/Adam_1", "beta1_power", "beta2_power")
"""Endings of what training keeps beside the weights, in torch and in TensorFlow."""

_FIRST_UP = 6
"""The level after the first up-convolution, counted from 1 as all publishers do."""


@dataclass(frozen=True)
class SidNaming:
    """How one publisher named the layers; `{}` is the level's number, 1 to 9.

    `norms`: the batch norms after the first and after the second convolution, None where there is
    none. `norm_last`: whether they follow the activation. `up_bias`: whether up-convolutions have
    a bias. `last_side`: of the last convolution. `depth_to_space`: whether its channels come in
    the order of TensorFlow's `depth_to_space`, else in that of PixelShuffle. `reading_order`:
    whether Bayer mosaics are packed R G G B, else SID's R, G, B, G.
    """

    first: str
    second: str
    up: str
    last: str
    norms: tuple[str | None, str | None] = (None, None)
    norm_last: bool = False
    tensorflow: bool = False
    up_bias: bool = True
    last_side: int = 1
    depth_to_space: bool = False
    reading_order: bool = False


TENSORFLOW = SidNaming(
    "g_conv{}_1",
    "g_conv{}_2",
    "Variable",
    "g_conv10",
    tensorflow=True,
    up_bias=False,
    depth_to_space=True,
)
"""The authors' own checkpoints. Source: SID's published code, train_Sony.py and train_Fuji.py."""

_LAVI = ("conv{}_1", "conv{}_2", "upv{}", "conv10_1")
"""Source: lavi135246/pytorch-Learning-to-See-in-the-Dark, model.py; REDI's repository too."""

_CYDONIA = ("conv{}_1", "conv{}_2", "up{}", "conv10")
"""Source: cydonia999/Learning_to_See_in_the_Dark_PyTorch, models/lsid.py, in all its versions."""

# The batch-norm reproduction and its version without batch norm.
_PAIRS = ("conv{}", "conv{}_2")
# A module of two convolutions, whose layers torch numbers.
_SEQUENCE = "conv{}.double_conv2d."

_PORTS = (
    _CYDONIA,
    (*_PAIRS, "up{}", "conv10"),
    (_SEQUENCE + "0", _SEQUENCE + "2", "up{}", "conv10"),
)

PLAIN = (
    TENSORFLOW,
    SidNaming(*_CYDONIA, up_bias=False, depth_to_space=True),
    *(SidNaming(*names) for names in (_LAVI, *_PORTS)),
    *(SidNaming(*names, up_bias=False) for names in (_LAVI, *_PORTS[1:])),
)
"""The published network and its reproductions, for Bayer and X-Trans alike.

cydonia999's port, whose up-convolutions have no bias, keeps the order of TensorFlow, for it runs
converted checkpoints of the authors too. Nobody is known to have published its names with biases.
"""

DEPTH_TO_SPACE = (SidNaming(*_CYDONIA, depth_to_space=True),)
"""cydonia999's names with biases, if the order is that port's: the tensors cannot tell."""

READING_ORDER = tuple(SidNaming(*_LAVI, up_bias=bias, reading_order=True) for bias in (True, False))
"""lavi's names as REDI's repository trains them: R G G B, the tensors cannot tell.

Source: MohitLamba94/Restoring-Extremely-Dark-Images-In-Real-Time, train_test_SID_CVPR_18.
"""


def _named(norm_last: bool) -> Iterator[SidNaming]:
    """List the dialects whose norms have names of their own, which do not tell their place.

    After each pair, bn1 belongs to the second convolution; after each convolution, to the first.
    """
    for side in (3, 1):
        for norms in ((None, "bn{}"), ("bn{}", "bn{}_1")):
            yield SidNaming(*_PAIRS, "up{}", "conv10", norms, norm_last, last_side=side)


def _numbered() -> Iterator[SidNaming]:
    """List the dialects whose norms are numbered: before or after the activation's own number."""
    places: tuple[tuple[int, int, int | None, int, bool], ...] = (
        (0, 2, None, 3, False),
        (0, 2, None, 4, True),
        (0, 3, 1, 4, False),
        (0, 3, 2, 5, True),
    )
    for side in (3, 1):
        for first, second, early, late, norm_last in places:
            norms = (None if early is None else f"{_SEQUENCE}{early}", f"{_SEQUENCE}{late}")
            convolutions = (f"{_SEQUENCE}{first}", f"{_SEQUENCE}{second}")
            yield SidNaming(*convolutions, "up{}", "conv10", norms, norm_last, last_side=side)


BATCH_NORMED = (
    *_named(norm_last=False),
    *_numbered(),
    *(SidNaming(*names, last_side=3) for names in _PORTS),
)
"""The batch-norm reproduction: single, double and, as its baseline, none, with a 3x3 at the end.

Named norms are read as convolution, norm, activation, as in the reproduction's code.
"""

NORM_LAST = tuple(_named(norm_last=True))
"""The same names for convolution, activation, norm: the tensors cannot tell them apart."""


def published_name(naming: SidNaming, ours: str) -> str:
    """Return the published name of one of our tensors, like `levels.0.first.weight`."""
    layer, _, kind = ours.rpartition(".")
    group, _, rest = layer.partition(".")
    number, _, part = rest.partition(".")
    kind = {"weight": "/weights", "bias": "/biases"}[kind] if naming.tensorflow else f".{kind}"
    if group == "last":
        return naming.last + kind
    if group == "ups" and naming.tensorflow:
        # They have no name of their own, so TensorFlow numbers them: Variable, Variable_1, ...
        return naming.up if number == "0" else f"{naming.up}_{number}"
    if group == "ups":
        return naming.up.format(_FIRST_UP + int(number)) + kind
    parts = {
        "first": naming.first,
        "second": naming.second,
        "first_norm": naming.norms[0] or "",
        "second_norm": naming.norms[1] or "",
    }
    return parts[part].format(int(number) + 1) + kind
