import dataclasses

import numpy as np
import pytest
import torch

from lowdose.data.pairs import Augmentation, DoseLaw, PairSource
from lowdose.data.truths import Truth, TruthSet
from lowdose.errors import ConfigError

PLAIN = Augmentation(shrink=0, invert=0, curve=0, pedestal=0, readout=0, misjudged=0)
DOSE_100 = DoseLaw(low_share=0, ordinary_share=1, ordinary=(100.0, 100.0))


def truths(value_range=(0.0, 1.0), count=3, side=40):
    images = np.random.default_rng(0).uniform(*value_range, (count, side, side + 6)).astype("f4")
    return TruthSet(
        [Truth(i, float(i.min()), float(i.max()), str(n), str(n)) for n, i in enumerate(images)]
    )


def source(*, seed=1, dose=None, augmentation=None, patch=16):
    return PairSource(
        truths(), patch=patch, batch=8, seed=seed, dose=dose or DoseLaw(),
        augmentation=augmentation or Augmentation(),
    )  # fmt: skip


def tensors(batch):
    return vars(batch).values()


def test_the_same_seed_and_step_give_the_same_batch_whatever_was_drawn_before():
    fresh, used = source(), source()
    for step in (9, 2, 5):
        used.batch(step, range(8))
    for one, other in zip(
        tensors(fresh.batch(5, range(8))), tensors(used.batch(5, range(8))), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("world", [2, 4])
def test_shares_of_several_processes_are_the_whole_batch(world):
    whole = source().batch(7, range(8))
    for rank in range(world):
        share = source().batch(7, range(rank, 8, world))
        for one, all_of_it in zip(tensors(share), tensors(whole), strict=True):
            assert torch.equal(one, all_of_it[rank::world])


def test_truths_held_on_the_device_give_the_crops_that_truths_cut_before_do(monkeypatch):
    cut_before = source(augmentation=Augmentation(shrink=0.5)).batch(3, range(8))
    monkeypatch.setattr("lowdose.data.pairs._fits", lambda truths, device: True)
    held = source(augmentation=Augmentation(shrink=0.5))
    assert held._pool is not None
    for one, other in zip(tensors(cut_before), tensors(held.batch(3, range(8))), strict=True):
        torch.testing.assert_close(one, other)


def test_another_seed_step_or_sample_gives_another_image():
    images = [
        source(seed=seed).batch(step, range(sample, sample + 1)).noisy
        for seed, step, sample in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))
    ]
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_shapes_are_those_of_a_batch():
    batch = source().batch(0, range(3))
    assert batch.noisy.shape == batch.clean.shape == (3, 1, 16, 16)
    assert batch.readout_std.shape == batch.shift.shape == batch.widen.shape == (3,)
    assert {tensor.dtype for tensor in tensors(batch)} == {torch.float32}


def test_doses_follow_the_three_laws_in_their_shares():
    rng = np.random.default_rng(0)
    law = DoseLaw(low_share=0.5, ordinary_share=0.3, ordinary=(1e4, 1e5), wide=(1e6, 1e7))
    doses = np.array([law.draw(rng) for _ in range(20_000)])
    low, ordinary, wide = doses < 3000, (doses >= 1e4) & (doses < 1e5), doses >= 1e6
    assert (low | ordinary | wide).all()
    assert low.mean() == pytest.approx(0.5, abs=0.01)
    assert ordinary.mean() == pytest.approx(0.3, abs=0.01)
    assert doses[low].min() > 25
    assert doses[low].mean() == pytest.approx(100, rel=0.03)
    for part, (least, most) in ((ordinary, law.ordinary), (wide, law.wide)):
        assert np.log(doses[part]).mean() == pytest.approx(np.log(least * most) / 2, abs=0.03)


def test_the_noise_is_poisson_around_the_clean_image():
    batch = source(dose=DOSE_100, augmentation=PLAIN).batch(0, range(64))
    residual = (batch.noisy - batch.clean) / batch.clean.clamp_min(1).sqrt()
    bright = batch.clean > 10
    assert residual[bright].mean().item() == pytest.approx(0, abs=0.05)
    assert residual[bright].std().item() == pytest.approx(1, rel=0.03)
    assert torch.equal(batch.noisy, batch.noisy.round())
    assert not batch.readout_std.any()


def test_the_dose_is_that_of_the_brightest_pixel_of_the_whole_image():
    batch = source(dose=DOSE_100, augmentation=PLAIN, patch=40).batch(0, range(16))
    assert batch.clean.max().item() == pytest.approx(100, rel=1e-5)
    assert batch.clean.min().item() == pytest.approx(0, abs=1e-3)


def test_readout_noise_is_added_and_stated():
    always = Augmentation(shrink=0, invert=0, curve=0, pedestal=0, readout=1, misjudged=0)
    batch = source(dose=DOSE_100, augmentation=always).batch(0, range(200))
    stated = batch.readout_std
    assert 0.3 <= stated.min() < 0.5
    assert 7 < stated.max() <= 10
    variance = (batch.noisy - batch.clean).square().mean(dim=(1, 2, 3))
    expected = batch.clean.mean(dim=(1, 2, 3)) + stated**2
    assert (variance / expected).mean().item() == pytest.approx(1, abs=0.02)


