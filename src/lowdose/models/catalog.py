"""Networks by name: who builds them, who described them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from lowdose.errors import ConfigError
from lowdose.models.atrous import atrous
from lowdose.models.unet import UNet


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Parameters
    ----------
    name : str
        As in configurations and records of weights.
    build : callable
        Takes the options of a configuration as keywords; its defaults are the named network.
    summary : str
        One line for ``lowdose models``.
    citation : str
        Where it is described.
    predicts : {"noise", "image"}
        Whether it sees stabilised pixels with their noise level and returns the noise, as
        `lowdose.models.counts` wants it, or maps an image in [0, 1] to an image.
    """

    name: str
    build: Callable[..., nn.Module]
    summary: str
    citation: str
    predicts: Literal["noise", "image"]


CATALOG: Mapping[str, Architecture] = {
    record.name: record
    for record in (
        Architecture(
            "unet",
            UNet,
            "compact U-Net of dense convolutions that predicts stabilised noise; any dose",
            "this project, docs/training.md",
            "noise",
        ),
        Architecture(
            "atrous",
            atrous,
            "atrous convolutional encoder-decoder, 25 413 620 parameters",
            "J. M. Ede, Ultramicroscopy 202, 18 (2019), arXiv:1807.11234",
            "image",
        ),
    )
}


def build(name: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network with fresh weights.

    Raises
    ------
    ConfigError
        If there is no such network, or it takes no such options.
    """
    if name not in CATALOG:
        raise ConfigError(f"there is no network {name!r}; there are: {', '.join(CATALOG)}")
    try:
        return CATALOG[name].build(**(options or {}))
    except (TypeError, ValueError) as err:
        raise ConfigError(
            f"network {name!r} cannot be built with {dict(options or {})}: {err}"
        ) from err


def build_noise_network(name: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network that `lowdose.models.counts` can use.

    Raises
    ------
    ConfigError
        If it predicts an image, or cannot be built.
    """
    if name in CATALOG and CATALOG[name].predicts != "noise":
        fit = ", ".join(record.name for record in CATALOG.values() if record.predicts == "noise")
        raise ConfigError(
            f"network {name!r} maps images to images and knows no noise level, so it can be "
            f"neither trained on counts nor run by lowdose yet; choose {fit}"
        )
    return build(name, options)


def parameter_count(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
