"""Files of microscope software, over RosettaSciIO.

RosettaSciIO is GPL-3 and an optional extra: it is imported when such a file is opened, and only
the plugin for that file (never its generic loader, never its netCDF plugin, which runs `eval`).
What the header claims is checked here first, because the plugins allocate what they are told.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import (
    LowdoseWarning,
    MalformedFileError,
    MissingExtraError,
    UnsupportedContentError,
)
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_decoded, check_shape, check_stored
from lowdose.io.logs import logs_as_warnings
from lowdose.micrograph import Axis, Micrograph, Source

Signal = dict[str, Any]  # what a plugin returns for each data set: data, axes, metadata, ...

# Said by a plugin: what we say instead.
_SENTENCES = {
    "RGBA": "is a colour image; convert it to greyscale first.",
    "part 000": "is a later part of a split recording; give the file that ends in _000.tvips.",
    "object dtype": "holds records of varying length, not pixels.",
    "not a supported EMD": "is an HDF5 file, but neither EMD nor HyperSpy. Export it as MRC.",
    "does not contains valid data": "has no valid element: the acquisition was stopped too early.",
}

# Logged by the plugins, and not worth a user's attention.
_HARMLESS = ("`hdr` file couldn't be found", "Falling back to slow pure python")

_SPECTRAL_UNITS = {"eV", "keV"}
_SPECTRAL_NAMES = {"energy", "energy loss", "wavelength"}
_SPECTRAL_TYPES = {"EELS", "EDS", "EDS_TEM", "EDS_SEM", "CL"}


# ---- one reader a format -----------------------------------------------------------------------


def read_dm(path: Path, limits: Limits) -> Micrograph:
    """Read Gatan DM3 or DM4; plain pixels are memory-mapped."""
    # One chunk: on absurd dimensions the list of dask's own chunks would not fit into memory.
    signals = _signals(path, "digitalmicrograph", "DM3 and DM4", lazy=True, chunks=-1)
    signal = _choose(path, signals, limits)
    block = signal["original_metadata"]["ImageList"]["TagGroup0"]["ImageData"]["Data"]
    shape, dtype = signal["data"].shape, signal["data"].dtype
    check_stored(path, shape, dtype, block["offset"], limits)
    if math.prod(shape) * dtype.itemsize > block["size_bytes"]:
        raise MalformedFileError(
            path, f"damaged: {shape} {dtype} pixels are more than its {block['size_bytes']} bytes."
        )
    dtype = dtype.newbyteorder("<" if block["endian"] == "little" else ">")
    signal["data"] = np.memmap(path, dtype, "r", block["offset"], shape)
    return _micrograph(path, "dm", signal)


def read_tia(path: Path, limits: Limits) -> Micrograph:
    """Read FEI TIA: a SER file, or the first of those that belong to an EMI file."""
    if path.suffix.lower() not in (".ser", ".emi"):
        raise UnsupportedContentError(path, "is a TIA file; rename it to .ser or .emi.")
    series = [path] if path.suffix.lower() == ".ser" else ser_files(path)
    if not series:
        raise UnsupportedContentError(
            path, f"holds no image itself; {path.stem}_1.ser, which does, is not beside it."
        )
    for each in series:
        check_ser(each, limits)
    signal = _choose(path, _signals(path, "tia", "SER and EMI"), limits)
    for axis in signal["axes"][-2:]:
        _correct_ser_axis(axis)
    return _micrograph(path, "tia", signal)


def read_hdf5(path: Path, limits: Limits) -> Micrograph:
    """Read HDF5 of three kinds: Velox EMD, Berkeley EMD and HyperSpy."""
    if check_hdf5(path, limits) == "hspy":
        return _read_hspy(path, limits)
    # Without the last option, frames of images beside a spectrum image are dropped.
    options = {"select_type": "images", "load_SI_image_stack": True}
    signals = _lazy_signals(path, "emd", "EMD", **options)
    signal = _choose(path, signals, limits)
    names = "".join(str(axis.get("name")).lower()[-1:] for axis in signal["axes"][-2:])
    if names == "xy":  # the plugin transposes old Berkeley files, also those that are (y, x)
        signal["data"] = signal["data"].swapaxes(-1, -2)
        signal["axes"] = [*signal["axes"][:-2], signal["axes"][-1], signal["axes"][-2]]
    return _micrograph(path, "hdf5", signal)


def _read_hspy(path: Path, limits: Limits) -> Micrograph:
    try:
        signals = _lazy_signals(path, "hspy", "HyperSpy")
        return _micrograph(path, "hdf5", _choose(path, signals, limits))
    finally:  # since 0.15 the plugin keeps a file open for ever after a lazy read
        with suppress(AttributeError, ImportError):
            importlib.import_module("rsciio.hspy._api")._close_tracked_handles(str(path))


def read_mib(path: Path, limits: Limits) -> Micrograph:
    """Read Quantum Detectors Merlin MIB; the header is text, with the size in fields 4 and 5."""
    with open(path, "rb") as file:
        fields = file.read(384).split(b",")
    if fields[6] == b"R64":
        raise UnsupportedContentError(
            path, "holds raw MIB data, which are packed bits; export it as 12 or 24 bit."
        )
    check_stored(path, (int(fields[5]), int(fields[4])), np.uint8, int(fields[2]), limits)
    signals = _signals(path, "quantumdetector", "MIB", lazy=True)
    return _micrograph(path, "mib", _choose(path, signals, limits))


def read_tvips(path: Path, limits: Limits) -> Micrograph:
    """Read a TVIPS recording, all its parts."""
    with open(path, "rb") as file:
        size, version, width, height, bits = struct.unpack("<5I", file.read(20))
    if version in (1, 2):
        check_stored(path, (height, width), f"u{bits // 8}", size, limits)
    signals = _signals(path, "tvips", "TVIPS", lazy=True)
    return _micrograph(path, "tvips", _choose(path, signals, limits))


def read_blo(path: Path, limits: Limits) -> Micrograph:
    """Read NanoMEGAS BLO, which is 4-D STEM unless the scan is a line."""
    with open(path, "rb") as file:
        start, side, width, height = _unpack_at(file, 12, "<I4xH2xHH")
    # Each pattern follows six bytes of its own.
    check_stored(path, (height, width, side * side + 6), np.uint8, start, limits)
    signals = _signals(path, "blockfile", "BLO", lazy=True)
    return _micrograph(path, "blo", _choose(path, signals, limits))


def _sniff_dm(head: bytes, path: Path) -> bool:
    """Version 3 or 4, the length of the file, and whether it is little-endian; big-endian."""
    version, order = head[:4], 8 if head[3:4] == b"\x03" else 12
    known = version in (b"\0\0\0\3", b"\0\0\0\4")
    return known and head[order : order + 4] in (b"\0\0\0\0", b"\0\0\0\1")


def _sniff_tvips(head: bytes, path: Path) -> bool:
    """A header of 256 bytes, version, width, height, bits; later parts have only their name."""
    if re.search(r"_\d{3}\.tvips$", path.name.lower()) and not path.stem.endswith("_000"):
        return True
    if len(head) < 20:
        return False
    size, version, _, _, bits = struct.unpack("<5I", head[:20])
    return size == 256 and version in (1, 2) and bits in (8, 16)


VENDOR: tuple[Format, ...] = (
    Format("dm", "Gatan DigitalMicrograph 3 and 4", (".dm3", ".dm4"), _sniff_dm, read_dm),
    Format(
        "tia",
        "FEI TIA (SER and EMI)",
        (".ser", ".emi"),
        lambda head, path: head.startswith((b"II\x97\x01", b"JK\x00\x02")),
        read_tia,
    ),
    Format(
        "hdf5",
        "EMD (Velox and Berkeley) and HyperSpy",
        (".emd", ".hspy", ".hdf5", ".h5"),
        lambda head, path: head.startswith(b"\x89HDF\r\n\x1a\n"),
        read_hdf5,
    ),
    Format("mib", "Merlin MIB", (".mib",), lambda head, path: head.startswith(b"MQ1,"), read_mib),
    Format("tvips", "TVIPS recording", (".tvips",), _sniff_tvips, read_tvips),
    Format("blo", "NanoMEGAS BLO", (".blo",), lambda head, path: head[:6] == b"IMGBLO", read_blo),
)


# ---- guards: before a plugin opens the file ----------------------------------------------------

# Data types of a SER file (C. Boothroyd, "The TIA series file format", 2011).
_SER_DTYPES = {
    1: "u1", 2: "u2", 3: "u4", 4: "i1", 5: "i2", 6: "i4", 7: "f4", 8: "f8", 9: "c8", 10: "c16",
}  # fmt: skip


def ser_files(path: Path) -> list[Path]:
    """SER files that belong to an EMI file, as the plugin finds them."""
    pattern = re.compile(re.escape(path.stem) + r"_[0-9]\.ser")
    return sorted(each for each in path.parent.iterdir() if pattern.fullmatch(each.name))


def check_ser(path: Path, limits: Limits) -> None:
    """Refuse a SER file whose elements do not fit into it."""
    try:
        with open(path, "rb") as file:
            version, kind, valid = struct.unpack("<4xHI8xI", file.read(22))
            (start,) = _unpack_at(file, 22, "<I" if version <= 528 else "<Q")
            if valid == 0:
                raise UnsupportedContentError(path, _SENTENCES["does not contains valid data"])
            (start,) = _unpack_at(file, start, "<I" if version <= 528 else "<Q")
            layout, at = ("<HI", 20) if kind == 0x4120 else ("<HII", 40)  # spectra, images
            code, *shape = _unpack_at(file, start + at, layout)
            dtype = np.dtype(_SER_DTYPES[code])
    except (struct.error, KeyError, OSError, OverflowError) as err:
        raise MalformedFileError(path, "cut short or damaged: its SER header ends early.") from err
    check_stored(path, (valid, *shape), dtype, 0, limits)


def check_hdf5(path: Path, limits: Limits) -> str:
    """Kind of an HDF5 file, ``"hspy"`` or ``"emd"``, once all of it is known to lie in the file.

    Raises
    ------
    UnsupportedContentError
        If it links to other files, which may be any file the user can read.
    LimitError
        If a data set claims far more than is stored.
    """
    h5py = _import("h5py", path, "HDF5")

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            _check_dataset(path, item, limits)
            return
        for key in item:
            if isinstance(item.get(key, getlink=True), h5py.ExternalLink):
                raise UnsupportedContentError(path, _elsewhere(f"{name}/{key}"))

    with h5py.File(path, "r") as file:
        check("", file)
        file.visititems(check)
        return "hspy" if "Experiments" in file else "emd"


def _check_dataset(path: Path, dataset: Any, limits: Limits) -> None:
    if dataset.is_virtual or dataset.external:
        raise UnsupportedContentError(path, _elsewhere(dataset.name))
    stored = dataset.id.get_storage_size()
    if dataset.size and dataset.size * dataset.dtype.itemsize > stored:
        check_decoded(path, dataset.shape, dataset.dtype, stored, limits)


def _elsewhere(name: str) -> str:
    return f"takes {name} from another file, which lowdose does not follow. Copy it into one file."


def _unpack_at(file: Any, offset: int, layout: str) -> tuple[Any, ...]:
    file.seek(offset)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


# ---- plugins -----------------------------------------------------------------------------------


def _import(module: str, path: Path, kind: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise MissingExtraError(
            f"{path}: {kind} files need the optional readers: pip install 'lowdose[formats]' "
            "(RosettaSciIO, GPL-3)"
        ) from err


def _signals(path: Path, plugin: str, kind: str, **options: Any) -> list[Signal]:
    """All data sets of a file, as a plugin of RosettaSciIO tells them."""
    with logs_as_warnings("rsciio", harmless=_HARMLESS):
        reader = _import(f"rsciio.{plugin}", path, kind).file_reader
        taken = inspect.signature(reader).parameters  # options have come with the versions
        known = {name: value for name, value in options.items() if name in taken}
        with _sentences(path):
            return list(reader(str(path), **known))


def _lazy_signals(path: Path, plugin: str, kind: str, **options: Any) -> list[Signal]:
    """As `_signals`, without loading pixels if the plugin can: only from data sets in chunks."""
    try:
        return _signals(path, plugin, kind, lazy=True, **options)
    except ValueError as err:
        if "chunks" not in str(err):
            raise
        return _signals(path, plugin, kind, **options)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Put our own sentence in place of what a plugin says of a sound file it does not read."""
    try:
        yield
    except ModuleNotFoundError as err:  # Velox spectrum images: even for the image beside them
        raise MissingExtraError(
            f"{path}: needs one more optional package: pip install {err.name or 'sparse'}"
        ) from err
    except (ValueError, NotImplementedError, OSError) as err:
        for said, sentence in _SENTENCES.items():
            if said in str(err):
                raise UnsupportedContentError(path, sentence) from err
        raise


