"""Each foreign convention against the operation that it stands for, in float64."""

import pytest
import torch
from torch.nn import functional
from torch.nn.utils import parametrizations

from darkroom.models.architectures import fold

# Sums of a few hundred float64 products of numbers near 1.
EXACT = {"rtol": 0, "atol": 1e-12}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_weight_norm_as_torch_does_it():
    layer = torch.nn.Conv2d(4, 6, 3, dtype=torch.float64)
    layer = parametrizations.weight_norm(layer)
    layer.parametrizations.weight.original0.data.mul_(1.7)
    state = fold.without_weight_norm({f"a.{k}": v for k, v in layer.state_dict().items()})
    torch.testing.assert_close(state["a.weight"], layer.weight.detach(), **EXACT)


def test_weight_norm_under_its_old_names():
    v, g = random(6, 4, 3, 3), random(6, 1, 1, 1, seed=1)
    state = fold.without_weight_norm({"a.0.weight_v": v, "a.0.weight_g": g, "a.0.bias": g})
    assert state.keys() == {"a.0.weight", "a.0.bias"}
    expected = torch.stack([g[i] * v[i] / torch.linalg.vector_norm(v[i]) for i in range(6)])
    torch.testing.assert_close(state["a.0.weight"], expected, **EXACT)


def test_half_a_weight_norm_is_left_alone():
    assert fold.plain_shapes({"a.weight_v": (1, 2)}) == {"a.weight_v": (1, 2)}
    assert fold.plain_shapes({"a.weight_v": (1, 2), "a.weight_g": (1, 1)}) == {"a.weight": (1, 2)}


def test_batch_norm_after_a_convolution():
    norm = torch.nn.BatchNorm2d(5, dtype=torch.float64).eval()
    norm.running_mean, norm.running_var = random(5), random(5, seed=1).abs() + 0.1
    norm.weight.data, norm.bias.data = random(5, seed=2), random(5, seed=3)
    weight, bias, x = random(5, 4, 3, 3), random(5, seed=4), random(1, 4, 6, 7, seed=5)
    scale, shift = fold.batch_norm({f"n.{k}": v for k, v in norm.state_dict().items()}, "n")
    folded = functional.conv2d(x, weight * scale.view(-1, 1, 1, 1), bias * scale + shift)
    expected = norm(functional.conv2d(x, weight, bias)).detach()
    torch.testing.assert_close(folded, expected, **EXACT)


def test_tensorflow_kernel_layouts():
    kernel = random(3, 2, 4, 5)  # height, width, in, out
    weight = fold.from_tensorflow(kernel)
    assert weight.shape == (5, 4, 3, 2)
    assert weight[4, 1, 2, 0] == kernel[2, 0, 1, 4]
    kernel = random(2, 2, 3, 6)  # height, width, out, in
    weight = fold.from_tensorflow(kernel)
    assert weight.shape == (6, 3, 2, 2)
    # A stride-2 transposed 2x2 kernel copies input channel i to output o at each of its sites.
    y = functional.conv_transpose2d(torch.ones(1, 6, 1, 1, dtype=torch.float64), weight, stride=2)
    torch.testing.assert_close(y[0], kernel.sum(3).permute(2, 0, 1), **EXACT)


@pytest.mark.parametrize(("channels", "factor"), [(3, 2), (3, 3), (1, 4)])
def test_depth_to_space_order(channels: int, factor: int):
    x = random(1, channels * factor**2, 4, 5)
    # TensorFlow: the input channel counts (row, column, channel), slowest first.
    literal = torch.empty(1, channels, 4 * factor, 5 * factor, dtype=torch.float64)
    for index in range(channels * factor**2):
        site, channel = divmod(index, channels)
        row, col = divmod(site, factor)
        literal[:, channel, row::factor, col::factor] = x[:, index]
    order = fold.depth_to_space_order(channels, factor)
    assert torch.equal(functional.pixel_shuffle(x[:, order], factor), literal)


def test_sids_packing_is_ours_with_two_channels_exchanged():
    mosaic = random(4, 6)
    ours = functional.pixel_unshuffle(mosaic[None, None], 2)
    sids = torch.stack([mosaic[::2, ::2], mosaic[::2, 1::2], mosaic[1::2, 1::2], mosaic[1::2, ::2]])
    assert torch.equal(ours[0, fold.SID_PACKING], sids)
    weight = random(2, 4, 3, 3)
    folded = weight[:, fold.SID_PACKING]
    expected = functional.conv2d(sids[None], weight, padding=1)
    torch.testing.assert_close(functional.conv2d(ours, folded, padding=1), expected, **EXACT)


@pytest.mark.parametrize(("size", "factor"), [(1, 2), (3, 2), (5, 2), (5, 3), (7, 2)])
def test_polyphase_equals_the_convolution(size: int, factor: int):
    weight, bias, x = random(3, 2, size, size), random(3), random(1, 2, 4 * factor, 3 * factor)
    expected = functional.conv2d(x, weight, bias, padding=size // 2)
    coarse = functional.pixel_unshuffle(x, factor)
    wide = fold.polyphase(weight, factor)
    result = functional.conv2d(
        coarse, wide, bias.repeat_interleave(factor**2), padding=wide.shape[-1] // 2
    )
    torch.testing.assert_close(functional.pixel_shuffle(result, factor), expected, **EXACT)
