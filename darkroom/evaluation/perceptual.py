"""LPIPS, how different two pictures look to a network: an optional extra, with weights of others.

The package `lpips` holds its own small weights; those of AlexNet torchvision fetches once, from
download.pytorch.org into torch's cache (233 MB). Both are read as tensors alone, never unpickled.
"""

import os
from functools import cache
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from darkroom.errors import UsageError, WeightsError, printable

SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""With this in the environment torch.load takes no pickled code, whatever its caller asks for.

Source: PyTorch, torch/serialization.py. It is what torch 2.6 does anyway, and 2.5 does not.
"""


@cache
def load_lpips() -> nn.Module:
    """Return LPIPS by AlexNet, version 0.1, on the processor.

    Raises UsageError where the package is missing or broken, WeightsError where AlexNet cannot be
    fetched or read.
    """
    try:
        import lpips
    except ImportError as error:
        raise UsageError(
            f"--metrics lpips: not installed ({printable(str(error))[:100]}); "
            "pip install 'darkroom[lpips]'"
        ) from error
    except RuntimeError as error:  # how torchvision of another release, or for GPUs, fails
        raise UsageError(
            "--metrics lpips: torchvision does not fit this torch "
            f"({printable(str(error))[:100]}); install both anew, from one place"
        ) from error
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        network: nn.Module = lpips.LPIPS(net="alex", version="0.1", verbose=False)
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise WeightsError(
            f"--metrics lpips: AlexNet's weights cannot be had ({printable(str(error))[:100]}); go "
            "online once, or put them whole into torch's cache"
        ) from error
    finally:
        os.environ.pop(SAFE)
        if before is not None:
            os.environ[SAFE] = before
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def measure_lpips(picture: Tensor, reference: Tensor) -> float:
    """Return the LPIPS distance of (3, H, W) pictures in [0, 1]; 0 where they are equal."""
    return float(load_lpips()(picture[None].float(), reference[None].float(), normalize=True))
