import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lowdose.errors import WeightsError
from lowdose.models.atrous import REACH, atrous
from lowdose.models.blocks import (
    BATCH_NORM_MOMENTUM,
    SameConv2d,
    SameConvTranspose2d,
    resize_bilinear,
    same_padding,
)
from lowdose.models.ede2018 import AXES, load_variables, variable_map

NARROW = 1 / 16
FORMS = ["released", "figure"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Layers this narrow lose seconds to a second thread on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def rows():
    """The index of the released checkpoint: name -> shape, in TensorFlow's order of axes."""
    path = Path(__file__).with_name("ede2018_checkpoint_variables.csv")
    with path.open(newline="") as file:
        return {
            row["name"]: tuple(map(int, row["shape"].split("x"))) for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return atrous()


def narrow(form="released", seed=0):
    torch.manual_seed(seed)
    return atrous(width=NARROW, image_level=form)


# The network is the released one.


def test_parameters_are_as_published(full):
    trainable = sum(parameter.numel() for parameter in full.parameters())
    moments = sum(buffer.numel() for buffer in full.buffers() if buffer.ndim)
    assert trainable == 25_413_620
    assert trainable + moments == 25_557_078


@pytest.mark.parametrize("form", FORMS)
def test_names_are_those_of_the_checkpoint(rows, form):
    with torch.device("meta"):
        assert variable_map(atrous(image_level=form)).keys() == rows.keys()
    assert len(rows) == 658


def test_every_parameter_has_one_variable(full):
    keys = [key for key, _ in variable_map(full).values()]
    learnt = [key for key in full.state_dict() if not key.endswith("num_batches_tracked")]
    assert sorted(keys) == sorted(learnt)


def test_shapes_are_those_of_the_checkpoint(full, rows):
    state = full.state_dict()
    for name, (key, transform) in variable_map(full).items():
        transposed = tuple(rows[name][axis] for axis in AXES[transform])
        assert transposed == tuple(state[key].shape), name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("nn/Conv/weights", "entry.0.shortcut.0.weight"),
        ("nn/BatchNorm_2/gamma", "entry.0.main.5.norm.weight"),  # main way first, then shortcut
        ("nn/BatchNorm_3/gamma", "entry.0.shortcut.1.norm.weight"),
        ("nn/BatchNorm_53/beta", "pyramid.branches.1.1.norm.bias"),  # rate 6 and its second norm
        ("nn/BatchNorm_54/beta", "pyramid.branches.1.2.norm.bias"),
        ("nn/SeparableConv2d_50/BatchNorm/beta", "pyramid.branches.3.0.norm.bias"),
        ("nn/BatchNorm_59/moving_mean", "pyramid.branches.4.1.norm.running_mean"),
        ("nn/Conv2d_transpose_1/weights", "decoder.1.1.weight"),
        ("nn/Conv_9/biases", "output.0.bias"),
    ],
)
def test_layers_are_numbered_as_they_were_created(full, name, key):
    assert variable_map(full)[name][0] == key


