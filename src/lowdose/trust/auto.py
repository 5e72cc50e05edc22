"""The best of the shipped networks for one image, chosen by their errors on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.trust.score import INPUT, Scores, networks, score

if TYPE_CHECKING:
    from lowdose.infer import Denoiser

LEFT_ALONE = NoiseModel(0.0, basis="no network makes it better, so it is left alone")


def choose(
    micrograph: Micrograph, noise: NoiseModel, denoisers: Sequence[Denoiser]
) -> tuple[Denoiser, NoiseModel, Scores | None]:
    """Choose a network for an image, or leave the image alone.

    Parameters
    ----------
    micrograph : Micrograph
        Noisy.
    noise : NoiseModel
        Of its pixels.
    denoisers : sequence of Denoiser
        To choose from; the first is taken where there is no noise to judge by.

    Returns
    -------
    (Denoiser, NoiseModel, Scores)
        What to call, with which noise, and why; no scores where there is no noise. An image that
        every network would make worse gets a noise model without noise.
    """
    if noise.is_noise_free:
        return denoisers[0], noise, None
    scores = score(micrograph.pixels, noise, networks(denoisers))
    if scores.best.name == INPUT:
        return denoisers[0], LEFT_ALONE, scores
    return next(each for each in denoisers if each.record.name == scores.best.name), noise, scores
