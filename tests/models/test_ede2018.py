"""The network of a checkpoint, and what TensorFlow says that its layers give."""

from pathlib import Path

import numpy as np
import pytest

from lowdose.errors import InputError, WeightsError
from lowdose.models.atrous import atrous
from lowdose.models.ede2018 import fitting_width, read_checkpoint, variable_map
from lowdose.models.tensor_bundle import TensorBundle
from tests.models.bundles import write_bundle
from tests.models.parity import differences, layer_paths, shares_within

# Written by TensorFlow 2.21: tests/compat/write_ede2018_checkpoint.py has the command. The image is
# 32 x 320, so that at a sixteenth of its side all three rates of the pyramid still see something.
WRITTEN = Path(__file__).with_name("ede2018_checkpoint")
FORMS = ["released", "figure"]


@pytest.fixture(scope="module")
def variables():
    bundle = TensorBundle(WRITTEN)
    return {name: bundle.read(name) for name in bundle.entries if "Adam" not in name}


# It does what TensorFlow does.


def test_activations_of_the_comparison_are_alive():
    shares = shares_within(WRITTEN)
    assert len(shares) > 73
    assert min(shares.values()) > 0.8


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_agrees_with_tensorflow(form):
    network = read_checkpoint(WRITTEN, image_level=form).network
    found = differences(network, WRITTEN, form)
    assert found.keys() == {*layer_paths(network), "output"}
    assert len(found) == 143  # 57 separable, 10 plain, 2 transposed, 73 batch norms, the output
    assert max(found.values()) < 1e-4


def test_the_comparison_tells_the_forms_apart():
    network = read_checkpoint(WRITTEN, image_level="figure").network
    found = differences(network, WRITTEN, "released")
    assert {name for name, each in found.items() if each > 1e-2} >= {"BatchNorm_59", "output"}
    assert found["BatchNorm_58"] < 1e-4


# What else a checkpoint says.


def test_step_width_and_digests_are_found():
    found = read_checkpoint(WRITTEN)
    assert found.step == 1234
    assert found.prefix == WRITTEN / "-1234"
    assert found.digests.keys() == {"-1234.index", "-1234.data-00000-of-00001"}
    with_same = atrous(**found.options).state_dict()
    with_written = atrous(width=1 / 32).state_dict()
    assert {key: value.shape for key, value in with_same.items()} == {
        key: value.shape for key, value in with_written.items()
    }


def test_what_training_alone_needs_is_ignored():
    ignored = set(read_checkpoint(WRITTEN).ignored)
    assert {"global_step", "beta1_power", "nn/Conv/weights/Adam_1"} <= ignored
    slots = {name for name in ignored if "Adam" in name}
    assert len(slots) == 2 * (658 - 2 * 130)  # none for the moments of 130 batch norms
    assert len(ignored) == len(slots) + 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("train/nn/Conv/biases/ExponentialMovingAverage", np.ones(4, np.float32)),
        ("nn/BatchNorm/moving_mean/biased", np.ones(2, np.float32)),
        ("learning_rate", np.ones((), np.float32)),
        ("beta2_power_1", np.ones(())),
    ],
)
def test_other_bookkeeping_is_ignored(variables, tmp_path, name, values):
    path = write_bundle(tmp_path / "m", variables | {name: values})
    assert name in read_checkpoint(path).ignored


@pytest.mark.parametrize(
    "name", ["nn/BatchNorm_73/beta", "nn/Conv_99/biases/Adam", "critic/Conv/weights", "nn/step"]
)
def test_other_variables_are_refused(variables, tmp_path, name):
    shape = () if name == "nn/step" else (2,)
    path = write_bundle(tmp_path / "m", variables | {name: np.ones(shape, np.float32)})
    with pytest.raises(WeightsError, match=f"m: 1 variables are missing or unknown, first {name}"):
        read_checkpoint(path)


