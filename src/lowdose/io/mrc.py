"""MRC: the format of cryo-EM, in every mode and byte order that is in use.

The header table is mrcfile's; the bytes are read and written here, because mrcfile allocates
what a header claims before it looks at the file, and a full disk kills it while it maps its
output.

References
----------
.. [1] A. Cheng et al., "MRC2014: Extensions to the MRC format header for electron
   cryo-microscopy and tomography", J. Struct. Biol. 192, 146 (2015).
.. [2] The IMOD variant: https://bio3d.colorado.edu/imod/doc/mrc_format.txt
"""

from __future__ import annotations

import bz2
import gzip
import math
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE, get_ext_header_dtype
from numpy.typing import NDArray

from lowdose.errors import (
    LowdoseWarning,
    MalformedFileError,
    OutputError,
    UnsupportedContentError,
)
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_decoded, check_stored, row_blocks
from lowdose.micrograph import Axis, Micrograph, Source

_Order = Literal["<", ">"]

_HEADER_BYTES = 1024
_LABEL = 80
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}  # 101: two pixels in a byte
_COMPLEX_MODES = (3, 4)
_STAMPS: dict[_Order, tuple[int, ...]] = {
    "<": (0x44, 0x44, 0, 0),
    ">": (0x11, 0x11, 0, 0),
}

# What a data type without a mode of its own is written as, if its values fit.
_WRITTEN_AS = {
    "uint8": "u2", "int32": "f4", "uint32": "f4", "int64": "f4", "uint64": "f4", "float64": "f4",
}  # fmt: skip
_LARGEST = {"u": 2.0**24, "i": 2.0**24, "f": float(np.finfo("f4").max)}  # that float32 can hold

# IMOD stores bytes unsigned unless bit 0 of its flags says otherwise; only where its stamp is.
_IMOD = np.dtype(
    {"names": ["stamp", "flags"], "formats": ["i4"] * 2, "offsets": [152, 156], "itemsize": 1024}
)
_IMOD_STAMP = 1146047817

# Our key, the field of an FEI1 or FEI2 extended header, and the factor from its SI unit to ours.
_FEI_FACTS = (
    ("voltage_kv", "HT", 1e-3),
    ("dose_e_per_a2", "Dose", 1e-20),
    ("magnification", "Magnification", 1.0),
    ("exposure_s", "Integration time", 1.0),
)
_ASCII = str.maketrans({"Å": "A", "µ": "u", "μ": "u", "×": "x", "σ": "sigma", "–": "-", "±": "+-"})


def _sniff(head: bytes, path: Path) -> bool:
    if head.startswith(b"BZh"):
        return True  # bzip2 decodes in blocks of up to 900 kB: nothing to see in the head
    if head.startswith(b"\x1f\x8b"):
        head = _gunzipped(head)
    if head[208:211] == b"MAP":
        return True
    # Before 2014 there was no magic number: the name must say MRC and the header make sense.
    return (
        path.name.lower().endswith(MRC.suffixes)
        and len(head) >= _HEADER_BYTES
        and any(_is_plausible(_parsed(head, order)) for order in _STAMPS)
    )


def _gunzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEADER_BYTES)
    except zlib.error:
        return b""


def _read(path: Path, limits: Limits) -> Micrograph:
    opener = _decoder(path)
    with (opener or open)(path, "rb") as stream:
        header = _header(path, stream.read(_HEADER_BYTES))
        shape, dtype = _stored_layout(path, header)
        start = _HEADER_BYTES + int(header["nsymbt"])
        if opener:
            check_decoded(path, shape, dtype, path.stat().st_size, limits, header=start)
        else:
            check_stored(path, shape, dtype, start, limits)
        extended = stream.read(start - _HEADER_BYTES)
        pixels = (
            _decoded(path, stream, shape, dtype)
            if opener
            else np.memmap(path, dtype, "r", start, shape)
        )
        _warn_of_rest(path, stream, 0 if opener else start + pixels.nbytes)
    facts, pixel_size = _fei_facts(header, extended)
    pixels = _usable(pixels, header)
    kept = {"header": header.tobytes(), "extended": extended, "order": _order(header)}
    return Micrograph(
        pixels,
        _axes(header, pixel_size)[-pixels.ndim :],
        facts,
        Source(path, MRC.name, pixels.dtype, kept),
        _labels(header),
    )


