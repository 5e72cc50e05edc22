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
def tiny_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes weights of a tiny U-Net that changes images: random, with no zeros at its end.

    What it changes is no gain, but is not to be left out for that.
    """
    monkeypatch.setattr("lowdose.models.counts._LEAST_GAIN", -1e9)

    def write(name: str = "tiny", *, dtype: torch.dtype = torch.float32, spread: int = 0) -> Path:
        options = TINY | ({"spread": spread} if spread else {})
        network = build("unet", options)
        rng = torch.Generator().manual_seed(0)
        for weight in network.parameters():
            std = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1
            torch.nn.init.normal_(weight, std=std, generator=rng)
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, network.state_dict(), Record(name, "unet", options), dtype=dtype)
        return path

    return write
