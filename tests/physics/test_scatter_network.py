import numpy as np
import pytest

from lowdose.physics import scatter, scatter_network
from lowdose.physics.scatter_network import ENERGY, allow_for, allowed, clues, seems_white


def bins_of(image):
    """Statistics of the blocks of an image, and the variance at each intensity."""
    bins = scatter._bins([image], scatter._block_statistics)
    return bins, bins[ENERGY].mean(axis=1)


def counts(side=256, seed=0):
    ramp = np.tile(np.linspace(20, 200, side), (side, 1))
    return np.random.default_rng(seed).poisson(ramp).astype(float)


def test_every_clue_is_told_of_every_intensity():
    bins, unit = bins_of(counts())
    told = clues(bins, unit)
    assert told.shape == (32, 42)
    assert np.isfinite(told).all()


@pytest.mark.parametrize(("unit", "offset"), [(1e-6, 0), (255, 3), (1, 1e6), (-1, 0)])
def test_clues_do_not_depend_on_unit_and_black_of_the_pixels(unit, offset):
    one = clues(*bins_of(counts()))
    other = clues(*bins_of(unit * counts() + offset))
    if unit < 0:  # the brightest come first
        other = other[::-1]
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_an_image_of_many_blocks_is_shown_in_parts(monkeypatch):
    shown = []
    monkeypatch.setattr(
        scatter_network, "told", lambda given: shown.append(len(given)) or np.zeros((32, 3))
    )
    for side, parts in ((256, 1), (512, 1), (1024, 4), (2048, 8)):
        shown.clear()
        factor, correlation = allow_for(
            *bins_of(np.random.default_rng(0).normal(size=(side, side)))
        )
        assert len(shown) == parts
        assert (factor == 1).all()
        assert correlation == (0, 0)


@pytest.mark.parametrize(("down", "across"), [(0.03, 0.93), (0.95, 0.5)])
def test_where_neighbours_seem_all_but_equal_nothing_is_allowed_for(down, across):
    factor, correlation = allowed(np.tile([3.0, down, across], (32, 1)))
    assert (factor == 1).all()
    assert correlation == (0, 0)


def test_next_to_no_correlation_is_none():
    factor, correlation = allowed(np.tile([0.5, 0.04, 0.3], (32, 1)))
    assert factor == pytest.approx(np.exp(0.5))
    assert correlation == (0, pytest.approx(0.3))


@pytest.mark.parametrize("side", [224, 256, 512, 1024])
@pytest.mark.parametrize("seed", range(4))
def test_counts_seem_white_in_images_of_any_size(side, seed):
    assert seems_white(bins_of(counts(side, seed))[0])


def test_fine_texture_does_not_seem_white():
    texture = np.random.default_rng(1).normal(size=(513, 513))
    texture = (texture[1:] + texture[:-1])[:, :-1] + 0.5 * np.random.default_rng(2).normal(
        size=(512, 512)
    )
    assert not seems_white(bins_of(texture)[0])
