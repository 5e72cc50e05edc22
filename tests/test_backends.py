"""A backend changes how long a result takes, and the result by no more than promised."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from torch import nn

from lowdose import backends
from lowdose.backends import OpenVINONetwork, float32_kept, missing_packages, pick_backend
from lowdose.checkpoint import load_weights
from lowdose.data.simulate import simulate_truth
from lowdose.errors import ConfigError
from lowdose.infer import Denoiser
from lowdose.metrics import psnr
from lowdose.micrograph import Micrograph
from lowdose.models.catalog import CATALOG
from lowdose.physics.dose import NoiseModel
from lowdose.records import shipped

CPU = torch.device("cpu")
PAPERS = "atrous-narrow-ordinary"
COUNTS = NoiseModel(1.0)
needs_openvino = pytest.mark.skipif(
    bool(missing_packages()), reason="needs pip install lowdose[openvino]"
)


def set_installed(monkeypatch, *packages):
    def version(name):
        if name not in packages:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(backends, "version", version)


def test_auto_takes_openvino_where_it_is_faster_and_installed(monkeypatch):
    set_installed(monkeypatch, "openvino", "onnx")
    assert pick_backend("auto", CPU, "image") == "openvino"
    assert pick_backend("auto", CPU, "noise") == "torch"
    assert pick_backend("auto", torch.device("cuda"), "image") == "torch"
    set_installed(monkeypatch, "openvino")
    assert pick_backend("auto", CPU, "image") == "torch"


def test_a_backend_that_is_asked_for_is_taken_or_refused(monkeypatch):
    set_installed(monkeypatch, "openvino", "onnx")
    assert pick_backend("openvino", CPU, "noise") == "openvino"
    assert pick_backend("torch", CPU, "image") == "torch"
    with pytest.raises(ConfigError, match="--device cpu"):
        pick_backend("openvino", torch.device("cuda"), "image")
    with pytest.raises(ConfigError, match="no backend"):
        pick_backend("tensorrt", CPU, "image")
    set_installed(monkeypatch)
    with pytest.raises(ConfigError, match=r"openvino and onnx.*lowdose\[openvino\]"):
        pick_backend("openvino", CPU, "image")


@needs_openvino
@pytest.mark.parametrize("shape", [(1, 1, 64, 96), (2, 1, 16, 128)])
@pytest.mark.parametrize("name", shipped())
def test_openvino_computes_the_same_in_float32(name, shape):
    network, record = load_weights(name)
    network.run_body_in(torch.float32)
    predicts = CATALOG[record.network].predicts
    other = OpenVINONetwork(network, predicts, torch.float32)
    assert (other.stride, other.halo, other.window) == (
        network.stride, network.halo, network.window
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=rng)
    levels = torch.linspace(0.02, 0.2, shape[0])
    given = (image,) if predicts == "image" else (image - 0.5, levels)
    with torch.inference_mode():
        expected = network(*given)
        assert expected.std() > 0.01
        assert (other(*given) - expected).abs().max() < 1e-4  # of the noise's deviation


class Told(nn.Module):
    """A network that looks at the correlation of the noise, or does not."""

    stride, halo, window = 1, 0, None

    def __init__(self, correlated):
        super().__init__()
        self.correlated = correlated

    def forward(self, image, level, correlation=None):
        result = image * level.view(-1, 1, 1, 1)
        return result + correlation.sum(1).view(-1, 1, 1, 1) if self.correlated else result


@needs_openvino
@pytest.mark.parametrize(("correlated", "expected"), [(True, (2.75, 2)), (False, (2, 2))])
def test_only_a_network_that_looks_at_correlation_is_told_and_none_is_white(correlated, expected):
    network = OpenVINONetwork(Told(correlated), "noise", torch.float32)
    given = torch.ones(1, 1, 4, 4), torch.tensor([2.0])
    results = network(*given, torch.tensor([[0.5, 0.25]])), network(*given)
    assert tuple(result[0, 0, 0, 0].item() for result in results) == expected


@pytest.fixture(scope="module")
def denoisers():
    """The paper's network in float32, by torch and by OpenVINO."""
    options = {"device": "cpu", "precision": "float32"}
    return [Denoiser(PAPERS, backend=name, **options) for name in ("torch", "openvino")]


@needs_openvino
@pytest.mark.parametrize("shape", [(90, 130), (1, 7), (520, 40)])
def test_a_denoiser_gives_the_same_with_either_in_float32(shape, denoisers):
    image = Micrograph(np.random.default_rng(0).poisson(100, shape).astype("f4"))
    by_torch, by_openvino = denoisers
    expected = by_torch(image, noise=COUNTS).micrograph.pixels
    result = by_openvino(image, noise=COUNTS).micrograph.pixels
    assert by_openvino.backend == "openvino"
    np.testing.assert_allclose(result, expected, atol=1e-3)  # counts of deviation 10


@needs_openvino
@pytest.mark.parametrize("name", ["everyday", PAPERS])
def test_bf16_in_openvino_loses_no_more_than_two_hundredths_of_a_decibel_on_torch(name):
    rng = np.random.default_rng(0)
    truth = simulate_truth("particles", (256, 256), rng=rng).pixels
    truth = 200 * truth / truth.mean()
    image = Micrograph(rng.poisson(truth).astype("f4"))
    scores = {
        backend: psnr(
            Denoiser(name, device="cpu", precision="bf16", backend=backend)(image, noise=COUNTS)
            .micrograph.pixels,
            truth,
        )
        for backend in ("torch", "openvino")
    }  # fmt: skip
    assert scores["openvino"] > scores["torch"] - 0.02


@needs_openvino
def test_an_installation_that_does_not_load_ends_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"cannot be loaded.*--backend torch"):
        Denoiser(PAPERS, device="cpu", backend="openvino")


REPORTS = """
import sys
from lowdose.infer import Denoiser
Denoiser("everyday", device="cpu", backend="openvino")
print("openvino" in sys.modules, "openvino_telemetry" in sys.modules)
"""


@needs_openvino
def test_openvino_neither_reports_over_the_network_nor_leaves_an_identity_at_home(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", REPORTS],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert found.stdout == "True False\n"
    assert not list(tmp_path.iterdir())


def test_float32_is_kept_inside_and_the_choice_of_others_outside():
    before = torch.backends.cudnn.allow_tf32
    with float32_kept():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
