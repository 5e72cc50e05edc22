import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lowdose import frame
from lowdose.data.simulate import simulate_truth
from lowdose.frame import look_again, look_at
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.work import Work

COUNTS = NoiseModel(1.0)
CPU = torch.device("cpu")


def exposed(kind, dose, *, seed=103, side=384):
    truth = simulate_truth(kind, (side, side), rng=np.random.default_rng(seed)).pixels
    expected = truth.astype(np.float64) * (dose / truth.mean())
    return np.random.default_rng(0).poisson(expected).astype(np.float32), expected


class Blurs(nn.Module):
    """Takes what a mean over so many pixels takes off for noise."""

    def __init__(self, side):
        super().__init__()
        self.mean = nn.AvgPool2d(side, stride=1, padding=side // 2, count_include_pad=False)

    def forward(self, image, level, correlation):
        return (image - self.mean(image)) / level.view(-1, 1, 1, 1)


class FindsNothing(nn.Module):
    def forward(self, image, level, correlation):
        return torch.zeros_like(image)


class Exaggerates(nn.Module):
    """Finds so many times the noise that another network finds."""

    def __init__(self, network, factor):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, *told):
        return self.factor * self.network(*told)


@pytest.mark.parametrize(("shape", "count"), [((96, 97), 2), ((64, 700), 2), ((2100, 3000), 4)])
def test_windows_are_equal_squares_inside_the_image(shape, count):
    windows = frame._windows(shape, 64, count)
    assert len(windows) == count**2
    assert {w.stop - w.start for window in windows for w in window} == {64}
    places = [(w, length) for window in windows for w, length in zip(window, shape, strict=True)]
    assert all(w.start >= 0 and w.stop <= length for w, length in places)


def test_a_lattice_is_set_aside_where_that_leaves_less_error():
    noisy, _ = exposed("lattice", 10)
    found = look_at(noisy, COUNTS, Blurs(9), "noise", CPU)
    assert found.waves.any()
    assert 0 < found.kept < 0.02


def test_a_lattice_at_one_end_of_a_long_image_is_seen():
    lattice, _ = exposed("lattice", 10)
    vacuum = np.random.default_rng(1).poisson(10.0, (384, 1200)).astype(np.float32)
    noisy = np.concatenate([lattice, vacuum], axis=1)
    for image in (noisy, noisy.T):
        assert look_at(image, COUNTS, Blurs(9), "noise", CPU).waves is not None


def test_a_lattice_that_a_network_leaves_alone_is_shown_to_it():
    noisy, _ = exposed("lattice", 10)
    assert look_at(noisy, COUNTS, FindsNothing(), "noise", CPU).waves is None


@pytest.mark.parametrize("kind", ["membranes", "cryo", "fracture"])
def test_what_is_no_lattice_is_not_set_aside(kind):
    noisy, _ = exposed(kind, 20)
    assert look_at(noisy, COUNTS, Blurs(9), "noise", CPU).waves is None


def test_images_smaller_than_a_block_are_looked_at_as_they_are():
    noisy, _ = exposed("lattice", 10, side=120)
    assert look_at(noisy, COUNTS, Blurs(9), "noise", CPU).waves is None


def test_a_lattice_of_few_electrons_survives():
    noisy, expected = exposed("lattice", 5)
    denoised = Denoiser("fast", device="cpu")(Micrograph(noisy), noise=COUNTS).micrograph.pixels
    # 21.9 dB if shown to the network, 18.0 dB for the best mean over a square.
    assert psnr(denoised, expected, data_range=float(np.ptp(expected))) > 24


def test_tiles_of_a_lattice_join_without_seams():
    noisy, _ = exposed("lattice", 10, side=300)
    whole, tiled = (
        Denoiser("fast", device="cpu", precision="float32", tile=tile)(
            Micrograph(noisy), noise=COUNTS
        ).micrograph.pixels
        for tile in (None, 128)
    )
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-3)


def both_looks(noisy, denoiser):
    """What is found after one look and after two, and what part of the second is advised."""
    network = denoiser._network
    first = look_at(noisy, COUNTS, network, "noise", CPU)
    results = np.empty((2, *noisy.shape), np.float32)
    denoiser._denoise_tiles(noisy, results[0], None, first, Work())
    second = look_again(noisy, results[0], first, network, CPU)
    denoiser._denoise_tiles(noisy, results[1], None, second, Work())
    return *results.astype(np.float64), first.second


@pytest.mark.parametrize("kind", ["lattice", "crystal", "supported", "defects", "membranes"])
def test_a_second_look_has_nearly_the_part_that_the_truth_would_give_it(kind, monkeypatch):
    monkeypatch.setattr(frame, "is_periodic", lambda blocks, pixels: True)
    noisy, expected = exposed(kind, 20, side=512)
    once, twice, part = both_looks(noisy, Denoiser("fast", device="cpu"))
    apart = twice - once
    best = float(np.clip(np.mean((expected - once) * apart) / np.mean(apart**2), 0, 1))
    if part:
        assert part == pytest.approx(best, abs=0.25)
    else:  # not worth the time
        assert best < 0.5
    span = float(np.ptp(expected))
    gained = psnr(once + part * apart, expected, data_range=span) - psnr(
        once, expected, data_range=span
    )
    assert gained > (0.2 if kind == "lattice" else -0.01)


