"""What an exported network computes is what it computes here, whatever runs it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lowdose.checkpoint import load_weights, save_weights
from lowdose.errors import MissingExtraError, OutputError
from lowdose.export import RESULTS, export_onnx, inputs_of, to_onnx
from lowdose.models.catalog import CATALOG, build
from lowdose.records import Record

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ATROUS = {"width": 1 / 16}


@pytest.fixture
def weights(tiny_weights, tmp_path):
    """Path of weights of a small network of a name."""

    def write(name):
        if name == "unet":
            return str(tiny_weights())
        torch.manual_seed(0)
        network = build("atrous", ATROUS)
        for _ in range(3):  # moments, so that something of the image arrives
            network(torch.rand(1, 1, 64, 64))
        path = tmp_path / "atrous.safetensors"
        save_weights(path, network.state_dict(), Record("atrous", "atrous", ATROUS))
        return str(path)

    return write


def session(source):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 1, 32, 96), (2, 1, 160, 16)])
@pytest.mark.parametrize("name", CATALOG)
def test_another_runtime_computes_the_same_at_sizes_that_were_not_traced(
    name, shape, weights, tmp_path
):
    source, path = weights(name), tmp_path / "out.onnx"
    facts = export_onnx(source, path)
    rng = torch.Generator().manual_seed(0)
    given = {
        "image": torch.rand(shape, generator=rng),
        "level": torch.linspace(0.02, 0.2, shape[0]),
    }
    given = {key: given[key] for key in facts["inputs"].split(", ")}
    network, _ = load_weights(source)
    with torch.inference_mode():
        expected = network(*given.values()).numpy()
    result = session(path).run(None, {key: value.numpy() for key, value in given.items()})[0]
    assert expected.std() > 1e-3
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_the_network_for_every_day_computes_the_same_in_another_runtime(tmp_path):
    export_onnx("everyday", tmp_path / "out.onnx")
    network, _ = load_weights("everyday")
    image = 0.1 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    told = torch.tensor([[0.5, 0.2]])
    with torch.inference_mode():
        expected = network(image, torch.tensor([0.1]), told).numpy()
    given = {"image": image.numpy(), "level": np.float32([0.1]), "correlation": told.numpy()}
    (result,) = session(tmp_path / "out.onnx").run(["noise"], given)
    assert np.abs(expected).mean() > 0.5
    np.testing.assert_allclose(result, expected, atol=1e-4)  # in deviations of the noise


def test_the_file_says_all_it_takes_to_run_it(weights, tmp_path):
    source, path = weights("unet"), tmp_path / "out.onnx"
    facts = export_onnx(source, path)
    network, record = load_weights(source)
    found = session(path).get_modelmeta()
    assert found.custom_metadata_map == facts
    assert found.producer_name == "lowdose"
    assert facts["model"] == record.label
    assert facts["predicts"] == "noise"
    assert (facts["stride"], facts["halo"]) == (str(network.stride), str(network.halo))
    assert facts["window"] == "any"


def test_weights_that_ship_state_their_licence_and_those_of_others_do_not(weights, tmp_path):
    path = tmp_path / "out.onnx"
    assert export_onnx("everyday", path)["licence"] == "BSD-3-Clause"
    assert export_onnx(weights("unet"), path)["licence"] == "as of the weights"


def test_names_and_free_axes_are_as_documented(weights, tmp_path):
    for name, inputs, output in (
        ("unet", ["image", "level"], "noise"),
        ("atrous", ["image"], "denoised"),
    ):
        export_onnx(weights(name), tmp_path / "out.onnx")
        runtime = session(tmp_path / "out.onnx")
        assert [port.name for port in runtime.get_inputs()] == inputs
        assert [port.name for port in runtime.get_outputs()] == [output]
        assert runtime.get_inputs()[0].shape == ["batch", 1, "height", "width"]


class Told(nn.Module):
    """A network that looks at the correlation of the noise."""

    correlated = True

    def forward(self, image, level, correlation):
        return image * level.view(-1, 1, 1, 1) + correlation.sum(1).view(-1, 1, 1, 1)


def test_a_network_that_is_told_of_correlation_gets_it_as_a_third_input():
    inputs = inputs_of(Told(), "noise")
    assert [port.name for port in inputs] == ["image", "level", "correlation"]
    runtime = session(to_onnx(Told(), inputs, RESULTS["noise"], side=4))
    assert runtime.get_inputs()[2].shape == ["batch", 2]
    image = np.ones((2, 1, 3, 5), "f4")
    given = {
        "image": image,
        "level": np.float32([2, 3]),
        "correlation": np.float32([[1, 2], [0, 0]]),
    }
    (result,) = runtime.run(None, given)
    assert result[:, 0, 0, 0].tolist() == [5, 3]


def test_without_the_package_it_is_said_which_extra_to_install(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"lowdose\[onnx\]"):
        export_onnx(weights("unet"), tmp_path / "out.onnx")


def test_an_output_that_cannot_be_written_leaves_nothing(weights, tmp_path):
    with pytest.raises(OutputError):
        export_onnx(weights("unet"), tmp_path / "nowhere" / "out.onnx")
    path = tmp_path / "taken.onnx"
    path.mkdir()
    with pytest.raises(OutputError):
        export_onnx(weights("unet"), path)
    assert not list(Path(tmp_path).glob(".*.part"))
