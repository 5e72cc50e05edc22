import subprocess
import sys

import numpy as np
import pytest

from lowdose.checkpoint import load_weights
from lowdose.errors import WeightsError
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.models import catalog
from lowdose.physics.dose import NoiseModel
from lowdose.records import find, load_record, parameter_count, shipped


def test_a_path_finds_its_own_file_and_record(tiny_weights):
    path = tiny_weights("mine")
    assert find(str(path)) == path
    assert load_record(str(path)).name == "mine"


def test_parameters_are_counted_from_the_header_alone(tiny_weights):
    path = tiny_weights()
    network, _ = load_weights(str(path))
    assert parameter_count(path) == catalog.parameter_count(network)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{}"])
def test_a_file_of_another_kind_has_no_parameters_to_count(content, tmp_path):
    path = tmp_path / "not.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is no weights file"):
        parameter_count(path)


def test_reading_a_record_loads_no_torch(tiny_weights):
    code = f"""
import sys
from lowdose.records import load_record, parameter_count
load_record({str(tiny_weights())!r})
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Mean counts that weights are for, and what they must leave of the error at most; for most weights
# 60 and a quarter. Those for ordinary doses are the least trained: docs/paper.md.
CLAIMS = {"atrous-narrow-ordinary": (600, 0.5)}


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_are_whole_named_like_their_file_and_take_off_noise(name):
    counts, left = CLAIMS.get(name, (60, 0.25))
    clean = counts * (1 + np.sin(np.arange(128) / 9) * np.ones((128, 1)) / 1.5)
    noisy = Micrograph(np.random.default_rng(0).poisson(clean))
    denoiser = Denoiser(name, device="cpu")
    assert denoiser.record.name == name
    result = denoiser(noisy, noise=NoiseModel(1.0)).micrograph.pixels
    errors = [np.mean((pixels - clean) ** 2) for pixels in (result, noisy.pixels)]
    assert errors[0] < left * errors[1]