def _decoder(path: Path) -> Callable[..., Any] | None:
    with open(path, "rb") as file:
        magic = file.read(3)
    return gzip.open if magic[:2] == b"\x1f\x8b" else bz2.open if magic == b"BZh" else None


def _header(path: Path, raw: bytes) -> NDArray[Any]:
    """Header in the byte order that makes sense of it, its own machine stamp's if possible."""
    if len(raw) < _HEADER_BYTES:
        raise MalformedFileError(
            path, f"cut short: {len(raw)} bytes, less than an MRC header of {_HEADER_BYTES}."
        )
    stamped = next((order for order, stamp in _STAMPS.items() if stamp[0] == raw[212]), None)
    first: _Order = stamped or "<"
    for order in (first, *(other for other in _STAMPS if other != first)):
        header = _parsed(raw, order)
        if _is_plausible(header):
            if order != stamped:
                problem = f"wrong machine stamp {raw[212:216].hex()}; read with order {order!r}."
                warnings.warn(LowdoseWarning(path, problem), stacklevel=3)
            return header
    return _parsed(raw, first)  # whose contradiction is then named


def _parsed(raw: bytes, order: _Order) -> NDArray[Any]:
    header = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)
    return header.reshape(())


def _is_plausible(header: NDArray[Any]) -> bool:
    mode = int(header["mode"])
    sides = int(header["nx"]), int(header["ny"])
    return (mode in _MODES or mode in _COMPLEX_MODES) and all(0 < n < 1 << 20 for n in sides)


def _order(header: NDArray[Any]) -> _Order:
    return ">" if header.dtype["nx"] == np.dtype(">i4") else "<"