# ---- which of the data sets, and what it means -------------------------------------------------


def _choose(path: Path, signals: list[Signal], limits: Limits) -> Signal:
    """The largest image, the first of several; says which others there are."""
    refusals = [_refusal(signal) for signal in signals]
    images = [signal for signal, why in zip(signals, refusals, strict=True) if why is None]
    if not images:
        raise UnsupportedContentError(path, str([*refusals, "holds no image, at most spectra."][0]))
    chosen = max(images, key=lambda signal: signal["data"].size)
    rest = [_title(signal) for signal in images if signal is not chosen]
    if rest:
        problem = f"holds {len(images)} images; read {_title(chosen)}, left out {', '.join(rest)}."
        warnings.warn(LowdoseWarning(path, problem), stacklevel=2)
    check_shape(path, chosen["data"].shape, limits)
    return chosen


def _refusal(signal: Signal) -> str | None:
    """Why a signal is no image to denoise, or None."""
    data, words = signal["data"], " x ".join(map(str, signal["data"].shape))
    lengths = [length for length in data.shape[:-2] if length > 1]
    kind = "colour" if data.dtype.names else data.dtype.kind
    reasons = (
        (kind == "colour", "is a colour image; convert it to greyscale first."),
        (kind == "c", "holds complex numbers (an FFT, a wave); save their amplitude as an image."),
        (kind == "b", "is a binary mask, not a micrograph."),
        (kind not in "uif", f"holds {data.dtype} records, not pixels."),
        (data.ndim < 2, f"is a spectrum or profile of {words} channels, not an image."),
        (_is_spectral(signal), f"holds spectra ({words}), not images."),
        (
            len(lengths) > 1,
            f"holds {data.ndim}-dimensional data ({words}), such as 4-D STEM; lowdose reads "
            "images and stacks. Sum or slice it first.",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _is_spectral(signal: Signal) -> bool:
    axes, about = signal["axes"], signal["metadata"].get("Signal", {})
    named = any(
        axis.get("units") in _SPECTRAL_UNITS or str(axis.get("name")).lower() in _SPECTRAL_NAMES
        for axis in axes
    )
    one_signal_axis = [bool(axis.get("navigate")) for axis in axes].count(False) == 1
    spectrum_image = len(axes) > 2 and about.get("signal_type") in _SPECTRAL_TYPES
    return named or one_signal_axis or spectrum_image or about.get("record_by") == "spectrum"


def _title(signal: Signal) -> str:
    about = signal["metadata"].get("General", {})
    return str(about.get("title") or about.get("original_filename") or "untitled")


def _micrograph(path: Path, name: str, signal: Signal) -> Micrograph:
    """The chosen signal as a micrograph, without its axes of length one."""
    data = signal["data"]
    drop = tuple(i for i, length in enumerate(data.shape[:-2]) if length == 1)
    kept = [axis for i, axis in enumerate(signal["axes"]) if i not in drop]
    names = [*(_frame_name(axis) for axis in kept[:-2]), "y", "x"]
    pixels = _native(data).squeeze(drop)
    return Micrograph(
        pixels=pixels,
        axes=tuple(_axis(name, axis) for name, axis in zip(names, kept, strict=True)),
        metadata=_metadata(signal),
        source=Source(path, name, data.dtype),
    )


def _native(data: Any) -> NDArray[Any]:
    """Pixels in native byte order; a memory map stays one."""
    pixels = data if isinstance(data, np.ndarray) else np.asarray(data.compute())
    return pixels if pixels.dtype.isnative else pixels.astype(pixels.dtype.newbyteorder("="))


def _frame_name(axis: Mapping[str, Any]) -> str:
    name = str(axis.get("name") or "frame").lower()
    return {"time": "t", "r_z": "z"}.get(name, name)


def _axis(name: str, axis: Mapping[str, Any]) -> Axis:
    """An axis; a step of 1 without a unit means that none was stated."""
    scale, offset = abs(float(axis["scale"])), float(axis["offset"]) + 0.0  # no -0.0
    unit = re.sub(r"[\s_\[\]]", "", str(axis.get("units") or ""))  # "1 / nm", "[n_m]"
    unit = "" if unit.lower() in ("<undefined>", "undefined", "pixel", "pixels", "px") else unit
    if not math.isfinite(scale) or scale == 0 or (scale == 1 and not unit):
        return Axis(name)
    return Axis(name, scale, unit or None, offset if math.isfinite(offset) else 0.0)


def _correct_ser_axis(axis: dict[str, Any]) -> None:
    """Two faults of the plugin: offsets stay in metres, and so does a step in 1/m without EMI."""
    if axis["units"] == "nm" and axis["scale"] > 1e9:  # no pixel is a metre wide: it is 1/m
        axis |= {"units": "1/nm", "scale": axis["scale"] / 1e18, "offset": axis["offset"] / 1e9}
    elif axis["units"] == "nm":
        axis["offset"] *= 1e9
    elif axis["units"] == "1 / nm":
        axis["offset"] /= 1e9


# ---- metadata ----------------------------------------------------------------------------------

_TEXTS = ("title", "instrument", "detector", "intensity_unit")
# Ours: where HyperSpy's scheme has it; "." stands for the root, all else is said of a microscope.
_FACTS = {
    "title": ".General.title",
    "voltage_kv": "beam_energy",
    "magnification": "magnification",
    "camera_length_mm": "camera_length",
    "exposure_s": "Detector.Camera.exposure",
    "dwell_time_s": "dwell_time",
    "instrument": "microscope",
    "detector": "Detector.Camera.Name",
    "intensity_unit": ".Signal.quantity",
    "intensity_scale": ".Signal.Noise_properties.Variance_linear_model.gain_factor",
    "intensity_offset": ".Signal.Noise_properties.Variance_linear_model.gain_offset",
}


_PREFIXES = [f"Acquisition_instrument.{kind}" for kind in ("TEM.", "SEM.", "")]


def _metadata(signal: Signal) -> dict[str, Any]:
    """Acquisition facts that the file states, as JSON values."""
    known = _mapped(signal)
    found = {}
    for key, place in _FACTS.items():
        places = [prefix + place for prefix in _PREFIXES] if place[0] != "." else [place[1:]]
        value = next((known[each] for each in places if each in known), None)
        value = _text(value) if key in _TEXTS else _number(value)
        if value:
            found[key] = value
    if found.get("intensity_scale") == 1 and "intensity_offset" not in found:
        del found["intensity_scale"]  # DigitalMicrograph's default: nothing was calibrated
    return found | _electrons(found)


def _text(value: Any) -> str | None:
    """A name, or None for HyperSpy's words for no name."""
    return value if isinstance(value, str) and value not in ("__unnamed__", "Intensity") else None


def _number(value: Any) -> float | None:
    """A finite number, also one written as text."""
    with suppress(TypeError, ValueError, OverflowError):
        return float(value) if math.isfinite(float(value)) else None
    return None


# How the plugin words the units "e-", "e" and "electrons".
_ELECTRONS = ("Electrons (Counts)", "(e)", "(electrons)", "(Electrons)")


def _electrons(found: Mapping[str, Any]) -> dict[str, float]:
    """Gain and offset, where the file calibrates its intensities in electrons.

    DigitalMicrograph states ``electrons = scale * (pixel - offset)``.
    """
    unit = str(found.get("intensity_unit"))
    if "intensity_scale" not in found or not unit.endswith(_ELECTRONS):
        return {}
    return {
        "stated_gain": 1 / found["intensity_scale"],
        "stated_offset": found.get("intensity_offset", 0.0),
    }


def _mapped(signal: Signal) -> dict[str, Any]:
    """Flat metadata in HyperSpy's scheme, ``"General.title": ...``.

    Plugins leave most of it to HyperSpy as a recipe: place in the original metadata, place in
    the scheme, and a function from one to the other.
    """
    known = dict(_flat(signal["metadata"]))
    for origin, (place, convert) in (signal.get("mapping") or {}).items():
        # Whatever a recipe raises on tags it did not expect: the fact is then not known.
        with suppress(Exception):
            value = _at(signal["original_metadata"], origin)
            known.setdefault(place, convert(value) if convert else value)
    return known


def _at(tree: Any, place: str) -> Any:
    """Value at ``"a.b.c"``; plugins spell a space as ``_`` at times."""
    for key in place.split("."):
        tree = {name.replace(" ", "_"): value for name, value in tree.items()}
        tree = tree[key.replace(" ", "_")]
    return tree


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
