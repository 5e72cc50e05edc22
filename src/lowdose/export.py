"""Networks as ONNX files, which other programs can run without torch or Python."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lowdose import __version__
from lowdose.checkpoint import load_weights
from lowdose.errors import MissingExtraError
from lowdose.io.guard import whole_file
from lowdose.models.catalog import CATALOG, Predicts
from lowdose.records import Record, shipped

# The lowest that holds every operation of the catalog: from 11 on Resize can align corners, and
# from 13 on the axes of Squeeze are inputs, which is what today's runtimes are tested with.
OPSET = 13
# Of this package, and so of the weights in it.
_LICENCE = "BSD-3-Clause"
_PICTURE = ("batch", 1, "height", "width")


@dataclass(frozen=True)
class Port:
    """An input or output of an exported network.

    Parameters
    ----------
    name : str
        As in the file.
    axes : tuple of str or int
        Lengths of its axes, the free ones by name.
    """

    name: str
    axes: tuple[str | int, ...]

    @property
    def free(self) -> dict[int, str]:
        """Number and name of each axis of any length."""
        return {at: axis for at, axis in enumerate(self.axes) if isinstance(axis, str)}

    def example(self, side: int) -> Tensor:
        """Make a small tensor of such a shape."""
        lengths = {"batch": 1, "height": side, "width": side}
        shape = [lengths[axis] if isinstance(axis, str) else axis for axis in self.axes]
        return torch.full(shape, 0.5)


IMAGE, LEVEL = Port("image", _PICTURE), Port("level", ("batch",))
CORRELATION = Port("correlation", ("batch", 2))
RESULTS: Mapping[Predicts, Port] = {
    "noise": Port("noise", _PICTURE),
    "image": Port("denoised", _PICTURE),  # "image" is taken, and names are unique in a graph
}


def inputs_of(network: nn.Module, predicts: Predicts) -> tuple[Port, ...]:
    """Return what a network is given, in the order of its arguments."""
    if predicts == "image":
        return (IMAGE,)
    is_told = getattr(network, "correlated", False)
    return (IMAGE, LEVEL, CORRELATION) if is_told else (IMAGE, LEVEL)


def to_onnx(network: nn.Module, inputs: tuple[Port, ...], result: Port, *, side: int) -> bytes:
    """Translate a network in evaluation mode, in float32 on the CPU, to ONNX.

    By torch's tracing exporter: its other one takes ten times as long, two more packages and an
    opset of 18. What is traced at one size holds for all multiples of the network's stride.

    Parameters
    ----------
    network : Module
        Called with a tensor for each input.
    inputs, result : tuple of Port, Port
        Their names and axes.
    side : int
        Height and width of the image to trace with: a multiple of the stride.

    Returns
    -------
    bytes
        Of an ONNX file.

    Raises
    ------
    MissingExtraError
        If the package ``onnx`` is not installed.
    """
    _require_onnx()
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # That it is the older exporter, and that sizes which all multiples share are constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(port.example(side) for port in inputs),
            file,  # type: ignore[arg-type]
            input_names=[port.name for port in inputs],
            output_names=[result.name],
            dynamic_axes={port.name: port.free for port in (*inputs, result)},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def export_onnx(name: str, path: Path) -> dict[str, str]:
    """Write the network of some weights as an ONNX file, whole or not at all.

    Inputs are ``image`` (B, 1, H, W) and, where the network predicts noise, ``level`` (B,) and
    perhaps ``correlation`` (B, 2), see `lowdose.models.counts`; sides are multiples of its
    stride. Output is ``noise`` or ``denoised``, of the shape of the image.

    Parameters
    ----------
    name : str
        Of shipped weights, or path of a ``.safetensors`` file.
    path : Path
        Replaced if it exists.

    Returns
    -------
    dict of str to str
        The metadata in the file: all it takes to run it.

    Raises
    ------
    WeightsError
        If the weights are missing, altered or unfit.
    MissingExtraError
        If the package ``onnx`` is not installed.
    OutputError
        If the file cannot be written.
    """
    onnx = _require_onnx()
    network, record = load_weights(name)
    cast(Any, network).run_body_in(torch.float32)
    predicts = CATALOG[record.network].predicts
    inputs, stride = inputs_of(network, predicts), cast(int, network.stride)
    content = to_onnx(network, inputs, RESULTS[predicts], side=4 * stride)
    model = onnx.load_model_from_string(content)
    facts = _metadata(network, record, inputs)
    onnx.helper.set_model_props(model, facts)
    model.producer_name, model.producer_version = "lowdose", __version__
    model.doc_string = record.summary
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as part:
        part.write_bytes(model.SerializeToString())
    return facts


def _metadata(network: Any, record: Record, inputs: tuple[Port, ...]) -> dict[str, str]:
    licences = {source["licence"] for source in record.sources if source.get("licence")}
    return {
        "model": record.label,
        "sha256": record.sha256,
        "licence": _LICENCE if record.name in shipped() else "as of the weights",
        "licences_of_training_images": ", ".join(sorted(licences)),
        "network": record.network,
        "predicts": CATALOG[record.network].predicts,
        "inputs": ", ".join(port.name for port in inputs),
        "stride": str(network.stride),
        "halo": str(network.halo),
        "window": str(network.window or "any"),
        "limits": " ".join(record.limits),
    }


def _require_onnx() -> Any:
    try:
        import onnx
    except ImportError as err:
        raise MissingExtraError(
            "translating a network to ONNX needs the package onnx. pip install 'lowdose[onnx]'"
        ) from err
    return onnx
