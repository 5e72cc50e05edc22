import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from lowdose.data.crops import Cut, Pool

CPU = torch.device("cpu")


def images():
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) for shape in ((60, 70), (64, 50), (50, 50))]


def as_numpy_has_it(image, cut, side):
    window = image[cut.top : cut.top + cut.side, cut.left : cut.left + cut.side]
    window = window.T if cut.turn & 4 else window
    window = window[::-1] if cut.turn & 1 else window
    window = window[:, ::-1] if cut.turn & 2 else window
    return F.interpolate(
        torch.from_numpy(window.copy())[None, None], (side, side), mode="bilinear",
        antialias=True, align_corners=False,
    )[0]  # fmt: skip


def test_a_batch_of_crops_is_cut_turned_and_shrunk_as_one_by_one():
    sides, turns = (20, 24, 31, 40), range(8)
    cuts = [
        Cut(index % 10, index % 9, side, turn)
        for index, (side, turn) in enumerate(itertools.product(sides, turns))
    ]
    places = [index % 3 for index in range(len(cuts))]
    found = Pool(images(), CPU).cut(places, cuts, 20)
    assert found.shape == (32, 1, 20, 20)
    for crop, place, cut in zip(found, places, cuts, strict=True):
        torch.testing.assert_close(crop, as_numpy_has_it(images()[place], cut, 20))


@pytest.mark.parametrize("cut", [Cut(0, 0, 50), Cut(14, 0, 50, 7)])
def test_crops_reach_every_corner_of_an_image(cut):
    found = Pool(images(), CPU).cut([1], [cut], 50)[0]
    assert torch.equal(found, as_numpy_has_it(images()[1], cut, 50))


def test_the_turns_are_eight_different_ones():
    found = Pool(images(), CPU).cut([2] * 8, [Cut(0, 0, 50, turn) for turn in range(8)], 50)
    assert len({crop.numpy().tobytes() for crop in found}) == 8