@pytest.mark.parametrize(("kind", "dose"), [("lattice", 20), ("lattice", 500), ("crystal", 500)])
def test_no_other_part_of_a_second_look_would_be_much_better(kind, dose):
    noisy, expected = exposed(kind, dose, side=512)
    once, twice, part = both_looks(noisy, Denoiser("fast", device="cpu"))
    of_parts = [psnr((1 - p) * once + p * twice, expected) for p in (part, *np.linspace(0, 1, 11))]
    assert of_parts[0] > max(of_parts) - 0.1
    assert of_parts[0] > of_parts[1] + 0.15  # than after one look


def test_a_second_look_is_weighed_on_all_of_an_oblong_image():
    sections = [exposed("membranes", 20, side=512, seed=seed) for seed in (101, 102)]
    (left, _), (right, _) = sections
    noisy = np.concatenate([left, exposed("lattice", 20, side=512)[0], right], axis=1)
    network = Denoiser("fast", device="cpu")._network
    assert look_at(noisy, COUNTS, network, "noise", CPU).second < 0.4  # 0.86 in the middle alone


def test_a_result_is_the_mean_of_both_looks_in_their_parts():
    noisy, _ = exposed("lattice", 20)
    denoiser = Denoiser("fast", device="cpu")
    once, twice, part = both_looks(noisy, denoiser)
    assert 0.25 < part < 1
    result = denoiser(Micrograph(noisy), noise=COUNTS).micrograph.pixels
    np.testing.assert_allclose(result, (1 - part) * once + part * twice, rtol=0, atol=1e-3)


def test_what_is_periodic_but_no_lattice_is_looked_at_twice_and_not_set_aside():
    noisy, _ = exposed("supported", 20, side=512)
    found = look_at(noisy, COUNTS, Denoiser("fast", device="cpu")._network, "noise", CPU)
    assert found.waves is None
    assert found.second > 0.5


def test_a_second_look_counts_as_work_to_be_done():
    noisy, _ = exposed("lattice", 20)
    told = []
    Denoiser("fast", device="cpu", tile=128)(
        Micrograph(np.stack([noisy, noisy])), noise=COUNTS, progress=lambda *now: told.append(now)
    )
    # Of each frame: waves in blocks of two sizes, the tiles, waves like the result, tiles again.
    assert told[-1] == (10 * noisy.size, 10 * noisy.size)
    assert all(done <= total for done, total in told)
    assert max(after - before for (before, _), (after, _) in pairwise(told)) < noisy.size / 2


def test_uncertainties_know_of_the_lattice_too():
    noisy, expected = exposed("lattice", 10)
    denoiser = Denoiser("fast", device="cpu")
    told = denoiser(Micrograph(noisy), noise=COUNTS, uncertainty=True)
    plain = denoiser(Micrograph(noisy), noise=COUNTS).micrograph.pixels
    np.testing.assert_allclose(told.micrograph.pixels, plain, rtol=0, atol=0.05)
    off = np.abs(told.micrograph.pixels - expected) / told.uncertainty.pixels
    assert np.mean(off < 3) > 0.95


def test_a_result_says_that_a_lattice_was_set_aside_unless_that_is_turned_off():
    noisy, _ = exposed("lattice", 10)
    denoiser = Denoiser("fast", device="cpu")
    told = denoiser(Micrograph(noisy), noise=COUNTS)
    assert told.lattice
    assert told.twice
    assert told.micrograph.history[-1].endswith(", lattice set aside, looked at twice")
    shown = Denoiser("fast", device="cpu", lattice=False)(Micrograph(noisy), noise=COUNTS)
    assert not shown.lattice
    assert not np.array_equal(shown.micrograph.pixels, told.micrograph.pixels)


@pytest.mark.parametrize("kind", ["membranes", "particles"])
def test_an_image_without_a_lattice_comes_out_as_if_none_were_looked_for(kind):
    noisy, _ = exposed(kind, 20, side=256)
    looked, not_looked = (
        Denoiser("fast", device="cpu", lattice=lattice)(Micrograph(noisy)).micrograph.pixels
        for lattice in (True, False)
    )
    assert np.array_equal(looked, not_looked)


def test_a_second_look_takes_no_more_for_noise_than_is_noise():
    noisy, _ = exposed("lattice", 20, side=512)
    network = Denoiser("fast", device="cpu")._network
    shares = [
        look_at(noisy, COUNTS, each, "noise", CPU).share_of_second
        for each in (network, Exaggerates(network, 1.5))
    ]
    assert shares[0] == pytest.approx(1, abs=0.02)
    assert shares[1] == pytest.approx(1 / 1.5, abs=0.03)


def test_a_second_look_takes_off_its_own_share():
    noisy, _ = exposed("lattice", 20)
    network = Denoiser("fast", device="cpu")._network
    first = look_at(noisy, COUNTS, network, "noise", CPU)
    told = dataclasses.replace(first, share_of_second=0.4)
    assert look_again(noisy, noisy, told, network, CPU).share == 0.4
