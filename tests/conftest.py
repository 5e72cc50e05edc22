from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lowdose.checkpoint import Record, save_weights
from lowdose.models.catalog import build

# The smallest U-Net that has every kind of layer.
TINY = {"widths": [4, 8], "depths": [1, 1]}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: on a busy machine, threads of tiny networks wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Callable[..., Path]:
    """Writes weights of a tiny U-Net that changes images: random, with no zeros at its end."""

    def write(name: str = "tiny", *, dtype: torch.dtype = torch.float32) -> Path:
        network = build("unet", TINY)
        rng = torch.Generator().manual_seed(0)
        for weight in network.parameters():
            fan_in = weight[0].numel()
            torch.nn.init.normal_(weight, std=fan_in**-0.5, generator=rng)
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, network.state_dict(), Record(name, "unet", TINY), dtype=dtype)
        return path

    return write
