"""The released network at its full width against TensorFlow, which runs in a Python of its own."""

import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from lowdose.cli import app
from lowdose.models.catalog import build
from lowdose.records import load_record
from tests.models.parity import differences, shares_within

PYTHON = os.environ.get("LOWDOSE_TENSORFLOW_PYTHON")
SCRIPT = Path(__file__).with_name("write_ede2018_checkpoint.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON,
        reason="LOWDOSE_TENSORFLOW_PYTHON is not set; make a Python for it by `python -m venv tf "
        "&& tf/bin/pip install tensorflow`, and set it to tf/bin/python",
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint of full width and what its layers give for 512 x 512 pixels."""
    folder = tmp_path_factory.mktemp("checkpoint")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([PYTHON, SCRIPT, folder], check=True, env=environment, timeout=1800)
    return folder


def test_activations_are_alive(written):
    assert min(shares_within(written).values()) > 0.8


@pytest.mark.parametrize("form", ["released", "figure"])
def test_every_layer_agrees_with_tensorflow(written, form, record_property):
    output = written / f"{form}.safetensors"
    words = ["convert-ede2018", str(written), "-o", str(output), "--image-level", form]
    assert CliRunner().invoke(app, words).exit_code == 0
    record = load_record(str(output))
    assert record.options == {"image_level": form}
    network = build(record.network, record.options)
    network.load_state_dict(load_file(output))
    found = differences(network.eval(), written, form)
    worst = max(found, key=found.__getitem__)
    print(f"{form}: {found[worst]:.2g} in {worst}, {found['output']:.2g} in the output")
    assert len(found) == 143
    assert found[worst] < 1e-4