def test_step_is_not_needed(variables, tmp_path):
    known = variable_map(atrous(width=1 / 32))
    path = write_bundle(tmp_path / "m", {name: variables[name] for name in known})
    found = read_checkpoint(path)
    assert found.step is None
    assert found.ignored == ()


@pytest.mark.parametrize("step", [np.float32(np.nan), np.int32(3)])
def test_a_step_that_is_no_step_is_left_out(variables, tmp_path, step):
    path = write_bundle(tmp_path / "m", variables | {"global_step": np.array(step)})
    assert read_checkpoint(path).step is None


# What is no such network.


def test_missing_and_misshapen_variables_are_refused(variables, tmp_path):
    name = "nn/SeparableConv2d_9/pointwise_weights"
    rest = {key: values for key, values in variables.items() if key != name}
    with pytest.raises(WeightsError, match=f"first {name}"):
        read_checkpoint(write_bundle(tmp_path / "m", rest))
    turned = {name: variables[name].transpose(0, 1, 3, 2)}
    problem = rf"{name} has shape \(1, 1, 23, 8\); expected \(1, 1, 8, 23\)"
    with pytest.raises(WeightsError, match=problem):
        read_checkpoint(write_bundle(tmp_path / "m", rest | turned))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_diverged_weights_are_refused(variables, tmp_path, bad):
    name = "nn/Conv_9/biases"
    diverged = variables | {name: np.full(1, bad, np.float32)}
    with pytest.raises(WeightsError, match=f"{name} holds numbers that are not finite"):
        read_checkpoint(write_bundle(tmp_path / "m", diverged))


def test_weights_of_another_type_are_refused(variables, tmp_path):
    name = "nn/Conv_9/biases"
    with pytest.raises(WeightsError, match=f"{name} holds .* no float32"):
        read_checkpoint(write_bundle(tmp_path / "m", variables | {name: np.ones(1, np.int64)}))
    with pytest.raises(InputError, match=f"{name} is stored as TensorFlow's type 2"):
        read_checkpoint(write_bundle(tmp_path / "m", variables | {name: np.ones(1)}))


def test_partitioned_weights_are_refused_with_what_to_do(variables, tmp_path):
    name = "nn/Conv/weights"  # the parts have keys of their own that start with a zero byte
    path = write_bundle(
        tmp_path / "m",
        variables | {f"\0{name}\0\1": variables[name][..., :2], name: variables[name][:0]},
        lies={name: {2: [{1: length} for length in variables[name].shape], 7: {1: 1}}},
    )
    with pytest.raises(InputError, match=f"{name} is stored in slices; .* Load and save it"):
        read_checkpoint(path)


def test_another_checkpoint_is_refused(tmp_path):
    path = write_bundle(tmp_path / "m", {"dense/kernel": np.ones((3, 3), np.float32)})
    with pytest.raises(WeightsError, match="m: is no checkpoint of this network: has no nn/Batch"):
        read_checkpoint(path)


def channels(width):
    wide = {"nn/BatchNorm/beta": 64, "nn/Conv/biases": 128, "nn/Conv_2/biases": 256}
    wide["nn/Conv_3/biases"] = 728
    return {name: (max(1, round(width * each)),) for name, each in wide.items()}


@pytest.mark.parametrize("width", [*np.linspace(0.02, 3.9, 50), 1 / 16, 1 / 32, 0.1, 0.5, 2])
def test_any_width_is_recognised_by_its_channels(width):
    assert channels(fitting_width(channels(width))) == channels(width)


def test_full_width_is_one():
    assert fitting_width(channels(1)) == 1


@pytest.mark.parametrize("width", [4.1, 1e9])
def test_wider_networks_are_refused_unbuilt(width):
    with pytest.raises(WeightsError, match="times one factor below 4"):
        fitting_width(channels(width))


def test_channels_of_no_width_are_refused():
    with pytest.raises(WeightsError, match="64, 128, 256, 700 channels are not 64"):
        fitting_width(channels(1) | {"nn/Conv_3/biases": (700,)})
