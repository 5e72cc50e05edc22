import pytest
import torch
from torch import nn

from lowdose.errors import InputError
from lowdose.models.counts import fit_scaling
from lowdose.physics.transform import stabilise
from lowdose.train.validate import ValidationSet


class Idle(nn.Module):
    """Finds no noise."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, image, level):
        return torch.zeros_like(image)


class Oracle(Idle):
    """Knows the truths, which come in their order."""

    def __init__(self, clean, dose):
        super().__init__()
        self.clean, self.dose, self.calls = clean, dose, 0

    def forward(self, image, level):
        clean = self.clean[self.calls % len(self.clean)] * self.dose
        self.calls += 1
        # What the network sees is centred and scaled; the centre cancels in the middle pixel.
        noisy = image.float() / level.view(-1, 1, 1, 1)
        truth = stabilise(clean[None])
        return (noisy - truth) - (noisy - truth).mean()


@pytest.fixture
def validation(tiny_run):
    return ValidationSet(tiny_run().data)


def test_leaving_images_alone_gains_nothing(validation):
    figures = validation.score(Idle())
    for dose in (50, 5000):
        # Only the unbiased inverse differs from the identity, and by little.
        assert figures[f"gain_db_{dose}"] == pytest.approx(0, abs=0.05)
        assert figures[f"worst_{dose}"] == pytest.approx(1, abs=0.02)


def test_errors_of_images_left_alone_are_those_of_poisson_noise(validation):
    figures = validation.score(Idle())
    mean = torch.stack(validation.clean).mean().item()
    for dose in (50, 5000):
        assert figures[f"mse_{dose}"] == pytest.approx(mean / dose, rel=0.1)


def test_an_image_of_which_nothing_arrives_is_left_out(validation):
    before = validation.score(Idle())
    validation.clean.append(torch.zeros_like(validation.clean[0]))
    assert validation.score(Idle()) == before
    validation.clean = [torch.zeros_like(validation.clean[0])]
    assert validation.score(Idle()) == {}


def test_taking_off_the_noise_gains_much(validation):
    dose = 50.0
    validation.doses = (dose,)
    figures = validation.score(Oracle(validation.clean, dose))
    assert figures["gain_db_50"] > 10
    assert figures["worst_50"] < 0.2


def test_the_same_noise_is_drawn_every_time(validation):
    first = validation.score(Idle())
    torch.manual_seed(123)
    assert validation.score(Idle()) == first


def test_middles_of_the_images_are_taken_scaled_by_the_whole_image(tiny_run):
    validation = ValidationSet(tiny_run(data={"validation_patch": 16}).data)
    assert [tuple(clean.shape) for clean in validation.clean] == [(1, 16, 16)] * 3
    whole = ValidationSet(tiny_run(data={"validation_patch": 40}).data)
    for small, large in zip(validation.clean, whole.clean, strict=True):
        assert torch.equal(small, large[:, 12:28, 12:28])


def test_without_images_there_are_no_figures(tiny_run):
    assert ValidationSet(tiny_run(data={"validation": []}).data).score(Idle()) == {}


def test_images_smaller_than_the_middle_are_refused(tiny_run):
    with pytest.raises(InputError, match="crops of 48 px are wanted"):
        ValidationSet(tiny_run(data={"validation_patch": 48}).data)


def test_the_scaling_is_that_of_the_noisy_image(validation):
    seen = []

    class Watching(Idle):
        def forward(self, image, level):
            seen.append(level.item())
            return torch.zeros_like(image)

    validation.doses = (50.0,)
    validation.score(Watching())
    for level, clean in zip(seen, validation.clean, strict=True):
        expected = fit_scaling(clean[None] * 50.0, torch.zeros(1)).level.item()
        assert level < expected  # noise widens the range
