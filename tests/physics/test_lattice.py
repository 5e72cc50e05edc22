import math

import numpy as np
import pytest
import torch

from lowdose.physics import lattice as module
from lowdose.physics.correlation import correlated
from lowdose.physics.lattice import SIDES, is_periodic, lattice_waves, waves_like


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def wave(shape, period, amplitude=1.0, angle=0.3):
    y, x = torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")
    phase = 2 * math.pi / period * (math.sin(angle) * y + math.cos(angle) * x)
    return amplitude * torch.cos(phase)


def waves_of(image, side=128):
    found = np.full(image.shape, np.nan, np.float32)
    kept = lattice_waves(lambda rows: image[rows], found, side=side)
    return torch.from_numpy(found), kept


@pytest.mark.parametrize("shape", [(256, 256), (200, 331), (128, 129)])
@pytest.mark.parametrize("period", [2.5, 6.0, 12.0])
@pytest.mark.parametrize("side", SIDES)
def test_a_wave_is_found_in_noise_much_stronger_than_it(shape, period, side):
    lattice = wave(shape, period, amplitude=0.5)
    found, kept = waves_of(noise(shape) + lattice, side)
    assert (found - lattice).square().mean() < 0.15 * lattice.square().mean()
    assert 0 < kept < 0.01


def test_a_wave_without_noise_is_all_there_is_but_at_the_border():
    lattice = wave((256, 320), 5.0)
    found, _ = waves_of(lattice)
    inner = np.s_[64:-64, 64:-64]
    torch.testing.assert_close(found[inner], lattice[inner], rtol=0, atol=0.1)


def test_white_noise_holds_none_but_in_a_few_images_of_a_hundred():
    found = [bool(waves_of(noise((256, 256), seed))[0].any()) for seed in range(100)]
    assert sum(found) <= 7


@pytest.mark.parametrize("correlation", [(0.3, 0.3), (0.7, 0.1)])
def test_of_blurred_noise_next_to_nothing_is_taken_for_a_lattice(correlation):
    blurred = (correlated(noise((1, 1, 256, 256), seed), correlation)[0, 0] for seed in range(50))
    found = [waves_of(image) for image in blurred]
    assert sum(bool(waves.any()) for waves, _ in found) <= 10
    assert max(kept for _, kept in found) < 1e-4


def test_slow_contrast_edges_and_texture_are_no_lattice():
    y, x = torch.meshgrid(torch.arange(384), torch.arange(384), indexing="ij")
    disc = 20.0 * (torch.hypot(y - 190.0, x - 180.0) < 90)
    texture = 3 * correlated(noise((1, 1, 384, 384), 1), (0.8, 0.8))[0, 0]
    found, _ = waves_of(noise((384, 384)) + 0.02 * y + disc + texture + wave((384, 384), 60))
    assert not found.any()


def test_a_particle_keeps_its_lattice_to_itself():
    shape = (512, 512)
    inside = torch.zeros(shape)
    inside[160:352, 160:352] = 1
    found, _ = waves_of(noise(shape) + inside * wave(shape, 5.0))
    power = found.square()
    far = torch.ones(shape, dtype=torch.bool)
    far[96:416, 96:416] = False  # half a block around it
    assert power[inside > 0].mean() > 0.35  # of 0.5
    assert power[far].max() < 0.01
    beside = torch.ones(shape, dtype=torch.bool)
    beside[140:372, 140:372] = False  # twenty pixels around it
    assert power[beside].mean() < 0.0001


def test_the_rows_need_not_be_in_memory_together():
    image = noise((300, 200)) + wave((300, 200), 4.0)
    asked = []

    def rows(some):
        asked.append(some.stop - some.start)
        return image[some]

    waves = np.empty(image.shape, np.float32)
    lattice_waves(rows, waves, side=128)
    assert max(asked) == 128
    torch.testing.assert_close(torch.from_numpy(waves), waves_of(image)[0])


def test_the_larger_an_image_the_more_is_asked_of_a_peak():
    blocks = noise((4, 128, 128))
    blocks[2] += wave((128, 128), 6.0, amplitude=0.08)
    strength = [is_periodic(blocks, 4**n) for n in range(2, 24)]
    assert strength == sorted(strength, reverse=True)
    assert strength[0]
    assert not strength[-1]


def test_what_is_around_a_frequency_goes_on_beyond_the_ends_of_half_a_plane():
    plane = torch.fft.fft2(noise((2, 32, 32))).abs()
    reach = range(-module._AROUND, module._AROUND + 1)
    shifts = [(y, x) for y in reach for x in reach if max(abs(y), abs(x)) > module._OWN]
    means = sum(plane.roll(shift, (1, 2)) for shift in shifts) / len(shifts)
    torch.testing.assert_close(module._around(plane[..., :17]), means[..., :17])


def test_waves_like_an_estimate_are_the_image_where_that_stands_out_of_the_noise():
    true = wave((300, 340), 7, amplitude=2.0)
    waves = np.empty(true.shape, np.float32)
    noisy = true + noise(true.shape)
    kept = waves_like(true.__getitem__, noisy.__getitem__, waves, side=128)
    assert kept < 0.03
    inside = np.s_[32:-32, 32:-32]
    error = np.mean((waves - true.numpy())[inside] ** 2)
    assert error < 0.02  # of the noise's 1


def test_there_are_no_waves_like_a_flat_estimate():
    noisy = noise((200, 200))
    waves = np.ones(noisy.shape, np.float32)
    flat = torch.full(noisy.shape, 5.0)
    assert waves_like(flat.__getitem__, noisy.__getitem__, waves, side=128) < 1e-6
    assert np.abs(waves).max() < 1e-3
