"""The network in Ede's released TensorFlow checkpoint (step 178227): which variable goes where.

TensorFlow numbers layers of one kind in the order of their creation, `BatchNorm`, `BatchNorm_1`
and so on, each kind for itself. `lowdose.models.atrous` registers its modules in that order, so
that a walk over them finds every name.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lowdose.errors import WeightsError
from lowdose.models.atrous import Atrous, ImageLevel, atrous
from lowdose.models.blocks import (
    RENORM_FULLY,
    NormReLU6,
    SameConv2d,
    SameConvTranspose2d,
    SeparableConv2d,
)
from lowdose.models.tensor_bundle import TensorBundle

Transform = Literal["vector", "convolution", "transposed", "depthwise"]

# TensorFlow's axes in torch's order.
AXES: dict[Transform, tuple[int, ...]] = {
    "vector": (0,),
    "convolution": (3, 2, 0, 1),  # (H, W, in, out) -> (out, in, H, W)
    "transposed": (3, 2, 0, 1),  # (H, W, out, in) -> (in, out, H, W)
    "depthwise": (2, 3, 0, 1),  # (H, W, channels, 1) -> (channels, 1, H, W)
}

SCOPE = "nn/"  # of all variables of the network
STEP = "global_step"

# A variable for each width of the paper's figure, as long as that.
WIDTHS = {
    "nn/BatchNorm/beta": 64,
    "nn/Conv/biases": 128,
    "nn/Conv_2/biases": 256,
    "nn/Conv_3/biases": 728,
}
MAX_WIDTH = 4  # sixteen times the parameters

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
        scope = f"{SCOPE}{kind}_{count[kind]}" if count[kind] else f"{SCOPE}{kind}"
        count[kind] += 1
        for theirs, (ours, transform) in leaves.items():
            variables[f"{scope}/{theirs}"] = (f"{path}.{ours}", transform)
    return variables


def check_variables(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse variables that are not those of a network, by their names and shapes alone.

    Parameters
    ----------
    model : Module
        As from `lowdose.models.atrous.atrous`; may lie on torch's meta device.
    shapes : mapping
        TensorFlow's name -> shape in TensorFlow's order of axes.

    Raises
    ------
    WeightsError
        If a variable is missing, left over, or of another shape.
    """
    places = variable_map(model)
    if differing := sorted(places.keys() ^ shapes.keys()):
        raise WeightsError(
            f"{len(differing)} variables are missing or unknown, first {differing[0]}: expected"
            f" {len(places)}, found {len(shapes)}. Is it the checkpoint of this network?"
        )
    state = model.state_dict()
    for name, (key, transform) in places.items():
        axes, place = AXES[transform], state[key]
        expected = tuple(place.shape[axes.index(axis)] for axis in range(len(axes)))
        if shapes[name] != expected:
            raise WeightsError(f"variable {name} has shape {shapes[name]}; expected {expected}.")


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
    check_variables(model, {name: values.shape for name, values in variables.items()})
    state = model.state_dict()
    for key in state:
        if key.endswith("num_batches_tracked"):
            # The moments are those of a long training; one that goes on is to believe them.
            state[key] = torch.tensor(RENORM_FULLY)
    for name, (key, transform) in variable_map(model).items():
        transposed = np.ascontiguousarray(variables[name].transpose(AXES[transform]))
        state[key] = torch.from_numpy(transposed)
    model.load_state_dict(state)


@dataclass(frozen=True)
class Checkpoint:
    """The network of a checkpoint, and what else is known from it.

    Parameters
    ----------
    network : Atrous
        With its weights and moments, in evaluation mode.
    options : mapping
        Of `lowdose.models.atrous.atrous`, to build such a network again.
    prefix : Path
        What the checkpoint's files share.
    digests : mapping
        SHA-256 of each of them, by name.
    step : int or None
        Steps of training, if it says so.
    ignored : tuple of str
        Variables that only training needs.
    """

    network: Atrous
    options: Mapping[str, Any]
    prefix: Path
    digests: Mapping[str, str]
    step: int | None
    ignored: tuple[str, ...]