def random_variables(model):
    rng = np.random.default_rng(0)
    state = model.state_dict()
    variables = {}
    for name, (key, transform) in variable_map(model).items():
        shape = [0] * state[key].ndim
        for size, axis in zip(state[key].shape, AXES[transform], strict=True):
            shape[axis] = size
        variables[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return variables


def test_loading_transposes():
    model = narrow()
    variables = random_variables(model)
    load_variables(model, variables)
    out, into = 5, 3
    pointwise = variables["nn/SeparableConv2d_8/pointwise_weights"]
    depthwise = variables["nn/SeparableConv2d_8/depthwise_weights"]
    transposed = variables["nn/Conv2d_transpose/weights"]
    main = model.entry[2].main
    assert main[4].pointwise.weight[out, into] == pointwise[0, 0, into, out]
    assert main[4].depthwise.weight[into, 0, 1, 2] == depthwise[1, 2, into, 0]
    assert model.decoder[0][1].weight[into, out, 1, 2] == transposed[1, 2, out, into]


def test_training_that_goes_on_from_a_checkpoint_believes_its_moments():
    model = narrow()
    load_variables(model, random_variables(model))
    norm = model.output[1].norm
    before, means = norm.running_mean.clone(), []
    norm.register_forward_hook(lambda layer, given, made: means.append(given[0].mean((0, 2, 3))))
    model.train()(torch.rand(1, 1, 64, 64))
    expected = before + BATCH_NORM_MOMENTUM * (means[0] - before)
    assert not torch.equal(means[0], before)
    torch.testing.assert_close(norm.running_mean, expected)


def test_loading_refuses_what_is_missing_left_over_or_misshapen():
    model = narrow()
    variables = random_variables(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    name = "nn/Conv_9/biases"
    rest = {key: values for key, values in variables.items() if key != name}
    for wrong in (rest, variables | {"global_step": np.zeros(())}):
        with pytest.raises(WeightsError, match="1 variables are missing or unknown"):
            load_variables(model, wrong)
    with pytest.raises(WeightsError, match=r"nn/Conv_9/biases has shape \(2,\); expected \(1,\)"):
        load_variables(model, rest | {name: np.zeros(2, np.float32)})
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


# The layers do TensorFlow's arithmetic.


@pytest.mark.parametrize(
    ("size", "options", "padding"),
    [
        (4, {"kernel": 3}, (1, 1)),
        (4, {"kernel": 3, "stride": 2}, (0, 1)),
        (5, {"kernel": 3, "stride": 2}, (1, 1)),
        (32, {"kernel": 3, "dilation": 18}, (18, 18)),
        (32, {"kernel": 1, "stride": 2}, (0, 0)),
        (5, {"kernel": 4}, (1, 2)),
    ],
)
def test_same_padding_by_hand(size, options, padding):
    assert same_padding(size, **options) == padding


def test_same_convolution_of_stride_two_by_hand():
    # Sums of three pixels of 1 2 3 4 at stride 2, padded behind: 1+2+3 and 3+4+0.
    layer = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0, 0] = 1  # the kernel's first row: no step along y
    x = torch.tensor([1.0, 2, 3, 4]).expand(1, 1, 4, 4)
    assert layer(x).tolist() == [[[[6, 7], [6, 7]]]]


@pytest.mark.parametrize("dilation", [1, 6])
@pytest.mark.parametrize("size", [12, 13])
def test_same_convolution_agrees_with_explicit_padding(size, dilation):
    torch.manual_seed(0)
    layer = SameConv2d(2, 3, 3, dilation=dilation)
    x = torch.randn(1, 2, size, size)
    padded = functional.pad(x, (dilation,) * 4)
    expected = functional.conv2d(padded, layer.weight, layer.bias, dilation=dilation)
    torch.testing.assert_close(layer(x), expected)


def test_strided_pointwise_convolution_keeps_even_pixels():
    layer = SameConv2d(1, 2, 1, stride=2)
    x = torch.randn(1, 1, 6, 8)
    expected = functional.conv2d(x, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)


def test_bilinear_resize_by_hand():
    x = torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None]
    row = torch.tensor([0.0, 1, 2, 3, 4, 4, 4, 4])
    expected = torch.stack([row + y for y in (0, 2, 4, 6, 8, 8, 8, 8)])
    torch.testing.assert_close(resize_bilinear(x, 4)[0, 0], expected)


def test_bilinear_resize_keeps_every_input_pixel():
    x = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(resize_bilinear(x, 4)[..., ::4, ::4], x)


