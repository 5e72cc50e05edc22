import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from lowdose.models.shuffle import pixels_of_blocks


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blocks_become_pixels_as_torch_makes_them(side, layout):
    blocks = torch.randn(3, side**2, 5, 7).contiguous(memory_format=layout)
    assert torch.equal(pixels_of_blocks(blocks, side), F.pixel_shuffle(blocks, side))
