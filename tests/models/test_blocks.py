import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from lowdose.models.atrous import atrous
from lowdose.models.blocks import RENORM_FROM, RENORM_FULLY, BatchRenorm2d, fold_norms


def experienced(channels=3):
    """A norm that has seen many batches, with weights and moments of its own."""
    norm = BatchRenorm2d(channels)
    rng = torch.Generator().manual_seed(0)
    for tensor, low in ((norm.weight.data, 0.5), (norm.bias.data, -0.5), (norm.running_var, 0.5)):
        tensor.copy_(low + torch.rand(channels, generator=rng))
    norm.running_mean.copy_(torch.rand(channels, generator=rng))
    norm.num_batches_tracked.fill_(10 * RENORM_FULLY)
    return norm


def batch(channels=3):
    return torch.randn(2, channels, 8, 9, generator=torch.Generator().manual_seed(1)) + 0.5


def test_a_trained_norm_gives_in_training_what_it_gives_in_inference():
    norm = experienced()
    expected = norm.eval()(batch())
    torch.testing.assert_close(norm.train()(batch()), expected)


def test_in_inference_it_is_batch_norm():
    norm, x = experienced().eval(), batch()
    moments = norm.running_mean, norm.running_var
    expected = functional.batch_norm(x, *moments, norm.weight, norm.bias, eps=1e-3)
    assert torch.equal(norm(x), expected)


def test_a_fresh_norm_is_plain_batch_norm():
    norm, plain, x = BatchRenorm2d(3), nn.BatchNorm2d(3, eps=1e-3), batch()
    torch.testing.assert_close(norm(x), plain(x))


def test_its_gradient_is_that_of_batch_norm_times_the_correction():
    norm, plain = experienced(), nn.BatchNorm2d(3, eps=1e-3)
    up = torch.randn(2, 3, 8, 9)
    gradients = []
    for layer in (norm, plain):
        x = batch().requires_grad_()
        (layer(x) * up).sum().backward()
        gradients.append(x.grad)
    x, fresh = batch(), experienced()
    deviation = (x.var(dim=(0, 2, 3), correction=0) + 1e-3).sqrt()
    scale = fresh.weight * deviation / (fresh.running_var + 1e-3).sqrt()
    torch.testing.assert_close(gradients[0], gradients[1] * scale.detach().view(-1, 1, 1))


def test_moments_of_the_first_batches_are_averaged_evenly():
    norm = BatchRenorm2d(2)
    batches = [torch.randn(1, 2, 4, 5) + shift for shift in range(5)]
    for x in batches:
        norm(x)
    means, variances = (
        torch.stack([moment(x) for x in batches]).mean(dim=0)
        for moment in (
            lambda x: x.mean(dim=(0, 2, 3)),
            lambda x: x.var(dim=(0, 2, 3), correction=0),
        )
    )
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-4)


def test_corrections_are_limited_where_a_batch_is_strange():
    norm = experienced()
    with torch.no_grad():
        found = norm(1000 * batch() + 5000)
    # A deviation of at most 3 and a mean of at most 5 moving deviations.
    middle = (found - norm.bias.view(-1, 1, 1)) / norm.weight.view(-1, 1, 1)
    torch.testing.assert_close(middle.std(dim=(0, 2, 3), correction=0), torch.full((3,), 3.0))
    torch.testing.assert_close(middle.mean(dim=(0, 2, 3)), torch.full((3,), 5.0))


def test_a_frozen_norm_never_looks_at_a_batch():
    norm = experienced()
    norm.is_frozen = True
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    assert torch.equal(norm.train()(batch()), norm.eval()(batch()))
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@pytest.mark.parametrize("form", ["released", "figure"])
def test_folding_norms_leaves_the_function_and_nearly_no_norm(form):
    torch.manual_seed(0)
    network = atrous(width=1 / 32, image_level=form)
    for _ in range(3):
        network(torch.rand(1, 1, 64, 64))
    x = torch.rand(1, 1, 64, 96)
    expected = network.eval()(x)
    assert expected.std() > 0.01
    fold_norms(network)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
    left = sum(isinstance(module, BatchRenorm2d) for module in network.modules())
    assert left == 4  # of the pyramid: the second of each rate, and that of the image level


def experienced_network():
    torch.manual_seed(0)
    network = atrous(width=1 / 32).double()
    for module in network.modules():
        if isinstance(module, BatchRenorm2d):
            module.num_batches_tracked.fill_((RENORM_FROM + RENORM_FULLY) // 2)
    return network


def gradients(network, share):
    """Gradients and moments after part of a batch of four; the same batch every time."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(2, 4, 1, 64, 64, generator=rng).double()
    noisy, clean = images[:, share]
    (network(noisy) - clean).square().mean().backward()
    bare = getattr(network, "module", network)
    weights = {name: weight.grad for name, weight in bare.named_parameters()}
    return weights | dict(bare.named_buffers())


def one_of_two(rank, folder):
    store = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    network = DistributedDataParallel(experienced_network())
    torch.save(gradients(network, slice(rank, None, 2)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_moments_and_gradients_as_one_with_the_whole_batch(tmp_path):
    expected = gradients(experienced_network(), slice(None))
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)