def test_transposed_convolution_by_hand():
    # Input 1 10 with kernel 1 2 3 at stride 2: 1 2 3+10 20 30, of which the first four stay.
    layer = SameConvTranspose2d(1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.weight.data[0, 0, 0] = torch.tensor([1.0, 2, 3])
    output = layer(torch.tensor([[[[1.0, 10.0]]]]))
    assert output.tolist() == [[[[1, 2, 13, 20], [0, 0, 0, 0]]]]


def test_transposed_convolution_is_the_transpose_of_the_strided_one():
    torch.manual_seed(0)
    up, down = SameConvTranspose2d(2, 3), SameConv2d(3, 2, 3, stride=2, bias=False)
    nn.init.zeros_(up.bias)
    down.weight.data = up.weight.data
    small, large = torch.randn(1, 2, 4, 6), torch.randn(1, 3, 8, 12)
    torch.testing.assert_close((up(small) * large).sum(), (small * down(large)).sum())


# The network as a whole.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_output_has_the_shape_of_the_input(form, size):
    output = narrow(form).eval()(torch.rand(2, 1, *size))
    assert output.shape == (2, 1, *size)
    assert output.min() >= 0
    assert output.max() <= 6


@pytest.mark.parametrize(("form", "size"), [("released", (40, 64)), ("figure", (64, 48))])
def test_other_sizes_are_refused_with_a_sentence(form, size):
    model = narrow(form)
    sentence = f"image is {size[0]} x {size[1]} px; .* multiples of {model.stride} px"
    with pytest.raises(ValueError, match=sentence):
        model(torch.rand(1, 1, *size))


def test_builder_refuses_what_it_cannot_build():
    with pytest.raises(ValueError, match="width is 0"):
        atrous(width=0)
    with pytest.raises(ValueError, match="'pooled'; choose one of released, figure"):
        atrous(image_level="pooled")


def test_both_forms_hold_the_same_variables_and_differ():
    released, figure = narrow("released").eval(), narrow("figure").eval()
    figure.load_state_dict(released.state_dict())
    features = torch.rand(1, 46, 4, 4)  # 46 = 728 / 16, rounded
    assert not torch.allclose(released.pyramid(features), figure.pyramid(features))
    alike = features[..., :1, :1].expand_as(features)  # nothing to pool in a constant
    torch.testing.assert_close(released.pyramid(alike), figure.pyramid(alike))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axis", [2, 3])
def test_reach_is_what_the_gradient_sees(form, axis):
    """With every weight 1 and no ReLU6 a gradient counts paths: no two of them cancel."""
    model = atrous(width=1 / 728, image_level=form).double().eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    for module in model.modules():
        if hasattr(module, "activation"):
            module.activation = nn.Identity()
    shape = [1, 1, 32, 32]
    shape[axis] = length = 2048
    x = torch.ones(shape, dtype=torch.double, requires_grad=True)
    reached = model(x)[0, 0].movedim(axis - 2, 0)
    before, after = [], []
    for centre in range(length // 2, length // 2 + model.stride):
        (gradient,) = torch.autograd.grad(reached[centre].sum(), x, retain_graph=True)
        support = gradient[0, 0].sum(dim=3 - axis).nonzero()
        before.append(centre - support[0].item())
        after.append(support[-1].item() - centre)
    assert (max(before), max(after)) == (927, REACH)


def test_shifting_by_the_stride_shifts_the_output():
    model = narrow().eval()
    x = torch.rand(1, 1, 16, 2048)
    shifted = torch.roll(x, 16, dims=3)
    inner = slice(REACH + 16, 2048 - REACH)
    torch.testing.assert_close(
        model(shifted)[..., inner], torch.roll(model(x), 16, dims=3)[..., inner]
    )


def test_one_batch_overfits_in_channels_last():
    model = narrow().to(memory_format=torch.channels_last)
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 1, 64, 64)
    clean = torch.cat((ramp, ramp / 2))
    noisy = clean + 0.1 * torch.randn(clean.shape)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(noisy), clean)
        loss.backward()
        optimizer.step()
    assert loss < 0.15 * clean.var()
