"""TIFF: plain, multi-page, ImageJ, OME and instruments' own, over tifffile.

What the tags claim is checked against the file before anything is allocated. The writer makes
OME-TIFF, whose pixel size every program reads right, and adds DigitalMicrograph's tags for
those that know only these (HyperSpy).
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from lowdose import __version__
from lowdose.errors import (
    LimitError,
    LowdoseWarning,
    MalformedFileError,
    MissingExtraError,
    OutputError,
    UnsupportedContentError,
)
from lowdose.io import tiff_tags
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_decoded, check_shape, check_stored
from lowdose.io.logs import logs_as_warnings
from lowdose.micrograph import Axis, Micrograph, Source

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, either byte order
_FRAME_AXES = {"T": "t", "Z": "z", "C": "channel"}  # tifffile's letter: our name
_OME_DTYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_OME_UNITS = {"m": "m", "mm": "mm", "um": "µm", "nm": "nm", "Å": "Å", "pm": "pm"}
_COLOURS = (2, 5, 6, 8, 32803)  # photometric: RGB, CMYK, YCbCr, CIELab, Bayer mosaic
_MOST_TAGS = 64  # of a directory that are looked at for those below; tags are sorted
# Tags of which every image has one each: its width, its height, and where its pixels are.
_NEEDED_TAGS = ({256}, {257}, {273, 324, 513})


def sniff(head: bytes, path: Path) -> bool:
    """Whether the file starts like a TIFF."""
    return head.startswith(_MAGIC)


def read(path: Path, limits: Limits) -> Micrograph:
    """Read the image or stack of a TIFF file; see `formats.read`."""
    pages = check_directories(path, limits)
    # _multifile: OME-TIFF may name other files, which tifffile would open and read.
    with logs_as_warnings("tifffile"), tifffile.TiffFile(path, _multifile=False) as tiff:
        check_planes(path, tiff, pages)
        series = _choose(path, tiff)
        check_claims(path, series, limits)
        notes = tiff_tags.notes(tiff)
        pixels = _pixels(path, tiff, series)
        if len(notes.get("axes", ())) == 3 and pixels.ndim == 2:
            pixels = pixels[np.newaxis]  # tifffile drops a frame axis of length one
        return Micrograph(
            pixels=pixels,
            axes=_axes(tiff, series, pixels.ndim, notes.get("axes", [])),
            metadata=notes.get("metadata", {}) | tiff_tags.facts(tiff, series),
            source=Source(path, "tiff", series.dtype, _header(tiff, series, notes)),
            history=tuple(notes.get("history", ())),
        )


def _written_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == np.float16 else dtype  # OME knows no half floats


def refusal(dtype: np.dtype[Any], frames: int) -> str:
    """Why a TIFF cannot hold so many frames of such pixels, or nothing."""
    if _written_dtype(dtype).name not in _OME_DTYPES:
        return f"TIFF cannot hold {dtype} pixels; write .npy or .mrc instead."
    return ""


def write(path: Path, micrograph: Micrograph) -> None:
    """Write an OME-TIFF, one page a frame; see `formats.write`."""
    if problem := refusal(micrograph.pixels.dtype, micrograph.frame_count):
        raise OutputError(f"{path}: {problem}")
    dtype = _written_dtype(micrograph.pixels.dtype)
    header = micrograph.source.header if micrograph.source else {}
    frames = (np.ascontiguousarray(frame, dtype) for frame in micrograph.frames())
    tifffile.imwrite(
        path,
        frames,
        shape=micrograph.shape,
        dtype=dtype,
        ome=True,
        # What goes beside the pixels is below 32 MiB, but for absurdly many pages.
        bigtiff=micrograph.pixels.size * dtype.itemsize > 2**32 - 2**25,
        photometric="miniswhite" if header.get("miniswhite") else "minisblack",
        software=f"lowdose {__version__}",
        metadata=_ome_metadata(micrograph, header),
        **_calibration_tags(micrograph.axes),
    )


TIFF = Format(
    name="tiff",
    description="TIFF: plain, multi-page, BigTIFF, ImageJ, OME and instruments' own",
    suffixes=(".tif", ".tiff"),
    sniff=sniff,
    read=read,
    write=write,
    refusal=refusal,
)


# ---- before anything is allocated --------------------------------------------------------------


def check_directories(path: Path, limits: Limits) -> int:
    """Follow the chain of image directories once; tifffile follows a long ring for ever.

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    MalformedFileError
        If it leads out of the file, back to where it was, or to a directory of no image:
        tifffile spends seconds on thousands of them.
    LimitError
        If there are more than allowed.
    """
    seen: set[int] = set()
    with open(path, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = b"+" in head[:4]
        count_format, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
        try:
            (offset,) = struct.unpack_from(order + link, head, 8 if big else 4)
            while offset and offset not in seen:
                seen.add(offset)
                if len(seen) > limits.pages:
                    problem = f"holds more than {limits.pages} pages. Cut it into smaller files."
                    raise LimitError(path, problem)
                file.seek(offset)
                (count,) = _unpack(file, order + count_format)
                entries = file.read(min(count, _MOST_TAGS) * entry)
                tags = {tag for (tag,) in struct.iter_unpack(f"{order}H{entry - 2}x", entries)}
                if not all(tags & needed for needed in _NEEDED_TAGS):
                    problem = f"damaged: image directory {len(seen) - 1} describes no image."
                    raise MalformedFileError(path, f"{problem} Copy it again from the source.")
                file.seek(count * entry - len(entries), os.SEEK_CUR)
                (offset,) = _unpack(file, order + link)
        except (struct.error, OSError, OverflowError) as err:
            raise MalformedFileError(
                path, f"cut short or damaged: image directory {len(seen)} lies beyond its end."
            ) from err
    if offset:
        raise MalformedFileError(path, f"damaged: its {len(seen)} image directories form a ring.")
    if not seen:
        raise MalformedFileError(path, "a TIFF header without any image behind it.")
    return len(seen)


def check_planes(path: Path, tiff: tifffile.TiffFile, pages: int) -> None:
    """Refuse an OME header of many more planes than pages: tifffile lists them all.

    Raises
    ------
    MalformedFileError
        If it promises over 10 000 planes that are not there.
    """
    planes = tiff_tags.ome_planes(tiff)
    if planes > 10_000 + 4 * pages:  # colours share a page
        raise MalformedFileError(
            path, f"its OME header promises {planes} planes, and it holds {pages}. Copy it again."
        )


def check_claims(path: Path, series: tifffile.TiffPageSeries, limits: Limits) -> None:
    """Refuse an image whose pixels the file cannot hold."""
    if series.dataoffset is not None:
        return check_stored(path, series.shape, series.dtype, series.dataoffset, limits)
    page = series.keyframe
    segments = [_segments(path, frame, math.prod(page.chunked)) for frame in series.pages]
    stored = min(sum(map(sum, segments)), path.stat().st_size)
    if page.compression == 1:
        needed = check_shape(path, series.shape, limits) * page.bitspersample // 8
        if needed > stored:
            raise MalformedFileError(
                path, f"promises {needed} bytes of pixels and holds {stored}. Copy it again."
            )
    else:
        check_decoded(path, series.shape, series.dtype, stored, limits)
        if find_spec("imagecodecs") is None:  # without it tifffile inflates whatever it is given
            raise MissingExtraError(
                f"{path}: is a compressed TIFF; it needs one more package: pip install imagecodecs"
            )
    # One segment is decoded whole, even where it reaches far beyond the image.
    check_decoded(path, page.chunks, series.dtype, max(map(max, segments)), limits)
    return None


def _segments(path: Path, page: Any, count: int) -> tuple[int, ...]:
    """Byte counts of the strips or tiles of a page, all of them present and inside the file."""
    size = path.stat().st_size
    if page is None or len(page.dataoffsets) < count or len(page.databytecounts) < count:
        raise MalformedFileError(path, "some of its frames, strips or tiles are missing.")
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if offset <= 0 or length <= 0 or offset + length > size:
            raise MalformedFileError(
                path,
                f"cut short: a strip or tile of {length} bytes at {offset} is not inside "
                f"the {size} bytes of the file. Copy it again from the source.",
            )
    return tuple(page.databytecounts)


def _unpack(file: Any, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


# ---- reading -----------------------------------------------------------------------------------


def _choose(path: Path, tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """The image among previews and thumbnails."""
    refusals = [_refusal(series) for series in tiff.series]
    images = [series for series, why in zip(tiff.series, refusals, strict=True) if why is None]
    if not images:
        raise UnsupportedContentError(path, str(refusals[0]) if refusals else "holds no image.")
    chosen = max(images, key=lambda series: series.size)
    for series in images:
        if series is not chosen and series.size * 4 > chosen.size:
            raise UnsupportedContentError(
                path,
                f"holds images of different kinds ({_words(chosen)} and {_words(series)}); "
                "put each into a file of its own.",
            )
    rest = [series for series in tiff.series if series is not chosen]
    if any(not series.keyframe.is_reduced for series in rest):
        left = ", ".join(_words(series) for series in rest)
        problem = f"read its image of {_words(chosen)} pixels; left out {left}."
        warnings.warn(LowdoseWarning(path, problem), stacklevel=2)
    return chosen


def _refusal(series: tifffile.TiffPageSeries) -> str | None:
    """Why a series is no image to denoise, or None."""
    page = series.keyframe
    kind: str = "" if series.dtype is None else series.dtype.kind
    colours = page.photometric in _COLOURS or "S" in series.axes
    if page.photometric == 3:
        colours = not _is_grey_ramp(page.colormap)
    reasons = (
        (not kind, f"has pixels of {page.bitspersample} bits in a layout unknown to tifffile."),
        (colours, "is a colour image; convert it to greyscale first (ImageJ: Image > Type)."),
        (kind == "c", "holds complex numbers (an FFT, a wave); save their amplitude as an image."),
        (kind == "b", "is a binary mask of one bit a pixel, not a micrograph."),
        (kind not in "uif", f"holds {series.dtype} records, not pixels."),
        (
            series.ndim not in (2, 3) or not series.axes.endswith("YX"),
            f"has {_words(series)} pixels along the axes {series.axes}; lowdose reads images and "
            "stacks (one axis besides y and x). Split it into stacks first.",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _is_grey_ramp(colormap: NDArray[Any] | None) -> bool:
    """Whether a palette shows each pixel value as a grey in proportion to it (SEMs write this)."""
    if colormap is None or (colormap[0] != colormap[1]).any() or (colormap[1] != colormap[2]).any():
        return False
    return bool((np.diff(colormap[0].astype(np.int64)) > 0).all())


def _pixels(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> NDArray[Any]:
    """Pixels in native byte order, mapped where they lie in one piece."""
    if series.dataoffset is None:
        return np.asarray(series.asarray())
    stored = series.dtype.newbyteorder(tiff.byteorder)
    pixels = np.memmap(path, stored, "r", series.dataoffset, tuple(series.shape))
    swapped = tiff.byteorder != {"little": "<", "big": ">"}[sys.byteorder]
    return pixels.astype(series.dtype.newbyteorder("=")) if swapped else pixels


def _axes(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, ndim: int, own: list[dict[str, Any]]
) -> tuple[Axis, ...]:
    grid = tiff_tags.grid(tiff, series)
    if len(own) == ndim and (grid is None or _agree(grid, own)):
        return tuple(Axis(**axis) for axis in own)
    name = _FRAME_AXES.get(series.axes[0], "frame")
    if grid is None:
        axes = (Axis(name), Axis("y"), Axis("x"))
    else:
        frame = grid.frame if grid.frame and grid.frame > 0 else None
        axes = (
            Axis(name, frame, grid.frame_unit if frame else None, grid.frame_offset),
            Axis("y", grid.y, grid.unit, grid.y_offset),
            Axis("x", grid.x, grid.unit, grid.x_offset),
        )
    return axes[-ndim:]


def _agree(grid: tiff_tags.Grid, own: list[dict[str, Any]]) -> bool:
    """Whether nobody has rescaled the image since lowdose noted its axes."""
    stated = Axis("x", grid.x, grid.unit).step_nm
    noted = Axis(**own[-1]).step_nm
    return noted is None or stated is None or math.isclose(stated, noted, rel_tol=1e-4)


def _header(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, notes: dict[str, Any]
) -> dict[str, Any]:
    """What `write` wants back."""
    page = series.keyframe
    description = notes.get("description", "" if tiff.is_ome else page.description)
    header = {"description": description} if description else {}
    return header | ({"miniswhite": True} if page.photometric == 0 else {})


# ---- writing -----------------------------------------------------------------------------------


def _ome_metadata(micrograph: Micrograph, header: Any) -> dict[str, Any]:
    """OME attributes, and as its description what OME has no place for, in JSON."""
    notes = {
        "version": __version__,
        "axes": [asdict(axis) for axis in micrograph.axes],
        "metadata": dict(micrograph.metadata),
        "history": list(micrograph.history),
        "description": str(header.get("description", "")),
    }
    *frame, y, x = micrograph.axes
    letter = "Z" if frame and frame[0].name == "z" else "T"
    found: dict[str, Any] = {
        "axes": f"{letter}YX" if frame else "YX",
        "Description": json.dumps({"lowdose": notes}, ensure_ascii=False),
    }
    lengths = [("X", x), ("Y", y)] + [("Z", axis) for axis in frame if letter == "Z"]
    for name, axis in lengths:
        if axis.step_nm is not None:
            found[f"PhysicalSize{name}"] = axis.scale
            found[f"PhysicalSize{name}Unit"] = _OME_UNITS[str(axis.unit)]
    if frame and letter == "T" and frame[0].scale and frame[0].unit == "s":
        found |= {"TimeIncrement": frame[0].scale, "TimeIncrementUnit": "s"}
    return found


def _calibration_tags(axes: tuple[Axis, ...]) -> dict[str, Any]:
    """Resolution tags, and DigitalMicrograph's (see `tiff_tags._gatan`)."""
    *frame, y, x = axes
    if not (y.scale and x.scale and y.unit and x.unit):
        return {}
    # x, y, frame: 65003 to 65005 the unit, 65006 to 65008 the origin, 65009 to 65011 the step.
    extra = []
    for index, axis in enumerate((x, y, *frame)):
        unit = (axis.unit or "").replace("um", "µm").encode("latin-1", "replace")
        extra += [
            (65003 + index, "s", 0, unit, True),
            (65006 + index, "d", 1, axis.offset, True),
            (65009 + index, "d", 1, axis.scale or 1.0, True),
        ]
    found: dict[str, Any] = {"extratags": extra}
    if y.step_nm and x.step_nm and 0.01 <= min(y.step_nm, x.step_nm) <= 1e7:
        found["resolution"] = (1e7 / x.step_nm, 1e7 / y.step_nm)
        found["resolutionunit"] = "CENTIMETER"
    return found


def _words(series: tifffile.TiffPageSeries) -> str:
    return " x ".join(str(length) for length in series.shape)
