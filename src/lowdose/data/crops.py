"""Crops of many truths cut at once, on the device that trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """Where a crop lies in a truth, and which way it is turned.

    Parameters
    ----------
    top, left, side : int
        A square of pixels, all of it inside.
    turn : int
        One of the eight flips and rotations by right angles: bit 0 flips the rows of the result,
        bit 1 its columns, bit 2 swaps the two axes.
    """

    top: int
    left: int
    side: int
    turn: int = 0


class Pool:
    """Images in one long row of pixels on a device.

    Parameters
    ----------
    images : sequence of ndarray, shape (H, W), float32
        At least one.
    device : torch.device
        Where they are held, and crops are cut.
    """

    def __init__(self, images: Sequence[NDArray[np.float32]], device: torch.device) -> None:
        self.device = device
        self._pixels = send(np.concatenate([image.reshape(-1) for image in images]), device)
        self._widths = np.array([image.shape[1] for image in images])
        self._starts = np.cumsum([0] + [image.size for image in images[:-1]])

    def cut(self, places: Sequence[int], cuts: Sequence[Cut], side: int) -> Tensor:
        """Cut squares out of images, turn them, and shrink those that are larger than `side`.

        Shrinking averages with a triangle as wide as two pixels of the result, like bilinear
        interpolation with antialiasing.

        Parameters
        ----------
        places : sequence of int
            Which image each is cut from.
        cuts : sequence of Cut
            Squares of at least `side` pixels.
        side : int
            Of the result.

        Returns
        -------
        Tensor, shape (B, 1, side, side), float32
        """
        rows = np.array([[c.top, c.left, c.side, c.turn] for c in cuts])
        widths = self._widths[list(places)]
        corners = self._starts[list(places)] + rows[:, 0] * widths + rows[:, 1]
        turns = rows[:, 3]
        swapped = (turns & 4) > 0
        steps = np.where(swapped, 1, widths), np.where(swapped, widths, 1)
        flips = (turns & 1) > 0, (turns & 2) > 0
        facts = np.stack([corners, *steps, *flips, rows[:, 2]])
        crops = torch.empty(len(rows), side, side, device=self.device)
        for is_large in (False, True):
            chosen = np.flatnonzero((rows[:, 2] > side) == is_large)
            if len(chosen):
                found = self._windows(facts[:, chosen])
                if is_large:
                    found = _shrunk(found, rows[chosen, 2], side)
                crops[send(chosen, self.device)] = found
        return crops[:, None]

    def _windows(self, facts: NDArray[np.int64]) -> Tensor:
        """Squares of the largest side asked for; smaller ones repeat their last pixels."""
        ends = send(facts[5:6].T - 1, self.device)
        corners, *others = send(facts[:5, :, None], self.device)
        steps, flips = others[:2], others[2:]
        along = torch.arange(int(facts[5].max()), device=self.device)
        within = [
            torch.where(flip > 0, ends - along, along).clamp(min=0).minimum(ends) * step
            for flip, step in zip(flips, steps, strict=True)
        ]
        return self._pixels[(corners + within[0])[:, :, None] + within[1][:, None, :]]


def send(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy an array to a device, without waiting for what that is busy with."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _shrunk(windows: Tensor, sides: NDArray[np.int64], side: int) -> Tensor:
    """The first of their pixels, so many as `sides` says of each, shrunk to `side`."""
    device = windows.device
    factor = send((sides / side).astype(np.float32), device)[:, None, None]
    count = send(sides, device)[:, None, None]
    centre = (torch.arange(side, device=device)[:, None] + 0.5) * factor
    place = torch.arange(windows.shape[-1], device=device)
    weight = (1 - (place + 0.5 - centre).abs() / factor).clamp_min(0) * (place < count)
    weight = weight / weight.sum(dim=2, keepdim=True)
    return weight @ windows @ weight.mT
