"""What all tiles of one frame have in common, found before the first of them is denoised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowdose.memory import allocate
from lowdose.models.counts import (
    Probe,
    Scaling,
    Shown,
    fit_scaling,
    most_share,
    probe,
    random_change,
)
from lowdose.models.unit import UnitRange, fit_range
from lowdose.physics.dose import NoiseModel
from lowdose.physics.lattice import SIDES, is_periodic, lattice_waves, waves_like
from lowdose.physics.transform import stabilise
from lowdose.tiling import Window
from lowdose.work import Work

# The share of noise in what the network takes off is measured on windows of this side: four of
# them cost an image of 512 x 512 an eighth of a pass.
_PROBE = 64
# Smaller images hold too few pixels to tell it.
_LEAST_PROBED = 96
# So many a side; whether to set a lattice aside asks for more pixels than the share.
_FEWEST_PROBES, _MOST_PROBES = 2, 4
# Windows in which the part of a second look is measured, the first that fits into an image, and so
# many of them a side at most. Smaller ones have more lattice at their edges, where blocks see less
# of it.
_SECOND, _MOST_SECOND = (512, 256), 2
# A smaller part gains a few hundredths of a decibel, for as long as the first look took.
_LEAST_SECOND = 0.25
# A lattice is looked for in blocks that hold at most the square of so many pixels, before it is in
# all of an image.
_MOST_SIDE = 1024
# Pixels of an image from which its scaling is taken.
_SAMPLE = 1 << 15


@dataclass(frozen=True)
class Frame:
    """What tiles of one frame are denoised with.

    Parameters
    ----------
    noise : NoiseModel
        Of all its pixels.
    readout : Tensor, shape (1,)
        Readout noise in electrons.
    scaling : Scaling or UnitRange
        What the network sees; its type says what the network predicts.
    correlation : Tensor, shape (1, 2), optional
        Of the noise of neighbours along y and along x.
    share : float
        Part of the predicted noise to take off.
    waves : ndarray, shape (H, W), optional
        Stabilised waves of a lattice, which the network does not see.
    kept : float
        The part of the noise that is in these.
    second : float
        Part in the result of what `look_again` leads to, the rest being that of a first result.
    share_of_second : float
        As `share`, of what it finds.
    """

    noise: NoiseModel
    readout: Tensor
    scaling: Scaling | UnitRange
    correlation: Tensor | None = None
    share: float = 1.0
    waves: NDArray[np.float32] | None = None
    kept: float = 0.0
    second: float = 0.0
    share_of_second: float = 1.0


@torch.inference_mode()
def look_at(
    source: NDArray[Any],
    noise: NoiseModel,
    network: nn.Module,
    predicts: Literal["noise", "image"],
    device: torch.device,
    *,
    lattice: bool = True,
    work: Work | None = None,
) -> Frame:
    """Look at a frame: at samples of it, or all of it where it holds a lattice or for its extremes.

    A lattice is set aside where Stein's identity says, on windows of the frame, that this leaves
    less error than showing it to the network. Likewise the part of a second look is found.

    Parameters
    ----------
    source : ndarray, shape (H, W)
        Pixels as stored, perhaps a memory map.
    noise : NoiseModel
        Of these pixels.
    network : Module
        Ready for inference on `device`.
    predicts : str
        What the network does.
    device : torch.device
        Where to compute.
    lattice : bool
        Look for one, and for what else is periodic.
    work : Work, optional
        Where what it takes to find waves is counted.
    """
    return _Look(source, noise, network, device, work).frame(predicts, lattice=lattice)


@torch.inference_mode()
def look_again(
    source: NDArray[Any],
    result: NDArray[np.float32],
    first: Frame,
    network: nn.Module,
    device: torch.device,
    *,
    work: Work | None = None,
) -> Frame:
    """Look at a frame in the light of a first result: its waves are those that this has.

    Parameters
    ----------
    source, network, device, work
        As in `look_at`.
    result : ndarray, shape (H, W)
        Denoised pixels, in the same unit.
    first : Frame
        What `result` was denoised with.
    """
    again = _Look(source, first.noise, network, device, work).again(result)
    return replace(again, share=first.share_of_second)


class _Look:
    """A frame, and the means to look at it."""

    def __init__(
        self,
        source: NDArray[Any],
        noise: NoiseModel,
        network: nn.Module,
        device: torch.device,
        work: Work | None,
    ) -> None:
        self.source, self.noise, self.network, self.device = source, noise, network, device
        self.work = work or Work()
        self.readout = torch.tensor([noise.readout_electrons], dtype=torch.float32, device=device)
        # All are told; a network that was not built for it does not look.
        self.correlation = torch.tensor([noise.correlation], dtype=torch.float32, device=device)

    def frame(self, predicts: Literal["noise", "image"], *, lattice: bool) -> Frame:
        if predicts == "image":
            ends = np.array([self.source.min(), self.source.max()])
            return Frame(self.noise, self.readout, fit_range(self._electrons(ends)[None]))
        plain = self._scaled(None, 0.0)
        if min(self.source.shape) < _LEAST_PROBED:
            return plain
        if not (lattice and self._is_periodic()):
            fewest = min(max(min(self.source.shape) // 512, _FEWEST_PROBES), _MOST_PROBES)
            return replace(plain, share=self._probe(plain, fewest).share)
        better, look = plain, self._probe(plain, _MOST_PROBES)
        waves, kept = self._lattice()
        if kept:
            aside = self._scaled(waves, kept)
            unseen = self._probe(aside, _MOST_PROBES)
            better, look = (aside, unseen) if unseen.beats(look) else (better, look)
        return self._with_second(replace(better, share=look.share))

    def again(self, result: NDArray[np.float32]) -> Frame:
        waves = allocate(self.source.shape)
        self.work.more(waves.size)
        kept = waves_like(
            lambda rows: self._stabilised(result[rows]),
            self._counted(lambda rows: self._stabilised(self.source[rows])),
            waves,
            side=SIDES[0],
        )
        return self._scaled(waves, kept)

    def _scaled(self, waves: NDArray[np.float32] | None, kept: float) -> Frame:
        skip = max(1, round((self.source.size / _SAMPLE) ** 0.5))
        some = np.s_[::skip, ::skip]
        scaling = fit_scaling(
            self._electrons(self.source[some])[None],
            self.readout,
            aside=0.0 if waves is None else self._on_device(waves[some])[None],
        )
        return Frame(self.noise, self.readout, scaling, self.correlation, waves=waves, kept=kept)

    def _probe(self, frame: Frame, a_side: int) -> Probe:
        shown = self._shown(frame, _windows(self.source.shape, _PROBE, a_side))
        of_counts = self.noise.is_of_counts
        return probe(self.network, shown, of_counts=of_counts, kept=frame.kept, rng=self._rng())

    def _with_second(self, frame: Frame) -> Frame:
        """Weigh a second look against the first, of which its waves are made.

        Windows are denoised both times, before and after a small change, so that what the second
        look owes to the noise in the first is counted.
        """
        shape = self.source.shape
        fitting = [side for side in _SECOND if side <= min(shape)]
        if frame.share == 0 or not fitting:
            return frame
        counts = [min(length // fitting[0], _MOST_SECOND) for length in shape]
        shown = self._shown(frame, _windows(shape, fitting[0], *counts))
        change = random_change(shown, self._rng())
        of_counts = self.noise.is_of_counts

        def looks(moved: Tensor | float) -> tuple[Tensor, Tensor, float]:
            """Noise after one look and after two at pixels that were moved, and its most share."""
            pixels = shown.stabilised + moved
            first = frame.share * self.network(*shown.told(shown.rest + moved))
            waves = _waves_like(pixels - first, pixels)
            scaling = fit_scaling(shown.noisy.flatten()[None], self.readout, aside=waves.flatten())
            again = Shown(shown.noisy, self.readout, scaling, self.correlation)
            second = self.network(*again.told(pixels - waves))
            return first, second, most_share(again, of_counts=of_counts)

        (first, second, most), (first_moved, second_moved, _) = looks(0.0), looks(change)
        once = Probe.of_change(first, first_moved, change, kept=frame.share * frame.kept)
        # Its waves move with the pixels, so none of the noise stays unseen in them.
        twice = Probe.of_change(second, second_moved, change, most=most)
        share = twice.share
        part = twice.times(share).part_beside(once)
        if part < _LEAST_SECOND:
            return frame
        return replace(frame, second=part, share_of_second=share)

    def _shown(self, frame: Frame, windows: list[Window]) -> Shown:
        assert isinstance(frame.scaling, Scaling)
        return Shown(
            self._electrons(_cut(self.source, windows))[:, None],
            self.readout,
            frame.scaling,
            self.correlation,
            0.0 if frame.waves is None else self._on_device(_cut(frame.waves, windows))[:, None],
        )

    def _rng(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def _is_periodic(self) -> bool:
        shape = self.source.shape
        sides = [side for side in SIDES if side <= min(shape)]
        if not sides:
            return False
        counts = [min(length, _MOST_SIDE) // sides[0] for length in shape]
        blocks = self._stabilised(_cut(self.source, _windows(shape, sides[0], *counts)))
        parts = (
            blocks.unfold(1, side, side).unfold(2, side, side).reshape(-1, side, side)
            for side in sides
        )
        return any(is_periodic(part, self.source.size) for part in parts)

    def _lattice(self) -> tuple[NDArray[np.float32], float]:
        """Its waves, and the part of the noise in them."""
        waves, more = allocate(self.source.shape), allocate(self.source.shape)
        waves[...] = 0
        kept = 0.0

        def rest(rows: slice) -> Tensor:
            return self._stabilised(self.source[rows]) - self._on_device(waves[rows])

        self.work.more(len(SIDES) * waves.size)
        for side in SIDES:
            kept += lattice_waves(self._counted(rest), more, side=side)
            waves += more
        return waves, kept

    def _counted(self, rows: Callable[[slice], Tensor]) -> Callable[[slice], Tensor]:
        """The same rows for half-overlapping blocks, which ask for each of them twice."""

        def counted(some: slice) -> Tensor:
            found = rows(some)
            self.work.did(found.numel() / 2)
            return found

        return counted

    def _stabilised(self, pixels: NDArray[Any]) -> Tensor:
        return stabilise(self._electrons(pixels), self.readout)

    def _electrons(self, pixels: NDArray[Any]) -> Tensor:
        return self._on_device(self.noise.to_electrons(pixels))

    def _on_device(self, pixels: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(pixels).to(self.device)


def _waves_like(estimates: Tensor, pixels: Tensor) -> Tensor:
    """Waves in windows (N, 1, side, side) as if each were an image."""
    waves = np.empty((len(pixels), *pixels.shape[2:]), np.float32)
    for estimate, image, each in zip(estimates[:, 0], pixels[:, 0], waves, strict=True):
        waves_like(estimate.__getitem__, image.__getitem__, each, side=SIDES[0])
    return torch.from_numpy(waves)[:, None].to(pixels.device)


def _windows(
    shape: tuple[int, ...], side: int, down: int, across: int | None = None
) -> list[Window]:
    """Equal square windows, so many down and across or each way, evenly spread over an image."""
    counts = down, down if across is None else across
    rows, columns = (
        _middles(length, side, count) for length, count in zip(shape, counts, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def _middles(length: int, side: int, count: int) -> list[slice]:
    """Windows around the middles of equal parts of a length, moved inside it."""
    starts = ((2 * n + 1) * length // (2 * count) - side // 2 for n in range(count))
    inside = (min(max(start, 0), length - side) for start in starts)
    return [slice(start, start + side) for start in inside]


def _cut(image: NDArray[Any], windows: list[Window]) -> NDArray[Any]:
    return np.stack([image[window] for window in windows])
