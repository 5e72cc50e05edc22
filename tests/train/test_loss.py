import pytest
import torch

from lowdose.data.pairs import Batch
from lowdose.models.unet import UNet
from lowdose.train.loss import (
    ede2018_loss,
    loss_of_image,
    loss_of_noise,
    loss_of_spread,
    noise_unit_loss,
)


def exposure(electrons, readout_std=0.0, shape=(3, 1, 128, 128)):
    clean = electrons * torch.linspace(0.2, 1.8, shape[-1]).expand(shape)
    rng = torch.Generator().manual_seed(0)
    noise = readout_std * torch.randn(shape, generator=rng)
    return torch.poisson(clean, generator=rng) + noise, clean


def test_a_perfect_estimate_scores_next_to_nothing_and_has_a_gradient():
    _, clean = exposure(30.0)
    estimate = clean.clone().requires_grad_()
    loss = noise_unit_loss(estimate, clean, torch.zeros(3))
    assert (loss < 0.02).all()
    loss.sum().backward()
    assert torch.isfinite(estimate.grad).all()


def test_half_the_error_scores_half():
    noisy, clean = exposure(30.0)
    whole, half = (noise_unit_loss(e, clean, torch.zeros(3)) for e in (noisy, (noisy + clean) / 2))
    torch.testing.assert_close(half, whole / 2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("readout_std", [0.0, 5.0])
@pytest.mark.parametrize("electrons", [1.0, 30.0, 1e5])
def test_an_image_left_alone_scores_about_one_at_any_dose(electrons, readout_std):
    noisy, clean = exposure(electrons, readout_std)
    loss = noise_unit_loss(noisy, clean, torch.full((3,), readout_std))
    assert loss.tolist() == pytest.approx([1] * 3, abs=0.1)


def test_by_hand():
    # Variances 1.01 and 3.01, their mean 2.01; errors 1 and 2, squared 1 and 4.
    clean, estimate = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    expected = (((1 + 4) / 2.01 + 1 / 1.211 + 4 / 3.211) / 4 + 1e-4) ** 0.5
    assert noise_unit_loss(estimate, clean, torch.zeros(1)).item() == pytest.approx(expected)


def test_there_is_one_number_per_image_that_others_do_not_change():
    noisy, clean = exposure(30.0)
    together = noise_unit_loss(noisy, clean, torch.zeros(3))
    alone = noise_unit_loss(noisy[1:2], clean[1:2], torch.zeros(1))
    assert together.shape == (3,)
    assert together[1].item() == pytest.approx(alone.item())


def test_black_pixels_neither_divide_by_zero_nor_take_over():
    clean = torch.full((1, 1, 64, 64), 30.0)
    clean[..., :8] = 0
    estimate = clean.clone()
    estimate[..., :8] = 1.0  # off by a fifth of the noise elsewhere, in an eighth of the image
    loss = noise_unit_loss(estimate, clean, torch.zeros(1))
    assert 0 < loss.item() < 0.2


def test_the_unit_of_the_electrons_matters_only_with_the_noise():
    noisy, clean = exposure(30.0, 4.0)
    one = noise_unit_loss(noisy, clean, torch.full((3,), 4.0))
    error = noisy - clean
    # Four times the electrons and twice the readout noise double the noise: so must the error.
    other = noise_unit_loss(4 * clean + 2 * error, 4 * clean, torch.full((3,), 8.0))
    # To the hundredth of an electron that the variance is kept above.
    torch.testing.assert_close(one, other, rtol=1e-3, atol=0)


def test_a_crop_of_vacuum_has_a_finite_loss_and_gradient():
    clean = torch.zeros(1, 1, 16, 16)
    estimate = torch.full_like(clean, 0.1, requires_grad=True)
    loss = noise_unit_loss(estimate, clean, torch.zeros(1))
    loss.sum().backward()
    assert 0 < loss.item() < 2
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("error", [1e-6, 9e-4, 1.1e-3, 0.5])
def test_the_papers_loss_is_a_thousand_times_the_error_or_its_root(error):
    expected = 1000 * error if error < 1e-3 else (1000 * error) ** 0.5
    assert ede2018_loss(torch.tensor([error])).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("error", [0.0, 1e-3, 0.5])
def test_the_papers_loss_has_a_finite_slope_everywhere(error):
    squared = torch.tensor([error], requires_grad=True)
    ede2018_loss(squared).sum().backward()
    assert torch.isfinite(squared.grad).all()


def test_an_image_network_that_knows_the_truth_at_the_noisy_mean_loses_nothing():
    clean = 40 * torch.rand(2, 1, 16, 16) + 1
    noisy = torch.poisson(clean)
    none = torch.zeros(2)
    low, high = noisy.amin(dim=(1, 2, 3), keepdim=True), noisy.amax(dim=(1, 2, 3), keepdim=True)
    scaled = (noisy - low) / (high - low)
    truth = (
        clean * scaled.mean(dim=(1, 2, 3), keepdim=True) / clean.mean(dim=(1, 2, 3), keepdim=True)
    )

    def network(seen):
        torch.testing.assert_close(seen, scaled)
        return truth

    batch = Batch(noisy, clean, none, torch.zeros(2, 2), none, none)
    assert loss_of_image(network, batch).max() < 1e-6
    worse = loss_of_image(lambda seen: truth + 0.1, batch)
    torch.testing.assert_close(worse, torch.full((2,), 10**0.5))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own parts
@pytest.mark.parametrize("loss", [loss_of_noise, loss_of_spread])
def test_the_compiler_can_follow_a_loss_in_one_piece(loss):
    electrons = torch.full((2, 1, 32, 32), 30.0)
    batch = Batch(
        noisy=electrons + 1,
        clean=electrons,
        readout_std=torch.zeros(2),
        shift=torch.zeros(2),
        widen=torch.ones(2),
        correlation=torch.zeros(2, 2),
    )
    network = UNet((8, 16), (1, 1), 2, correlated=True, spread=4)
    found = torch._dynamo.explain(loss)(network, batch)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
