"""Denoising whole micrographs: one noise model, one scaling, as many tiles as memory asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowdose import __version__
from lowdose.backends import Backend, OpenVINONetwork, float32_kept, pick_backend
from lowdose.checkpoint import load_weights
from lowdose.errors import ConfigError
from lowdose.frame import Frame, look_again, look_at
from lowdose.heap import keep_heap
from lowdose.memory import allocate, free_memory
from lowdose.micrograph import Micrograph
from lowdose.models.catalog import CATALOG
from lowdose.models.counts import (
    Scaling,
    Shown,
    estimate_electrons,
    estimate_with_error,
)
from lowdose.models.ensemble import SelfEnsemble
from lowdose.models.unit import UnitRange, estimate_in_range
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.records import DEFAULT, Record, load_record, shipped
from lowdose.tiling import Tile, tile_plan, view, window_plan
from lowdose.work import Progress, Work

Precision = Literal["auto", "bf16", "float32"]

# Working memory of a pass of the network per pixel of its window, measured with /usr/bin/time.
_BYTES_PER_PIXEL = {torch.bfloat16: 130, torch.float32: 260}
# Between these, memory decides: larger tiles gain nothing, smaller ones are mostly halo.
_TILES = 256, 2048
# Tiles that a user may ask for are at least this large; smaller ones would take minutes.
_SMALLEST_TILE = 64


class TiledNetwork(Protocol):
    """What a network tells about itself so that it can be run in tiles."""

    stride: int
    halo: int
    window: int | None

    def run_body_in(self, dtype: torch.dtype) -> None:
        """Prepare for inference, the outermost layers in float32, the rest in a precision."""


@dataclass(frozen=True)
class Denoised:
    """A denoised micrograph and what was assumed about its noise.

    Parameters
    ----------
    micrograph : Micrograph
        Float32 pixels in the units of the input, with its calibration.
    noise : NoiseModel
        Given or estimated.
    uncertainty : Micrograph, optional
        Where it was asked for: the standard deviation of each pixel, float32, in the same units.
    lattice : bool
        Whether the waves of a lattice were set aside, in any frame.
    twice : bool
        Whether any frame was looked at twice, see `lowdose.frame.look_again`.
    """

    micrograph: Micrograph
    noise: NoiseModel
    uncertainty: Micrograph | None = None
    lattice: bool = False
    twice: bool = False


class Denoiser:
    """A loaded network, ready for micrographs of any size.

    Parameters
    ----------
    model : str
        Name of shipped weights or path of a ``.safetensors`` file.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or ``"auto"`` for the best there is.
    precision : str
        ``"auto"`` takes bf16 where the processor computes it natively, which changes a result by
        about a hundredth of the noise; ``"float32"`` is exact.
    tile : int, optional
        Side of the tiles in pixels; by default as large as free memory allows, up to 2048.
    backend : str
        ``"torch"``, ``"openvino"`` for processors, or ``"auto"`` for the faster of those that
        are as exact, see `lowdose.backends.pick_backend`.
    ensemble : bool
        Average over all flips and rotations: eight times the work for about 0.1 dB.
    lattice : bool
        Set the waves of a lattice aside before the network looks, where that is better; see
        `lowdose.frame.look_at`, and look twice at what is periodic. Networks that predict an image
        are always shown all of it, once.

    Raises
    ------
    WeightsError
        If the weights are missing, altered or unfit.
    ConfigError
        If there is no such device or backend, or the tile side is below 64.
    """

    def __init__(
        self,
        model: str = DEFAULT,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile: int | None = None,
        backend: Backend = "auto",
        ensemble: bool = False,
        lattice: bool = True,
    ) -> None:
        if tile is not None and tile < _SMALLEST_TILE:
            raise ConfigError(f"tile side is {tile} px; expected at least {_SMALLEST_TILE}")
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.tile, self.lattice = tile, lattice
        network, self.record = load_weights(model)
        self._predicts = CATALOG[self.record.network].predicts
        self.backend = pick_backend(backend, self.device, self._predicts)
        is_torch = self.backend == "torch"
        network = _prepared(
            network, self.record, self.device, self.dtype if is_torch else torch.float32
        )
        self._network = (
            network if is_torch else OpenVINONetwork(network, self._predicts, self.dtype)
        )
        if ensemble:
            self._network = SelfEnsemble(self._network)
        if self.device.type == "cpu" and is_torch:
            keep_heap(self)

    def __call__(
        self,
        micrograph: Micrograph,
        *,
        noise: NoiseModel | None = None,
        uncertainty: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Denoised:
        """Denoise an image, or each frame of a stack.

        Parameters
        ----------
        micrograph : Micrograph
            Of any size from 1 × 1 on; may be a memory map larger than memory.
        noise : NoiseModel, optional
            By default estimated, for a stack from its frames together.
        uncertainty : bool
            Also tell the standard deviation of each pixel of the result.
        progress : callable
            Told pixels done and pixels in all, after each tile and on the way to the waves of a
            lattice.

        Returns
        -------
        Denoised
            The pixels are in a temporary file of their own where memory is short.

        Raises
        ------
        NoiseModelError
            If the pixels are not finite, so that no noise can be estimated.
        ConfigError
            If these weights cannot tell their uncertainty.
        TypeError
            If it is given a bare array or a path.
        """
        if not isinstance(micrograph, Micrograph):
            raise TypeError(
                f"a {type(micrograph).__name__} is no Micrograph; expected lowdose.read(path), or "
                "lowdose.Micrograph(pixels) around an array"
            )
        if uncertainty:
            self.check_uncertainty()
        noise = noise or estimate_noise(micrograph.pixels)
        result = allocate(micrograph.shape)
        errors = allocate(micrograph.shape) if uncertainty else None
        work = Work(progress)
        work.more(micrograph.pixels.size)
        lattice = twice = False
        with float32_kept():
            for number, source in enumerate(micrograph.frames()):
                target = _frames(result)[number]
                error = None if errors is None else _frames(errors)[number]
                frame = self._look_at(source, noise, work)
                if frame is not None:
                    lattice |= frame.waves is not None
                    twice |= frame.second > 0
                self._denoise_frame(source, target, error, frame, work)
        note = f"lowdose {__version__} {self.record.label} {noise}"
        note += ", lattice set aside" if lattice else ""
        note += ", looked at twice" if twice else ""
        image = micrograph.with_pixels(result, note)
        denoised = Denoised(image, noise, lattice=lattice, twice=twice)
        if errors is None:
            return denoised
        spread = micrograph.with_pixels(errors, f"{note}, standard deviation of each pixel")
        return replace(denoised, uncertainty=spread)

    @property
    def tells_uncertainty(self) -> bool:
        """Whether it can be asked for the uncertainty of its results."""
        return self.backend == "torch" and bool(self.record.options.get("spread"))

    def check_uncertainty(self) -> None:
        """Refuse weights that cannot tell their uncertainty.

        Raises
        ------
        ConfigError
            If they were not trained to, or another backend computes them.
        """
        if not self.record.options.get("spread"):
            raise ConfigError(
                f"weights {self.record.name!r} do not tell how far they are off; use "
                f"{' or '.join(_with_spread())}"
            )
        if self.backend != "torch":
            raise ConfigError(
                f"backend {self.backend} does not tell uncertainties; pass --backend torch"
            )

    def _look_at(self, source: NDArray[Any], noise: NoiseModel, work: Work) -> Frame | None:
        """What the tiles of a frame have in common; None where it has no noise."""
        if noise.is_noise_free:
            return None
        return look_at(
            source,
            noise,
            self._network,
            self._predicts,
            self.device,
            lattice=self.lattice,
            work=work,
        )

    def _denoise_frame(
        self,
        source: NDArray[Any],
        target: NDArray[np.float32],
        error: NDArray[np.float32] | None,
        frame: Frame | None,
        work: Work,
    ) -> None:
        """Fill `target` and `error` tile by tile."""
        if frame is None:
            target[...] = source
            if error is not None:
                error[...] = 0
            work.did(target.size)
            return
        if frame.second:
            work.more(target.size)
        self._denoise_tiles(source, target, error, frame, work)
        if frame.second:
            second = look_again(source, target, frame, self._network, self.device, work=work)
            self._denoise_tiles(source, target, error, second, work, part=frame.second)

    def _denoise_tiles(
        self,
        source: NDArray[Any],
        target: NDArray[np.float32],
        error: NDArray[np.float32] | None,
        frame: Frame,
        work: Work,
        *,
        part: float = 1.0,
    ) -> None:
        """Fill both, in part if what they are filled with is to keep the rest."""
        for tile in self._plan(cast(tuple[int, int], source.shape)):
            core = tile.core
            if error is None:
                found = [(target, self._denoise_tile(source, tile, frame))]
            else:
                both = self._doubt_tile(source, tile, frame)
                found = list(zip((target, error), both, strict=True))
            for place, values in found:
                place[core] = values if part == 1 else (1 - part) * place[core] + part * values
            work.did(target[core].size)

    @torch.inference_mode()
    def _denoise_tile(self, source: NDArray[Any], tile: Tile, frame: Frame) -> NDArray[np.float32]:
        noisy = self._electrons(source, tile, frame)
        if isinstance(frame.scaling, UnitRange):
            electrons = estimate_in_range(self._network, noisy, frame.scaling)
        else:
            shown = self._shown(noisy, tile, frame)
            electrons = estimate_electrons(self._network, shown, share=frame.share)
        return self._pixels(electrons, noisy, tile, frame)

    @torch.inference_mode()
    def _doubt_tile(
        self, source: NDArray[Any], tile: Tile, frame: Frame
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Pixels of a tile and their standard deviations."""
        noisy = self._electrons(source, tile, frame)
        shown = self._shown(noisy, tile, frame)
        electrons, deviation = estimate_with_error(
            self._network, shown, share=frame.share, kept=frame.kept
        )
        deviation = deviation[0, 0][tile.core_in_window] * frame.noise.gain
        return self._pixels(electrons, noisy, tile, frame), deviation.cpu().numpy()

    def _electrons(self, source: NDArray[Any], tile: Tile, frame: Frame) -> Tensor:
        electrons = frame.noise.to_electrons(view(source, tile.window))
        return torch.from_numpy(electrons)[None, None].to(self.device)

    def _pixels(
        self, electrons: Tensor, noisy: Tensor, tile: Tile, frame: Frame
    ) -> NDArray[np.float32]:
        """The core of a tile in pixel units."""
        noise = frame.noise
        if noise.is_of_counts:
            # A mean of counts is never negative, unless the offset given says that pixels are.
            electrons = torch.maximum(electrons, noisy.clamp(max=0))
        return noise.to_pixels(electrons[0, 0][tile.core_in_window].cpu().numpy())

    def _shown(self, noisy: Tensor, tile: Tile, frame: Frame) -> Shown:
        aside: Tensor | float = 0.0
        if frame.waves is not None:
            waves = torch.from_numpy(np.ascontiguousarray(view(frame.waves, tile.window)))
            aside = waves[None, None].to(self.device)
        scaling = cast(Scaling, frame.scaling)
        return Shown(noisy, frame.readout, scaling, frame.correlation, aside)

    def _plan(self, shape: tuple[int, int]) -> list[Tile]:
        network = cast(TiledNetwork, self._network)
        halo, stride = network.halo, network.stride
        if network.window is None:
            return tile_plan(shape, side=self._tile_side(halo), halo=halo, stride=stride)
        # A tile that was asked for is a core; rounded up, as those of the other plan are.
        side = -(-(self.tile + 2 * halo) // stride) * stride if self.tile else network.window
        return window_plan(shape, side=side, overlap=2 * halo, stride=stride)

    def _tile_side(self, halo: int) -> int:
        if self.tile:
            return self.tile
        # Half of what is free: other programs want to live as well.
        pixels = 0.5 * free_memory(self.device) / _BYTES_PER_PIXEL[self.dtype]
        core = int(pixels**0.5) - 2 * halo
        return min(max(core, _TILES[0]), _TILES[1])


def denoise(
    micrograph: Micrograph, *, model: str = DEFAULT, noise: NoiseModel | None = None
) -> Denoised:
    """Denoise one micrograph; for many, make one `Denoiser` and call it.

    Parameters
    ----------
    micrograph : Micrograph
        See `lowdose.read`, or wrap an array: ``Micrograph(pixels)``.
    model : str
        Name of shipped weights or path of a ``.safetensors`` file.
    noise : NoiseModel, optional
        By default estimated.
    """
    return Denoiser(model)(micrograph, noise=noise)


def pick_device(name: str) -> torch.device:
    """Turn a name into a device that is there; "auto" prefers CUDA, then MPS.

    Raises
    ------
    ConfigError
        If torch knows no such device, or the machine has none.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ConfigError(
            f"there is no device {name!r}; use auto, cpu, cuda, cuda:1 or mps"
        ) from err
    there = {
        "cpu": True,
        "cuda": cuda and (device.index or 0) < torch.cuda.device_count(),
        "mps": mps,
    }
    if not there.get(device.type, False):
        raise ConfigError(f"this machine has no device {name!r}; use --device auto or cpu")
    return device


def pick_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Data type of a network's body: bf16 if asked for, or if the processor has it natively.

    Raises
    ------
    ConfigError
        If there is no such precision.
    """
    if name == "auto":
        native = {"cuda": _cuda_has_bf16, "cpu": _cpu_has_bf16}
        name = "bf16" if device.type in native and native[device.type](device) else "float32"
    kinds = {"bf16": torch.bfloat16, "float32": torch.float32}
    if name not in kinds:
        raise ConfigError(f"there is no precision {name!r}; use auto, {' or '.join(kinds)}")
    return kinds[name]


def _cuda_has_bf16(device: torch.device) -> bool:
    # torch.cuda.is_bf16_supported() also says yes where bf16 is emulated, slowly: before Ampere.
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _cpu_has_bf16(_: torch.device) -> bool:
    # Emulated bf16 is slower than float32; torch has no public question for native bf16 yet.
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _prepared(
    network: nn.Module, record: Record, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    if not isinstance(getattr(network, "halo", None), int):
        raise ConfigError(f"weights {record.name!r}: network {record.network!r} cannot be tiled")
    cast(TiledNetwork, network).run_body_in(dtype)
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _with_spread() -> list[str]:
    """Names of the shipped weights that tell how far they are off."""
    return [name for name in shipped() if load_record(name).options.get("spread")]


def _frames(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels if pixels.ndim == 3 else pixels[None]
