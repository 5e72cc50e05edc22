"""Thinned exposures: two of them out of one, independent."""

import pytest
import torch

from lowdose.physics.noise import detect
from lowdose.physics.thinning import are_counts, hold_out, thin

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


@pytest.mark.parametrize("draw", [thin, hold_out])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_all_is_refused(draw, share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        draw(torch.ones(SHAPE), share, rng=torch.Generator())


def test_counts_are_held_out_one_by_one():
    _, recorded, rng = exposures(0.0)
    part, contrast = hold_out(recorded, 0.02, rng=rng)
    rest = recorded - part
    assert are_counts(part)
    assert are_counts(rest)
    assert rest.mean().item() == pytest.approx(0.02 * recorded.mean().item(), rel=0.02)
    torch.testing.assert_close(contrast.float(), recorded - rest / 0.02, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("electrons", "readout_std"), [(5.5, 0.5), (20.25, 4.0), (0.5, 0.0)])
def test_what_is_held_out_of_no_counts_has_three_moments_of_counts(electrons, readout_std):
    rng, share = torch.Generator().manual_seed(0), 0.02
    whole = torch.full(SHAPE, electrons)
    part, contrast = hold_out(whole, share, readout_std=readout_std, rng=rng)
    change = part.double() - (1 - share) * electrons
    second = share * (1 - share) * (electrons + readout_std**2)
    third = -share * (electrons + 2 * readout_std**2)
    assert change.mean().item() == pytest.approx(0, abs=4 * (second / whole.numel()) ** 0.5)
    assert change.square().mean().item() == pytest.approx(second, rel=0.03)
    assert (change**3).mean().item() == pytest.approx(third, rel=0.06)
    torch.testing.assert_close(contrast, change / share, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("electrons", [5.5, -1.0, -3.0])
def test_a_contrast_counts_a_variance_below_zero_as_such(electrons):
    rng = torch.Generator().manual_seed(0)
    part, contrast = hold_out(torch.full(SHAPE, electrons), 0.02, readout_std=1.0, rng=rng)
    product = contrast * (part.double() - 0.98 * electrons)
    assert product.mean().item() == pytest.approx(0.98 * (electrons + 1), rel=0.03, abs=1e-3)


def test_what_is_held_out_is_independent_of_the_part_to_third_order():
    rng = torch.Generator().manual_seed(0)
    recorded = detect(torch.full((1, 1, 1500, 1500), 5.0), readout_std=0.5, rng=rng)
    parts = {
        "held out": hold_out(recorded, 0.02, readout_std=0.5, rng=rng)[0],
        "normal": thin(recorded, 0.98, readout_std=0.5, rng=rng),
    }
    common = {}
    for name, part in parts.items():
        rest = (recorded - part).double()
        own = part.double() - part.double().mean()
        common[name] = (own**2 * (rest - rest.mean())).mean().item() / 5.25
    # Chance leaves 0.0004.
    assert abs(common["held out"]) < 0.003
    assert common["normal"] < -0.015


def test_halves_by_the_normal_law_depend_on_each_other_less_than_those_held_out():
    rng = torch.Generator().manual_seed(0)
    expected = torch.full((1, 1, 1000, 1000), 5.0)
    recorded = detect(expected, readout_std=0.5, rng=rng)
    halves = (
        thin(recorded, 0.5, readout_std=0.5, expected=expected, rng=rng),
        hold_out(recorded, 0.5, readout_std=0.5, rng=rng)[0],
    )
    normal, held_out = (
        abs(((half - half.mean()) ** 2 * ((recorded - half) - (recorded - half).mean())).mean())
        for half in halves
    )
    assert normal < 0.6 * held_out


def test_correlated_noise_is_held_out_with_its_correlation():
    rng = torch.Generator().manual_seed(0)
    _, contrast = hold_out(torch.full(SHAPE, 30.5), 0.02, correlation=(0.6, 0.0), rng=rng)
    noise = contrast[0, 0]
    power = noise.square().mean()
    assert power.item() == pytest.approx(0.98 * 30.5 / 0.02, rel=0.03)
    assert ((noise[1:] * noise[:-1]).mean() / power).item() == pytest.approx(0.6, abs=0.02)
    assert ((noise[:, 1:] * noise[:, :-1]).mean() / power).item() == pytest.approx(0, abs=0.02)
