"""Validation: always the same crops, doses and noise, so that figures can be compared."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lowdose.data.shards import ShardSet, is_data_set
from lowdose.data.truths import Truth, load_truths
from lowdose.models.catalog import Predicts, denoise_whole
from lowdose.physics.noise import detect
from lowdose.train.config import DataConfig

# Of a data set so many crops tell enough.
MOST_CROPS = 256


class ValidationSet:
    """Middles of the validation images, each exposed once at each dose.

    Parameters
    ----------
    config : DataConfig
        Names folders, patch and doses; without folders every score is empty.
    predicts : {"noise", "image"}
        What the network predicts.
    dtype : torch.dtype
        In which convolutions are computed.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        predicts: Predicts = "noise",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.predicts, self.dtype = predicts, dtype
        self.doses = config.validation_doses
        side = config.validation_patch
        self.clean = [_middle(truth, side) for truth in _truths(config, side)]

    def score(self, network: nn.Module) -> dict[str, float]:
        """Mean squared error and PSNR per dose, in the paper's scale of truths in [0, 1].

        Returns
        -------
        dict of str to float
            ``mse_50``: mean squared error at 50 electrons; ``psnr_50``: mean PSNR;
            ``gain_db_50``: by how much that is above the noisy input's; ``worst_50``: the largest
            ratio of error to input error of any image. Images of which nothing arrives, and that
            hold no noise, are left out.
        """
        figures: dict[str, float] = {}
        for dose in self.doses if self.clean else ():
            error, noise = self._errors(network, dose)
            error, noise = error[noise > 0], noise[noise > 0]
            if not len(noise):
                continue
            figures |= {
                f"mse_{dose:g}": (error / dose**2).mean().item(),
                f"psnr_{dose:g}": (-10 * torch.log10(error / dose**2)).mean().item(),
                f"gain_db_{dose:g}": (-10 * torch.log10(error / noise)).mean().item(),
                f"worst_{dose:g}": (error / noise).max().item(),
            }
        return figures

    @torch.inference_mode()
    def _errors(self, network: nn.Module, dose: float) -> tuple[Tensor, Tensor]:
        """Squared errors of estimate and input per image, in electrons squared."""
        errors = []
        device = next(network.parameters()).device
        for index, clean in enumerate(self.clean):
            rng = torch.Generator().manual_seed(index)
            noisy = detect(clean * dose, rng=rng)[None].to(device)
            readout = noisy.new_zeros(1)
            with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                estimate = denoise_whole(network, self.predicts, noisy, readout)
            truth = (clean * dose)[None].to(device)
            errors.append([(image - truth).square().mean() for image in (estimate, noisy)])
        error, noise = torch.tensor(errors).T
        return error, noise


def _truths(config: DataConfig, side: int) -> Iterator[Truth]:
    """Every image of folders; of data sets the same few of their split "val", at most."""
    folders = [place for place in config.validation if not is_data_set(place)]
    if folders:
        yield from load_truths(folders, least_side=side)
    for place in filter(is_data_set, config.validation):
        shards = ShardSet(place, "val")
        yield from map(shards.truth, range(min(len(shards), MOST_CROPS)))


def _middle(truth: Truth, side: int) -> Tensor:
    height, width = truth.pixels.shape
    crop = truth.crop((height - side) // 2, (width - side) // 2, side, side)
    return torch.from_numpy(crop)[None]