def _stored_layout(path: Path, header: NDArray[Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape (N, H, W) and type of the pixels as they are in the file."""
    mode, nsymbt = int(header["mode"]), int(header["nsymbt"])
    nz, ny, nx, mz = (int(header[name]) for name in ("nz", "ny", "nx", "mz"))
    if mode in _COMPLEX_MODES:
        problem = f"holds complex numbers (mode {mode}). Write their amplitude to a file first."
        raise UnsupportedContentError(path, problem)
    if mode not in _MODES:
        known = ", ".join(map(str, _MODES))
        raise MalformedFileError(path, f"its header says mode {mode}; expected one of {known}.")
    if nsymbt < 0:
        raise MalformedFileError(path, f"claims an extended header of {nsymbt} bytes.")
    if 401 <= header["ispg"] <= 630 and 0 < mz < nz:
        problem = f"holds {nz // mz} volumes of {mz} sections each. Split it into one file each."
        raise UnsupportedContentError(path, problem)
    dtype = np.dtype("u1" if mode == 0 and _is_imod_unsigned(header) else _MODES[mode])
    return (nz, ny, (nx + 1) // 2 if mode == 101 else nx), dtype.newbyteorder(_order(header))


def _is_imod_unsigned(header: NDArray[Any]) -> bool:
    imod = header.view(_IMOD.newbyteorder(_order(header)))
    return int(imod["stamp"]) == _IMOD_STAMP and not int(imod["flags"]) & 1


def _decoded(
    path: Path, stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Exactly as many bytes as the header claims, whatever else the stream would decode to."""
    pixels = np.empty(shape, dtype)
    target = pixels.reshape(-1).view(np.uint8).data
    filled = 0
    while count := stream.readinto(target[filled : filled + (1 << 20)]):  # type: ignore[attr-defined]
        filled += count
    if filled < len(target):
        problem = f"cut short: {filled} bytes of pixels, and the header promises {len(target)}."
        raise MalformedFileError(path, problem)
    return pixels


def _warn_of_rest(path: Path, stream: BinaryIO, end: int) -> None:
    """Warn of bytes after the pixels; in a compressed stream this also checks its checksum."""
    if end:
        stream.seek(end)
    if stream.read(1):
        problem = "has more bytes after the last pixel than its header promises; ignored."
        warnings.warn(LowdoseWarning(path, problem), stacklevel=3)


def _usable(pixels: NDArray[Any], header: NDArray[Any]) -> NDArray[Any]:
    """Pixels in native byte order, one to an element, shape (H, W) if there is one frame."""
    if header["mode"] == 101:
        pairs = np.stack([pixels & 15, pixels >> 4], axis=-1)
        pixels = pairs.reshape(*pixels.shape[:2], -1)[..., : int(header["nx"])]
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels[0] if pixels.shape[0] == 1 else pixels


def _axes(header: NDArray[Any], pixel_size: Mapping[str, float]) -> tuple[Axis, Axis, Axis]:
    """Axes z or frame, y and x, in Å; `pixel_size` is asked where the header says nothing."""
    steps: dict[str, float | None] = {}
    for name in "xyz":
        cell, grid = float(header["cella"][name]), int(header["m" + name])
        is_known = math.isfinite(cell) and cell > 0 and grid > 0
        steps[name] = cell / grid if is_known else pixel_size.get(name)
    is_stack = header["ispg"] == 0 or header["mz"] == 1
    first = Axis("frame") if is_stack else Axis("z", steps["z"], "Å")
    return first, Axis("y", steps["y"], "Å"), Axis("x", steps["x"], "Å")


def _fei_facts(header: NDArray[Any], extended: bytes) -> tuple[dict[str, float], dict[str, float]]:
    """Metadata, and pixel size in Å, from the first record of an FEI extended header."""
    dtype = get_ext_header_dtype(header["exttyp"].item(), _order(header))
    if dtype is None or len(extended) < dtype.itemsize:
        return {}, {}
    record = np.frombuffer(extended, dtype, 1)[0]
    if record["Metadata size"] != dtype.itemsize:
        return {}, {}
    facts = {key: float(record[name]) * factor for key, name, factor in _FEI_FACTS}
    sizes = {name: float(record[f"Pixel size {name.upper()}"]) * 1e10 for name in "xy"}
    return _known(facts), _known(sizes)


def _known(facts: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in facts.items() if math.isfinite(value) and value > 0}


def _write(path: Path, micrograph: Micrograph) -> None:
    header, extended = _template(micrograph)
    dtype = _written_dtype(micrograph.pixels.dtype).newbyteorder(_order(header))
    with open(path, "wb") as file:
        file.write(bytes(_HEADER_BYTES))
        file.write(extended)
        statistics = _write_pixels(file, micrograph.pixels, dtype)
        _fill_header(header, micrograph, dtype, {**statistics, "nsymbt": len(extended)})
        file.seek(0)
        file.write(header.tobytes())


def _template(micrograph: Micrograph) -> tuple[NDArray[Any], bytes]:
    """Header and extended header of the MRC file it came from, in its byte order, or new ones."""
    source = micrograph.source
    if source is not None and source.format == MRC.name and "header" in source.header:
        kept = source.header
        return _parsed(kept["header"], kept["order"]).copy(), kept["extended"]
    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    header["cellb"] = (90, 90, 90)
    header["ispg"] = int(micrograph.axes[0].name == "z")
    return header, b""


def _written_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    written = np.dtype(_WRITTEN_AS.get(dtype.name, dtype))
    if written.str[1:] not in _MODES.values():
        raise OutputError(f"MRC cannot hold {dtype} pixels; convert them to float32.")
    return written


def _write_pixels(file: BinaryIO, pixels: NDArray[Any], dtype: np.dtype[Any]) -> dict[str, float]:
    """Stream `pixels` to `file`; return the header's statistics of what was written."""
    shift = float(pixels[(0,) * pixels.ndim])  # so that squares of small differences are summed
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for block in row_blocks(pixels):
        _check_range(block, dtype)
        written = np.ascontiguousarray(block, dtype)
        file.write(written.data)
        low, high = min(low, float(written.min())), max(high, float(written.max()))
        values = written.astype(np.float64).ravel() - shift
        total, squares = total + float(values.sum()), squares + float(np.square(values).sum())
    mean = total / pixels.size
    rms = math.sqrt(max(squares / pixels.size - mean**2, 0.0))
    return {"dmin": low, "dmax": high, "dmean": mean + shift, "rms": rms}


def _check_range(block: NDArray[Any], dtype: np.dtype[Any]) -> None:
    if block.dtype.name in _WRITTEN_AS and dtype.kind == "f":
        largest = max(-float(block.min()), float(block.max()))
        if largest > _LARGEST[block.dtype.kind]:
            raise OutputError(
                f"holds {block.dtype} values up to {largest:.0f}, more than MRC can keep exactly. "
                "Convert them to float32 first, or choose .tif."
            )


def _fill_header(
    header: NDArray[Any], micrograph: Micrograph, dtype: np.dtype[Any], facts: Mapping[str, float]
) -> None:
    """Make `header` true of the file just written; what it need not change it keeps."""
    shape = (1, *micrograph.shape)[-3:]
    is_volume = header["ispg"] != 0 and header["mz"] != 1
    if shape != tuple(int(header[name]) for name in ("nz", "ny", "nx")):
        header["mz"], header["my"], header["mx"] = (shape[0] if is_volume else 1, *shape[1:])
    header["nz"], header["ny"], header["nx"] = shape
    header["mode"] = next(mode for mode, kind in _MODES.items() if kind == dtype.str[1:])
    header["map"], header["machst"] = b"MAP ", _STAMPS[_order(header)]
    header["nversion"] = 20141
    if {int(header[name]) for name in ("mapc", "mapr", "maps")} != {1, 2, 3}:
        header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    for name, value in facts.items():
        header[name] = value
    _fill_cell(header, micrograph)
    _fill_labels(header, micrograph.history)
    imod = header.view(_IMOD.newbyteorder(_order(header)))
    if imod["stamp"] == _IMOD_STAMP:
        imod["flags"] |= 1  # we write bytes as MRC2014 has them, signed


def _fill_cell(header: NDArray[Any], micrograph: Micrograph) -> None:
    for name, axis in zip("xyz", reversed(micrograph.axes), strict=False):
        header["m" + name] = max(1, int(header["m" + name]))
        if axis.step_nm is not None:
            header["cella"][name] = axis.step_nm * 10 * int(header["m" + name])
        elif not header["cella"][name] > 0:  # NaN too
            header["cella"][name] = 0


def _labels(header: NDArray[Any]) -> tuple[str, ...]:
    """Labels that are not blank, wherever they stand: programs count them differently."""
    texts = (label.decode("latin-1") for label in header["label"].tolist())
    return tuple(" ".join(text.split()) for text in texts if text.strip())


def _fill_labels(header: NDArray[Any], history: tuple[str, ...]) -> None:
    """Add what is new in `history` to the labels; when all ten are full the oldest go."""
    known = _labels(header)
    new = history[len(known) :] if history[: len(known)] == known else history
    notes = [" ".join(note.translate(_ASCII).split()) for note in new]
    written = (_shortened(note).encode("ascii", "replace") for note in notes)
    labels = [*header["label"].tolist(), *written]
    used = [label for label in labels if label.strip()][-10:]
    header["label"] = used + [b""] * (10 - len(used))
    header["nlabl"] = len(used)


def _shortened(note: str) -> str:
    """As much as a label holds, without a part of a word: half a number is a wrong one."""
    if len(note) <= _LABEL:
        return note
    words, space, _ = note[: _LABEL - 2].rpartition(" ")
    return f"{words} .." if space else note[:_LABEL]


MRC = Format(
    name="mrc",
    description="MRC2014 and its relatives (.mrc .mrcs .st .rec .map ...), plain, .gz or .bz2",
    suffixes=tuple(
        stem + packing
        for packing in ("", ".gz", ".bz2")
        for stem in (".mrc", ".mrcs", ".st", ".rec", ".map", ".ali", ".preali", ".ccp4")
    ),
    sniff=_sniff,
    read=_read,
    write=_write,
)
