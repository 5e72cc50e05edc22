"""From a TensorFlow checkpoint to weights that can be used."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lowdose.models.catalog import build
from lowdose.models.tensor_bundle import TensorBundle
from lowdose.records import load_record
from tests.models.bundles import write_bundle

CHECKPOINT = Path(__file__).parents[1] / "models" / "ede2018_checkpoint"


def test_weights_are_those_of_the_checkpoint(call, tmp_path):
    output = tmp_path / "ede.safetensors"
    assert call("convert-ede2018", CHECKPOINT, "-o", output).exit_code == 0
    weights = load_file(output)
    bundle = TensorBundle(CHECKPOINT)
    expected = bundle.read("nn/Conv_1/weights").transpose(3, 2, 0, 1)
    assert np.array_equal(weights["entry.1.shortcut.0.weight"].numpy(), expected)
    floats = {key: value for key, value in weights.items() if value.is_floating_point()}
    assert len(floats) == 658
    assert {value.dtype for value in floats.values()} == {torch.float32}


@pytest.mark.parametrize("form", ["released", "figure"])
def test_record_says_what_to_build_and_where_it_is_from(call, tmp_path, form):
    output = tmp_path / "ede.safetensors"
    call("convert-ede2018", CHECKPOINT, "-o", output, "--image-level", form)
    record = load_record(str(output))
    assert (record.name, record.network, record.options["image_level"]) == ("ede", "atrous", form)
    assert record.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    network = build(record.network, record.options)
    network.load_state_dict(load_file(output))
    (source,) = record.sources
    assert (source["checkpoint"], source["step"]) == ("-1234", 1234)
    assert source["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in CHECKPOINT.glob("-1234.*")
    }


def test_summary_says_what_was_read_and_how_to_go_on(call, tmp_path):
    output = tmp_path / "my ede.safetensors"
    result = call("convert-ede2018", CHECKPOINT / "-1234.index", "-o", output)
    text = result.stdout
    for part in (
        "658 of 658 variables",
        "ignored 799 that only training needs: beta1_power, beta2_power, global_step, …",
        "step 1234",
        "38,803 parameters",
        json.loads(output.with_suffix(".json").read_text())["sha256"],
        f"lowdose denoise scan.mrc --model '{output}'",
    ):
        assert part in text
    assert result.stderr == ""


def test_output_goes_by_default_to_the_current_folder(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("convert-ede2018", CHECKPOINT).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ede2018.safetensors", "ede2018.json"}


@pytest.mark.parametrize("there", ["ede.safetensors", "ede.json"])
def test_outputs_are_replaced_only_on_request(call, tmp_path, there):
    (tmp_path / there).write_text("mine")
    words = ("convert-ede2018", CHECKPOINT, "-o", tmp_path / "ede.safetensors")
    result = call(*words)
    assert result.exit_code == 5
    assert "exists. Pass --overwrite" in result.stderr
    assert (tmp_path / there).read_text() == "mine"
    assert call(*words, "--overwrite").exit_code == 0


@pytest.mark.parametrize(("output", "code"), [("ede.pt", 2), ("no/ede.safetensors", 5), ("ede", 2)])
def test_outputs_are_checked_before_the_work(call, tmp_path, output, code):
    result = call("convert-ede2018", tmp_path / "missing", "-o", tmp_path / output)
    assert result.exit_code == code
    assert output in result.stderr


def test_a_damaged_checkpoint_ends_in_a_sentence_and_nothing_is_written(call, tmp_path):
    folder, output = tmp_path / "copy", tmp_path / "ede.safetensors"
    shutil.copytree(CHECKPOINT, folder)
    shard = folder / "-1234.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[TensorBundle(folder).entries["nn/Conv_3/weights"].offset + 5] ^= 1
    shard.write_bytes(content)
    result = call("convert-ede2018", folder, "-o", output)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"lowdose: {shard}: the checksum of nn/Conv_3/weights is wrong")
    assert list(tmp_path.iterdir()) == [folder]


def test_another_network_ends_in_a_sentence(call, tmp_path):
    write_bundle(tmp_path / "m", {"dense/kernel": np.ones((2, 2), np.float32)})
    result = call("convert-ede2018", tmp_path / "m", "-o", tmp_path / "m.safetensors")
    assert result.exit_code == 2
    assert f"{tmp_path / 'm'}: is no checkpoint of this network" in result.stderr
