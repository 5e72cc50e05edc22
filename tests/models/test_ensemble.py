import torch
from torch import nn

from lowdose.models.ensemble import SelfEnsemble
from lowdose.models.unet import UNet


class Leaning(nn.Module):
    """Says the difference to the right neighbour, and the correlation along x."""

    stride, halo, window = 2, 2, None

    def forward(self, image, level, correlation):
        return image - image.roll(-1, -1) + correlation[:, 1].view(-1, 1, 1, 1) + level.mean()


def test_what_leans_to_one_side_is_averaged_over_all():
    image = torch.rand(1, 1, 6, 8)
    said = SelfEnsemble(Leaning())(image, torch.zeros(1), torch.zeros(1, 2))
    around = sum(image.roll(step, axis) for step in (1, -1) for axis in (-1, -2))
    torch.testing.assert_close(said, image - around / 4)


def test_the_correlation_turns_with_the_image():
    said = SelfEnsemble(Leaning())(
        torch.zeros(1, 1, 4, 4), torch.zeros(1), torch.tensor([[0.2, 0.6]])
    )
    torch.testing.assert_close(said, torch.full((1, 1, 4, 4), 0.4))


def test_a_turned_image_gives_the_turned_result_whatever_the_network():
    torch.manual_seed(0)
    network = UNet((4, 8), (1, 1), correlated=True)
    nn.init.normal_(network.tail.weight)
    ensemble, image, level = SelfEnsemble(network), torch.randn(1, 1, 16, 24), torch.ones(1)
    told = torch.tensor([[0.5, 0.1]])
    turned = ensemble(image.rot90(1, (-2, -1)), level, told.flip(1)).rot90(-1, (-2, -1))
    torch.testing.assert_close(ensemble(image, level, told), turned)
    assert not torch.allclose(network(image, level, told), turned)


def test_it_is_tiled_like_the_network():
    network = UNet((4, 8), (1, 1))
    ensemble = SelfEnsemble(network)
    assert (ensemble.stride, ensemble.halo, ensemble.window) == (4, network.halo, None)


def test_errors_are_averaged_as_the_noise_is():
    torch.manual_seed(0)
    network = UNet((4, 8), (1, 1), spread=3)
    nn.init.normal_(network.tail.weight)
    ensemble, image, level = SelfEnsemble(network), torch.randn(1, 1, 16, 24), torch.ones(1)
    noise, deviation = ensemble.with_deviation(image, level)
    torch.testing.assert_close(noise, ensemble(image, level))
    turned = ensemble.with_deviation(image.rot90(1, (-2, -1)), level)[1].rot90(-1, (-2, -1))
    torch.testing.assert_close(deviation, turned)
