import pytest
import torch

from darkroom.model import load_model
from darkroom.nets import identify
from darkroom.nets.base import shapes_of
from darkroom.nets.safelight import SAFELIGHT, Safelight


def random_network(seed: int = 0) -> Safelight:
    torch.manual_seed(seed)
    return Safelight().eval().requires_grad_(False)


def test_checkpoint_round_trip() -> None:
    network = random_network()
    state = network.state_dict()
    architecture = identify(shapes_of(state))
    assert architecture is SAFELIGHT
    packed = torch.rand(1, 4, 16, 32)
    assert torch.equal(architecture.load(state)(packed), network(packed))


def test_widths_are_read_from_the_checkpoint() -> None:
    small = Safelight(widths=(8, 12, 16, 20)).eval()
    loaded = SAFELIGHT.load(small.state_dict())
    assert shapes_of(loaded.state_dict()) == shapes_of(small.state_dict())


@pytest.mark.parametrize("channels", [4, 9])
def test_picture_size(channels: int) -> None:
    network = Safelight(channels, widths=(8, 8, 8, 8)).eval()
    scale = 2 if channels == 4 else 3
    with torch.no_grad():
        picture = network(torch.rand(2, channels, 32, 16))
    assert picture.shape == (2, 3, 32 * scale, 16 * scale)


def test_values_beyond_white_do_not_matter() -> None:
    network = random_network()
    packed = torch.rand(1, 4, 16, 16)
    packed[:, :, 3, 4] = 2.0
    beyond = packed.clone()
    beyond[:, :, 3, 4] = 250.0
    assert torch.equal(network(packed), network(beyond))


def test_halo_covers_the_reach() -> None:
    """An impulse further than the halo changes nothing; float64, so that any reach would show."""
    network = random_network().double()
    size = 2 * SAFELIGHT.halo + 2 * SAFELIGHT.multiple
    packed = torch.rand(1, 4, size, SAFELIGHT.multiple, dtype=torch.float64)
    plain = network(packed)
    reach = 0
    for row in range(size // 2, size // 2 + SAFELIGHT.multiple, 5):
        struck = packed.clone()
        struck[:, :, row] += 0.5
        changed = (network(struck) - plain).abs().amax((0, 1, 3)).nonzero().flatten() // 2
        reach = max(reach, int(changed.max()) - row, row - int(changed.min()))
    assert SAFELIGHT.halo - SAFELIGHT.multiple < reach <= SAFELIGHT.halo


def test_no_level_of_the_bundled_weights_is_dead() -> None:
    """Once, rectifiers between the scales starved the coarse levels: they changed no picture."""
    network = load_model("safelight", "cpu", "fp32").network
    torch.manual_seed(1)
    packed = 0.1 + 0.1 * torch.rand(1, 4, 64, 64)
    whole = network(packed)
    for up in network.up:
        kept = up.weight.clone()
        up.weight.zero_()
        assert (network(packed) - whole).abs().mean() > 5e-5
        up.weight.copy_(kept)
