"""Thinned exposures: two of them out of one, independent."""

import pytest
import torch

from lowdose.physics.noise import detect
from lowdose.physics.thinning import are_counts, thin

SHAPE = 1, 1, 600, 600


def exposures(readout_std, seed=0):
    """Expected electrons, what was recorded of them, and a random source."""
    rng = torch.Generator().manual_seed(seed)
    expected = 5 + 40 * torch.rand(SHAPE, generator=rng)
    return expected, detect(expected, readout_std=readout_std, rng=rng), rng


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("readout_std", [0.0, 4.0])
def test_parts_are_exposures_of_their_share_and_independent(share, readout_std):
    expected, recorded, rng = exposures(readout_std)
    part = thin(recorded, share, readout_std=readout_std, expected=expected, rng=rng)
    noise = part - share * expected
    rest = (recorded - part) - (1 - share) * expected
    assert abs(noise.mean().item()) < 0.03
    assert noise.var().item() == pytest.approx(
        share * (expected.mean().item() + readout_std**2), rel=0.02
    )
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), rest.flatten()]))[0, 1].item()) < 0.01


def test_whole_numbers_stay_whole_and_never_exceed_what_was_recorded():
    _, recorded, rng = exposures(0.0)
    part = thin(recorded, 0.3, rng=rng)
    assert are_counts(part)
    assert are_counts(recorded - part)


def test_correlated_noise_stays_correlated():
    expected, _, rng = exposures(0.0)
    flat = torch.full_like(expected, 30.5)
    part = thin(flat, 0.5, correlation=(0.0, 0.6), rng=rng)
    noise = (part - 0.5 * flat)[0, 0]
    across = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    down = (noise[1:] * noise[:-1]).mean() / noise.square().mean()
    assert across.item() == pytest.approx(0.6, abs=0.02)
    assert down.item() == pytest.approx(0.0, abs=0.02)


def test_a_share_of_nothing_or_all_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        thin(torch.ones(SHAPE), 1.0, rng=torch.Generator())
