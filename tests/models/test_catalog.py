import pytest
import torch
from torch import nn

from lowdose.errors import ConfigError
from lowdose.models.catalog import CATALOG, build, denoise_whole, parameter_count

SMALL = {"unet": {"widths": [4, 8], "depths": [1, 1]}, "atrous": {"width": 0.03}}


def test_names_are_their_own_keys_and_every_record_is_filled_in():
    for name, record in CATALOG.items():
        assert record.name == name
        assert record.summary
        assert record.citation


@pytest.mark.parametrize("name", CATALOG)
def test_options_of_a_configuration_reach_the_builder(name):
    assert parameter_count(build(name, SMALL[name])) < 100_000


@pytest.mark.parametrize("name", CATALOG)
def test_the_same_seed_builds_the_same_weights(name):
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build(name, SMALL[name]).state_dict())
    assert all(torch.equal(value, networks[1][key]) for key, value in networks[0].items())


def test_refuses_an_unknown_name_and_lists_the_known():
    with pytest.raises(ConfigError, match="'unetr'; there are: unet, atrous"):
        build("unetr")


@pytest.mark.parametrize("options", [{"width": 3}, {"widths": [4], "depths": [1, 1]}])
def test_refuses_options_the_network_does_not_take(options):
    with pytest.raises(ConfigError, match="cannot be built with"):
        build("unet", options)


@pytest.mark.parametrize("name", CATALOG)
def test_every_network_denoises_counts_in_the_way_its_record_names(name):
    network = build(name, SMALL[name]).eval()
    noisy = torch.poisson(torch.full((2, 1, 32, 64), 20.0))
    estimate = denoise_whole(network, CATALOG[name].predicts, noisy, torch.zeros(2))
    assert estimate.shape == noisy.shape
    assert torch.isfinite(estimate).all()


def test_only_trainable_parameters_count():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert parameter_count(layer) == 6