def read_checkpoint(
    path: Path,
    *,
    image_level: ImageLevel = "released",
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Checkpoint:
    """Read the network from a TensorFlow checkpoint, after every name, shape and checksum.

    Parameters
    ----------
    path : Path
        See `lowdose.models.tensor_bundle.find_prefix`.
    image_level : {"released", "figure"}
        See `lowdose.models.atrous.atrous`; the variables do not tell the two apart.
    progress : callable
        Called before each variable is read, with its name, how many are done and of how many.

    Returns
    -------
    Checkpoint
        Its network is as wide as the variables are.

    Raises
    ------
    InputError
        If there is no such checkpoint, or its files are damaged.
    WeightsError
        If it is of another network, or holds numbers that are not finite.
    """
    bundle = TensorBundle(path)
    shapes = {name: entry.shape for name, entry in bundle.entries.items()}
    try:
        options: dict[str, Any] = {"image_level": image_level}
        if (width := fitting_width(shapes)) != 1:
            options["width"] = width
        # The check allocates nothing; then what the files hold bounds what the network takes.
        with torch.device("meta"):
            planned = atrous(**options)
        names = variable_map(planned)
        ignored = [name for name in shapes if _is_bookkeeping(name, shapes[name], names)]
        check_variables(planned, {name: shapes[name] for name in shapes.keys() - set(ignored)})
        variables: dict[str, NDArray[np.float32]] = {}
        for name in names:
            progress(name, len(variables), len(names))
            variables[name] = _finite(name, bundle.read(name))
        network = atrous(**options)
        load_variables(network, variables)
    except WeightsError as err:
        raise WeightsError(f"{bundle.prefix}: {err}") from None
    return Checkpoint(
        network.eval(), options, bundle.prefix, bundle.digests(), _step(bundle), tuple(ignored)
    )


def fitting_width(shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Return the width of `lowdose.models.atrous.atrous` that gives such variables.

    Parameters
    ----------
    shapes : mapping
        TensorFlow's name -> shape; four of them are looked at.

    Returns
    -------
    float
        1 for the published network. Many widths give the same channels; it is one of them.

    Raises
    ------
    WeightsError
        If one of the four is missing or of no width up to `MAX_WIDTH`.

    Examples
    --------
    >>> shapes = {name: (channels // 4,) for name, channels in WIDTHS.items()}
    >>> fitting_width(shapes)
    0.25
    """
    for name in WIDTHS:
        if len(shapes.get(name, ())) != 1:
            raise WeightsError(f"is no checkpoint of this network: has no {name} of one axis.")
    found = {name: shapes[name][0] for name in WIDTHS}
    least = max((found[name] - 0.5) / channels for name, channels in WIDTHS.items())
    most = min((found[name] + 0.5) / channels for name, channels in WIDTHS.items())
    width = round((least + most) / 2, 6)
    if not 0 < least <= width <= most < MAX_WIDTH:
        raise WeightsError(
            f"is no checkpoint of this network: {', '.join(map(str, found.values()))} channels are "
            f"not {', '.join(map(str, WIDTHS.values()))} times one factor below {MAX_WIDTH}."
        )
    return width


def _is_bookkeeping(name: str, shape: tuple[int, ...], names: Collection[str]) -> bool:
    """Whether a variable serves training alone.

    Either it is a number outside the network: the step, powers of Adam's betas. Or it belongs to
    one of the network's variables and is named after it, in whatever scope: ``nn/Conv/biases/Adam``
    and ``train/nn/Conv/biases/ExponentialMovingAverage``.
    """
    owner, _, _ = name.rpartition("/")
    _, _, layer = owner.rpartition(SCOPE)
    return name not in names and (
        (not shape and not name.startswith(SCOPE)) or f"{SCOPE}{layer}" in names
    )


def _step(bundle: TensorBundle) -> int | None:
    entry = bundle.entries.get(STEP)
    if entry is None or entry.shape or not entry.is_readable:
        return None
    value = bundle.read(STEP)
    return int(value) if value.dtype.kind == "i" else None


def _finite(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.dtype != np.float32 or not np.isfinite(values).all():
        raise WeightsError(
            f"variable {name} holds numbers that are not finite, or no float32 ({values.dtype}): "
            "the training diverged, or it is another network's."
        )
    return values
