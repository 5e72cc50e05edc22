import pytest
import torch

from lowdose.physics.noise import detect, expose


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("dose", "readout_std"), [(0.5, 0.0), (40.0, 3.0), (1e5, 0.0)])
def test_variance_equals_dose_plus_readout(dose, readout_std):
    noisy = expose(torch.ones(512, 512), dose, readout_std=readout_std, rng=seeded())
    variance = dose + readout_std**2
    assert noisy.mean().item() == pytest.approx(dose, abs=5 * (variance / 512**2) ** 0.5)
    assert noisy.var().item() == pytest.approx(variance, rel=0.03)


def test_the_same_random_state_gives_the_same_image_and_another_another():
    clean = torch.rand(16, 16)
    first, again, other = (expose(clean, 20, readout_std=1, rng=seeded(n)) for n in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dose_alone_decides_the_count_whatever_the_unit_of_the_truth():
    # Powers of two: the scaling is then exact, and so is the draw.
    clean = torch.rand(32, 32)
    assert torch.equal(expose(clean, 8.0, rng=seeded()), expose(clean * 1024, 8.0, rng=seeded()))


def test_each_image_of_a_batch_gets_the_dose():
    clean = torch.ones(2, 1, 256, 256) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1)
    means = expose(clean, 30.0, rng=seeded()).mean(dim=(1, 2, 3))
    assert means.tolist() == pytest.approx([30, 30], abs=0.1)


def test_counts_are_whole_numbers_without_readout_noise_and_zero_where_nothing_arrives():
    electrons = torch.full((64, 64), 3.7)
    electrons[:32] = 0
    recorded = detect(electrons, rng=seeded())
    assert torch.equal(recorded, recorded.round())
    assert not recorded[:32].any()


def test_readout_noise_makes_dark_pixels_negative_rather_than_clipped():
    recorded = detect(torch.zeros(256, 256), readout_std=2.0, rng=seeded())
    assert recorded.mean().item() == pytest.approx(0, abs=0.05)
    assert recorded.std().item() == pytest.approx(2, rel=0.02)


def test_the_truth_is_not_written_to():
    clean = torch.rand(8, 8)
    before = clean.clone()
    expose(clean, 5.0, readout_std=1.0, rng=seeded())
    assert torch.equal(clean, before)


@pytest.mark.parametrize("dose", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_dose_that_is_no_number_of_electrons(dose):
    with pytest.raises(ValueError, match="dose is"):
        expose(torch.ones(4, 4), dose, rng=seeded())


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_refuses_a_truth_with_an_impossible_pixel(bad):
    clean = torch.ones(4, 4)
    clean[1, 2] = bad
    with pytest.raises(ValueError, match="clean holds"):
        expose(clean, 5.0, rng=seeded())


def test_refuses_a_batch_with_one_black_image():
    clean = torch.ones(2, 4, 4)
    clean[1] = 0
    with pytest.raises(ValueError, match="nothing but zeros"):
        expose(clean, 5.0, rng=seeded())
