import pytest
import torch

from lowdose.models.catalog import parameter_count
from lowdose.models.counts import FADE_LEVEL, MOST_DEVIATIONS
from lowdose.models.unet import UNet

SMALL = ((4, 8), (1, 1))
CUTS = [((4,), (1,), 2), (*SMALL, 2), ((4, 8), (2, 1), 1), ((4, 4, 4), (1, 2, 1), 2)]


def with_weights(network, draw):
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(draw(weight, rng))
    return network


def random_weights(network):
    """Weights of either sign everywhere, also where a fresh network has zeros."""
    return with_weights(
        network, lambda w, rng: torch.randn(w.shape, generator=rng) / w[0].numel() ** 0.5
    )


def positive_weights(network):
    """Weights above zero: nothing cancels, no ReLU closes, no output is clipped."""
    return with_weights(network, lambda w, rng: torch.rand(w.shape, generator=rng) / w[0].numel())


def test_parameters_are_as_many_as_counted_by_hand():
    assert parameter_count(UNet()) == 1_958_040
    assert parameter_count(UNet((32, 64, 128, 192))) == 2_382_368
    # Head 9 x 5 x 4, two blocks of 18 x 4², one of 18 x 8², down and up 4 x 4 x 8, tail 9 x 4 x 4.
    assert parameter_count(UNet(*SMALL)) == 180 + 576 + 1152 + 256 + 144


def test_stride_and_reach_of_the_network_for_every_day():
    network = UNet()
    assert (network.stride, network.reach) == (16, 144)


@pytest.mark.parametrize(("widths", "depths", "unshuffle"), CUTS)
def test_noise_has_the_shape_of_the_image(widths, depths, unshuffle):
    network = random_weights(UNet(widths, depths, unshuffle))
    image = torch.rand(2, 1, 3 * network.stride, network.stride)
    noise = network(image, torch.tensor([0.1, 0.2]))
    assert noise.shape == image.shape
    assert noise.dtype == torch.float32


@pytest.mark.parametrize(("widths", "depths", "unshuffle"), [*CUTS, ((2,) * 4, (1, 1, 1, 2), 2)])
def test_reach_is_the_radius_of_what_a_pixel_depends_on(widths, depths, unshuffle):
    network = positive_weights(UNet(widths, depths, unshuffle))
    stride, reach = network.stride, network.reach
    middle = reach + stride
    image = torch.ones(1, 1, 2 * middle + stride, 2 * middle + stride, requires_grad=True)
    noise = network(image, torch.ones(1))[0, 0]
    found = 0
    # Where a pixel lies in its cell of the coarsest level decides how far it sees to which side.
    for y, x in ((middle, middle), (middle + stride - 1, middle + stride - 1)):
        (gradient,) = torch.autograd.grad(noise[y, x], image, retain_graph=True)
        rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
        found = max(found, *((rows - y).abs().max().item(), (columns - x).abs().max().item()))
    assert reach - 2 * stride < found <= reach


@pytest.mark.parametrize("level", [1e-9, 1e-3, 1.0])
def test_an_untrained_network_sees_no_noise(level):
    assert not UNet(*SMALL)(torch.randn(1, 1, 16, 16), torch.tensor([level])).any()


def test_what_is_taken_off_fades_with_the_noise_level():
    network = random_weights(UNet(*SMALL))
    image = torch.rand(1, 1, 32, 32) - 0.5
    taken = [  # in the scale of the image
        level * network(image, torch.tensor([level])).abs().max().item()
        for level in (1e-2, 1e-4, 1e-6)
    ]
    assert taken[1] < 1e-3
    assert taken[2] < 1e-6
    assert taken[0] > taken[1] > taken[2]


def test_twice_the_image_and_twice_the_level_are_the_same_noise():
    network = random_weights(UNet(*SMALL))
    image, level = torch.rand(1, 1, 32, 32) - 0.5, torch.tensor([4.0])  # far above the fading
    one, two = network(image, level), network(2 * image, 2 * level)
    assert one.abs().max() > 0.01
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_noise_is_never_more_than_six_deviations():
    network = with_weights(UNet(*SMALL), lambda w, rng: torch.full(w.shape, 10.0))
    noise = network(torch.ones(1, 1, 16, 16), torch.ones(1))
    assert noise.max() == MOST_DEVIATIONS