def test_a_misjudged_gain_scales_counts_truth_and_readout_noise_alike():
    shares = {"shrink": 0, "invert": 0, "curve": 0, "pedestal": 0, "readout": 1}
    right, wrong = (
        source(augmentation=Augmentation(**shares, misjudged=share)).batch(0, range(150))
        for share in (0, 1)
    )
    # The draw of the gain comes last but one, so truth and dose are the same in both.
    gain = right.readout_std / wrong.readout_std
    torch.testing.assert_close(
        right.clean, wrong.clean * gain.view(-1, 1, 1, 1), rtol=1e-4, atol=1e-4
    )
    assert gain.log().std().item() == pytest.approx(0.1, rel=0.2)


def test_a_pedestal_lifts_the_darkest_pixel_up_to_nine_tenths():
    lifted = Augmentation(shrink=0, invert=0, curve=0, pedestal=1, readout=0, misjudged=0)
    batch = source(dose=DOSE_100, augmentation=lifted, patch=40).batch(0, range(100))
    darkest = batch.clean.amin(dim=(1, 2, 3)) / 100
    assert 0 <= darkest.min() < 0.1
    assert 0.8 < darkest.max() <= 0.95


def test_nothing_is_nan_and_no_truth_negative_over_two_hundred_samples():
    batch = source(patch=24).batch(3, range(200))
    assert all(torch.isfinite(tensor).all() for tensor in tensors(batch))
    assert batch.clean.min() >= 0
    assert (batch.widen >= 1).all()
    assert (batch.widen <= 2).all()
    assert (batch.shift.abs() <= 0.2).all()


def test_crops_come_from_everywhere_in_any_of_eight_orientations():
    place = np.arange(20.0 * 20).reshape(20, 20).astype("f4")
    only = TruthSet([Truth(place, 0.0, 399.0, "a", "a")])
    flat_dose = DoseLaw(low_share=0, ordinary_share=1, ordinary=(399.0, 399.0))
    drawn = PairSource(only, patch=16, batch=8, dose=flat_dose, augmentation=PLAIN, seed=0).batch(
        0, range(300)
    )
    corners = {
        tuple(crop[0, [0, 0, -1], [0, -1, 0]].round().int().tolist()) for crop in drawn.clean
    }
    steps = {(b - a, c - a) for a, b, c in corners}
    assert steps == {
        (sign * along, other * across)
        for along, across in ((15, 300), (300, 15))
        for sign in (1, -1)
        for other in (1, -1)
    }
    assert min(min(corner) for corner in corners) == 0
    assert max(max(corner) for corner in corners) == 399


def test_shrinking_keeps_the_mean():
    small = Augmentation(shrink=1, invert=0, curve=0, pedestal=0, readout=0, misjudged=0)
    batch = source(dose=DOSE_100, augmentation=small).batch(0, range(64))
    assert batch.clean.mean().item() == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"low_share": -0.1},
        {"low_share": 0.7, "ordinary_share": 0.7},
        {"wide": (0.0, 5.0)},
        {"ordinary": (9.0, 5.0)},
        {"low_share": float("nan")},
        {"wide": (1.0, float("inf"))},
    ],
)
def test_impossible_dose_laws_are_refused(settings):
    with pytest.raises(ConfigError, match="expected"):
        DoseLaw(**settings)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_impossible_shares_are_refused(share):
    with pytest.raises(ConfigError, match="augmentation curve"):
        Augmentation(curve=share)


CORRELATED = Augmentation(0, 0, 0, 0, readout=0, misjudged=0, correlated=1)


def flat(*, correlated=CORRELATED, readout=0.0, batch=64):
    image = np.ones((64, 64), "f4")
    still = dataclasses.replace(correlated, readout=readout)
    set_ = TruthSet([Truth(image, 0.0, 1.0, "flat", "flat")])
    drawn = PairSource(set_, patch=64, batch=batch, dose=DOSE_100, augmentation=still, seed=0)
    return drawn.batch(0, range(batch))


@pytest.mark.parametrize("readout", [0.0, 1.0])
def test_blurred_counts_still_have_the_variance_of_counts_and_readout(readout):
    batch = flat(readout=readout)
    noise = batch.noisy - batch.clean
    expected = batch.clean.mean(dim=(1, 2, 3)) + batch.readout_std**2
    ratio = noise.square().mean(dim=(1, 2, 3)) / expected
    assert ratio.mean().item() == pytest.approx(1, abs=0.02)
    assert (ratio - 1).abs().max() < 0.25


def test_the_network_is_told_about_the_correlation_there_is():
    batch = flat()
    noise = batch.noisy - batch.clean
    for axis, told in ((-2, batch.correlation[:, 0]), (-1, batch.correlation[:, 1])):
        one, other = noise.narrow(axis, 0, 63), noise.narrow(axis, 1, 63)
        found = (one * other).mean(dim=(1, 2, 3)) / noise.square().mean(dim=(1, 2, 3))
        assert found.max() > 0.6
        assert (found - told).abs().mean() < 0.06


def test_nothing_is_told_about_noise_that_is_never_correlated():
    assert not source().batch(0, range(8)).correlation.any()


def test_the_truth_is_blurred_like_the_image():
    law = DoseLaw(low_share=0, ordinary_share=1, ordinary=(1e7, 1e7))
    batch = source(dose=law, augmentation=CORRELATED).batch(0, range(8))
    assert (batch.noisy / batch.clean - 1).abs().max() < 0.02
