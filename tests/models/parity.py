"""What the layers of our network give, beside what TensorFlow says they give."""

from pathlib import Path

import numpy as np
import torch

from lowdose.models.ede2018 import variable_map

# Kind of layer in TensorFlow -> a variable that it has, and how our key of that ends.
ENDS = {
    "BatchNorm": ("beta", ".norm.bias"),
    "Conv": ("weights", ".weight"),
    "Conv2d_transpose": ("weights", ".weight"),
    "SeparableConv2d": ("depthwise_weights", ".depthwise.weight"),
}


def layer_paths(network):
    """TensorFlow's name of each layer -> path of our module."""
    paths = {}
    for name, (key, _) in variable_map(network).items():
        _, layer, leaf = name.split("/", 2)
        first, end = ENDS[layer.rstrip("0123456789").removesuffix("_")]
        if leaf == first:
            paths[layer] = key.removesuffix(end)
    return paths


def differences(network, folder: Path, form: str) -> dict[str, float]:
    """Largest difference of each layer and of the output to TensorFlow's.

    In units of the layer's largest value where that is above 1: convolutions reach some hundreds
    before their batch norm.
    """
    found = {}
    with np.load(folder / "layers.npz") as expected:

        def compare(name, tensor, step=1):
            key = f"{form}/{name}"
            theirs = expected[key if key in expected else f"released/{name}"].ravel()
            ours = tensor.permute(0, 2, 3, 1).reshape(-1)[::step].numpy()
            assert ours.size == theirs.size
            assert np.isfinite(theirs).all()
            scale = max(1.0, float(np.abs(theirs).max()))
            found[name] = float(np.abs(ours - theirs).max()) / scale

        def watch(name, path):
            def hook(module, inputs, output):
                compare(name, output, -(-output.numel() // int(expected["most"])) | 1)

            network.get_submodule(path).register_forward_hook(hook)

        for name, path in layer_paths(network).items():
            watch(name, path)
        with torch.inference_mode():
            compare("output", network(torch.from_numpy(expected["input"]).permute(0, 3, 1, 2)))
    return found


def shares_within(folder: Path) -> dict[str, float]:
    """Share of each activation's values that lie strictly within 0 and 6."""
    with np.load(folder / "layers.npz") as layers:
        return {
            name: float(np.mean((layers[name] > 0) & (layers[name] < 6)))
            for name in layers
            if "BatchNorm" in name
        }