def test_images_of_a_batch_do_not_see_each_other():
    network = random_weights(UNet(*SMALL)).eval()
    images, levels = torch.rand(2, 1, 16, 16), torch.tensor([0.1, 0.5])
    together = network(images, levels)
    for index in range(2):
        alone = network(images[index : index + 1], levels[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone)


def test_one_batch_overfits():
    torch.manual_seed(0)
    network = UNet(*SMALL)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    noise, level = torch.randn(1, 1, 16, 16), torch.tensor([0.2])
    for _ in range(200):
        loss = (network(noise * level, level) - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


def test_every_weight_takes_part():
    network = random_weights(UNet((4, 4, 4), (1, 2, 1)))
    network(torch.randn(1, 1, 32, 32), torch.tensor([1.0])).square().sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in network.parameters())


def test_in_bf16_only_the_head_stays_in_float32():
    network = random_weights(UNet(*SMALL))
    image, level = torch.rand(1, 1, 32, 32) - 0.5, torch.tensor([0.1])
    exact = network(image, level)
    network.run_body_in(torch.bfloat16)
    kinds = {name: weight.dtype for name, weight in network.named_parameters()}
    full = {name for name, kind in kinds.items() if kind == torch.float32}
    assert full == {"head.weight"}
    rough = network(image, level)
    assert rough.dtype == torch.float32
    assert (rough - exact).square().mean().sqrt() < 0.02 * exact.square().mean().sqrt()


@pytest.mark.parametrize("shape", [(16, 15), (3, 16), (6, 8)])
def test_refuses_sides_that_are_no_multiple_of_the_stride(shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        UNet(*SMALL)(torch.zeros(1, 1, *shape), torch.ones(1))


@pytest.mark.parametrize(("widths", "depths"), [((), ()), ((4,), (1, 1)), ((4, 8), (1,))])
def test_refuses_widths_and_depths_that_do_not_pair(widths, depths):
    with pytest.raises(ValueError, match="widths and"):
        UNet(widths, depths)


def test_a_network_built_for_it_sees_the_correlation_and_still_scales_with_its_input():
    network = random_weights(UNet(*SMALL, correlated=True))
    image, level = torch.randn(1, 1, 16, 16), torch.tensor([0.5])
    told = torch.tensor([[0.5, 0.2]])
    one, two = network(image, level, told), network(2 * image, 2 * level, told)
    fade = (level / (level**2 + FADE_LEVEL**2), 2 * level / (4 * level**2 + FADE_LEVEL**2))
    torch.testing.assert_close(one / fade[0], two / fade[1] / 2, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(one, network(image, level))


def test_a_network_not_built_for_it_ignores_the_correlation():
    network = random_weights(UNet(*SMALL))
    image, level = torch.randn(1, 1, 16, 16), torch.tensor([0.5])
    assert torch.equal(network(image, level, torch.ones(1, 2)), network(image, level))


def spreading(**options):
    """A network that tells its errors, with weights that do something."""
    return random_weights(UNet(*SMALL, spread=3, **options))


def test_telling_errors_leaves_the_prediction_as_it_is():
    network = spreading()
    image, level = torch.rand(2, 1, 24, 16) - 0.5, torch.tensor([0.1, 0.02])
    noise, deviation = network.with_deviation(image, level)
    assert torch.equal(noise, network(image, level))
    assert deviation.shape == noise.shape
    assert (deviation > 0).all()


def test_what_is_learnt_of_errors_changes_nothing_of_the_prediction():
    network = spreading()
    _, deviation = network.with_deviation(torch.rand(1, 1, 16, 16), torch.tensor([0.1]))
    deviation.sum().backward()
    trained = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert trained == {name for name, _ in network.named_parameters() if name.startswith("spread.")}


def test_stated_errors_see_no_further_than_the_reach():
    network = positive_weights(UNet(*SMALL, spread=3))
    assert network.reach == 28  # 23 without, and 4 more, rounded up to the stride
    middle = network.reach + network.stride
    image = torch.rand(1, 1, 2 * middle, 2 * middle, requires_grad=True)
    seen = network._features(image, torch.ones(1), None)
    noise = network._noise(seen, torch.ones(1))
    network.spread(seen, noise, torch.ones(1, 1, 1, 1))[0, 0, middle, middle].backward()
    rows, columns = torch.nonzero(image.grad[0, 0], as_tuple=True)
    assert max((rows - middle).abs().max(), (columns - middle).abs().max()) <= network.reach


def test_a_network_without_that_layer_tells_no_errors():
    with pytest.raises(ValueError, match="without"):
        UNet(*SMALL).with_deviation(torch.rand(1, 1, 16, 16), torch.ones(1))
