"""Networks by name: who builds them, who described them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from lowdose.errors import ConfigError
from lowdose.models import counts, unit
from lowdose.models.atrous import atrous
from lowdose.models.unet import UNet

Predicts = Literal["noise", "image"]


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
    predicts: Predicts


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


def denoise_whole(
    network: nn.Module,
    predicts: Predicts,
    noisy: Tensor,
    readout: Tensor,
    correlation: Tensor | None = None,
) -> Tensor:
    """Estimate the expected electrons of whole images, each scaled by itself.

    Parameters
    ----------
    network : Module
        Of the catalog.
    predicts : {"noise", "image"}
        Of its `Architecture`.
    noisy : Tensor, shape (B, 1, H, W), float32
        Recorded electrons.
    readout : Tensor, shape (B,)
        Readout noise in electrons.
    correlation : Tensor, shape (B, 2), optional
        Of the noise of neighbours; a network that predicts an image is not told.
    """
    if predicts == "image":
        return unit.estimate_in_range(network, noisy, unit.fit_range(noisy))
    scaling = counts.fit_scaling(noisy, readout)
    return counts.estimate_electrons(network, counts.Shown(noisy, readout, scaling, correlation))


def parameter_count(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
