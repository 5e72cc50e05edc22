"""Names and shapes of the variables in Ede's released TensorFlow checkpoint (step 178227).

TensorFlow numbers layers of one kind in the order of their creation, `BatchNorm`, `BatchNorm_1`
and so on, each kind for itself. `lowdose.models.atrous` registers its modules in that order, so
that a walk over them finds every name.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowdose.errors import WeightsError
from lowdose.models.blocks import NormReLU6, SameConv2d, SameConvTranspose2d, SeparableConv2d

Transform = Literal["vector", "convolution", "transposed", "depthwise"]

# TensorFlow's axes in torch's order.
AXES: dict[Transform, tuple[int, ...]] = {
    "vector": (0,),
    "convolution": (3, 2, 0, 1),  # (H, W, in, out) -> (out, in, H, W)
    "transposed": (3, 2, 0, 1),  # (H, W, out, in) -> (in, out, H, W)
    "depthwise": (2, 3, 0, 1),  # (H, W, channels, 1) -> (channels, 1, H, W)
}

# TensorFlow's leaf -> torch's leaf and its transform.
Leaves = dict[str, tuple[str, Transform]]


def _batch_norm(ours: str, theirs: str = "") -> Leaves:
    return {
        f"{theirs}beta": (f"{ours}.bias", "vector"),
        f"{theirs}gamma": (f"{ours}.weight", "vector"),
        f"{theirs}moving_mean": (f"{ours}.running_mean", "vector"),
        f"{theirs}moving_variance": (f"{ours}.running_var", "vector"),
    }


# Kind of layer -> TensorFlow's name of it and its leaves.
LAYERS: dict[type[nn.Module], tuple[str, Leaves]] = {
    NormReLU6: ("BatchNorm", _batch_norm("norm")),
    SameConv2d: ("Conv", {"weights": ("weight", "convolution"), "biases": ("bias", "vector")}),
    SameConvTranspose2d: (
        "Conv2d_transpose",
        {"weights": ("weight", "transposed"), "biases": ("bias", "vector")},
    ),
    SeparableConv2d: (
        "SeparableConv2d",
        {
            "depthwise_weights": ("depthwise.weight", "depthwise"),
            "pointwise_weights": ("pointwise.weight", "convolution"),
            **_batch_norm("norm", "BatchNorm/"),
        },
    ),
}


def variable_map(model: nn.Module) -> dict[str, tuple[str, Transform]]:
    """Return where each variable of the checkpoint belongs.

    Parameters
    ----------
    model : Module
        As from `lowdose.models.atrous.atrous`, at any width.

    Returns
    -------
    dict
        TensorFlow's name -> (key of `model.state_dict()`, key of `AXES`): 658 of them.
    """
    variables: dict[str, tuple[str, Transform]] = {}
    count: Counter[str] = Counter()
    for path, module in model.named_modules():
        if type(module) not in LAYERS or path.endswith(".depthwise"):  # a part of a separable one
            continue
        kind, leaves = LAYERS[type(module)]
        scope = f"nn/{kind}_{count[kind]}" if count[kind] else f"nn/{kind}"
        count[kind] += 1
        for theirs, (ours, transform) in leaves.items():
            variables[f"{scope}/{theirs}"] = (f"{path}.{ours}", transform)
    return variables


def load_variables(model: nn.Module, variables: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy a checkpoint's variables into a network, each of them exactly once.

    Parameters
    ----------
    model : Module
        As from `lowdose.models.atrous.atrous`; its parameters and moments are overwritten.
    variables : mapping
        TensorFlow's name -> array in TensorFlow's order of axes.

    Raises
    ------
    WeightsError
        If a variable is missing, left over, or of another shape; the network is then unchanged.
    """
    places = variable_map(model)
    if differing := sorted(places.keys() ^ variables.keys()):
        raise WeightsError(
            f"{len(differing)} variables are missing or unknown, first {differing[0]}: expected"
            f" {len(places)}, found {len(variables)}. Is it the checkpoint of this network?"
        )
    state = model.state_dict()
    for name, (key, transform) in places.items():
        state[key] = _transposed(name, variables[name], transform, state[key])
    model.load_state_dict(state)


def _transposed(
    name: str, values: NDArray[np.float32], transform: Transform, place: Tensor
) -> Tensor:
    """Return `values` in torch's order of axes, once their shape is known to fit `place`."""
    axes = AXES[transform]
    expected = tuple(place.shape[axes.index(axis)] for axis in range(len(axes)))
    if values.shape != expected:
        raise WeightsError(f"variable {name} has shape {values.shape}; expected {expected}.")
    return torch.from_numpy(np.ascontiguousarray(values.transpose(axes)))
