"""What microscopes and programs write into TIFF files: pixel sizes and acquisition facts.

TIFF has no field for a pixel size of nanometres, so every maker found a place of its own. One
function per maker and one table to ask them in turn. tifffile parses the tags.
"""

from __future__ import annotations

import contextlib
import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

# A tifffile.TiffFile and one of its TiffPageSeries. Typed loosely because every block may be
# absent (None), which `_ABSENT` catches once for all.
_Tiff = Any
_Series = Any

# Where a maker's block is cut short or another version of it lacks a field.
_ABSENT = (
    KeyError, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, ET.ParseError,
)  # fmt: skip


class Grid(NamedTuple):
    """Steps of the pixel grid: `y` and `x` in `unit`, `frame` in `frame_unit`."""

    y: float
    x: float
    unit: str
    frame: float | None = None
    frame_unit: str | None = None
    y_offset: float = 0.0
    x_offset: float = 0.0
    frame_offset: float = 0.0


def grid(tiff: _Tiff, series: _Series) -> Grid | None:
    """Pixel grid of an image, or None if no known place of the file states one."""
    for find in _GRIDS:
        with contextlib.suppress(*_ABSENT):
            found = find(tiff, series)
            if found and _positive(found.y) and _positive(found.x):
                return found
    return None


def facts(tiff: _Tiff, series: _Series) -> dict[str, Any]:
    """Acquisition facts of an image under lowdose's names."""
    found: dict[str, Any] = {}
    for find in _FACTS:
        with contextlib.suppress(*_ABSENT):
            found |= {key: value for key, value in find(tiff, series) if value not in (None, "")}
    return found


def ome_planes(tiff: _Tiff) -> int:
    """Most planes that an image of the OME header promises; 0 without such a header."""
    with contextlib.suppress(*_ABSENT):
        images = ET.fromstring(tiff.ome_metadata).findall("{*}Image/{*}Pixels")
        sizes = [pixels.attrib for pixels in images]
        return max(math.prod(int(size.get(f"Size{axis}", 1)) for axis in "ZCT") for size in sizes)
    return 0


def notes(tiff: _Tiff) -> dict[str, Any]:
    """What lowdose itself wrote beside the pixels (see `tiff.write`), or nothing."""
    with contextlib.suppress(*_ABSENT):
        text = _ome_image(tiff, 0).findtext("{*}Description")
        found = json.loads(text or "")
        return dict(found["lowdose"])
    return {}


# ---- pixel grids, one function per maker -------------------------------------------------------


def _ome(tiff: _Tiff, series: _Series) -> Grid | None:
    """OME-XML; a length without unit is in µm, says its schema (2016-06)."""
    size = (
        _ome_image(tiff, [each is series for each in tiff.series].index(True))
        .find("{*}Pixels")
        .attrib
    )
    frame, unit = ("TimeIncrement", "s") if "T" in series.axes else ("PhysicalSizeZ", "µm")
    return Grid(
        y=float(size["PhysicalSizeY"]),
        x=_in_unit(
            float(size["PhysicalSizeX"]),
            size.get("PhysicalSizeXUnit", "µm"),
            size.get("PhysicalSizeYUnit", "µm"),
        ),
        unit=size.get("PhysicalSizeYUnit", "µm"),
        frame=float(size[frame]) if frame in size else None,
        frame_unit=size.get(f"{frame}Unit", unit) if frame in size else None,
    )


def _fei(tiff: _Tiff, series: _Series) -> Grid | None:
    """FEI and Thermo Fisher SEM and dual beam, tags 34680 and 34682: metres."""
    found = tiff.fei_metadata
    if "Scan" in found:
        scan = found["Scan"]
        return _metres(scan["PixelHeight"], scan["PixelWidth"])
    beam, image = found["IRBeam"], found["Image"]
    return _metres(beam["VFW"] / image["ResolutionY"], beam["HFW"] / image["ResolutionX"])


def _zeiss(tiff: _Tiff, series: _Series) -> Grid | None:
    """Zeiss SEM, tag 34118: metres a pixel of an image that is 1024 pixels wide."""
    size = float(tiff.sem_metadata[""][3]) * 1024 / series.keyframe.imagewidth
    return _metres(size, size)


def _tvips(tiff: _Tiff, series: _Series) -> Grid | None:
    """TVIPS EM-MENU, tag 37706."""
    found = tiff.tvips_metadata
    return Grid(float(found["PixelSizeY"]), float(found["PixelSizeX"]), "nm")


def _sis(tiff: _Tiff, series: _Series) -> Grid | None:
    """Olympus Soft Imaging Solutions, tags 33560 and 33471, on the page itself: metres."""
    found = _sis_block(series)
    return _metres(found["pixelsizey"], found["pixelsizex"])


def _jeol(tiff: _Tiff, series: _Series) -> Grid | None:
    """JEOL SightX: the resolution tags count pixels on the detector, so divide by magnification."""
    report = _jeol_report(series)
    imaging = report.find("ImageFormingSystem")
    if report.findtext("Eos/EosMode") != "eosTEM" or imaging.findtext("ModeString") != "MAG":
        return None
    y, x = _resolution_nm(series)
    magnification = float(imaging.findtext("SelectorValue"))
    return Grid(y / magnification, x / magnification, "nm")


def _gatan(tiff: _Tiff, series: _Series) -> Grid | None:
    """Gatan DigitalMicrograph, tags 65003 to 65011: unit, origin and step of x, y, frame."""
    tag = {code: series.keyframe.tags.valueof(code) for code in range(65003, 65012)}
    if tag[65003] != tag[65004]:
        return None
    return Grid(
        y=tag[65010],
        x=tag[65009],
        unit=tag[65004],
        frame=tag[65011],
        frame_unit=tag[65005],
        y_offset=tag[65007] or 0.0,
        x_offset=tag[65006] or 0.0,
        frame_offset=tag[65008] or 0.0,
    )


def _imagej(tiff: _Tiff, series: _Series) -> Grid | None:
    """ImageJ: the unit stands in the description, pixels per unit in the resolution tags."""
    found = tiff.imagej_metadata
    unit = str(found["unit"]).replace("\\u00B5", "µ").replace("\\u00C5", "Å")
    per_unit = [series.keyframe.tags.valueof(name) for name in ("YResolution", "XResolution")]
    y, x = (denominator / numerator for numerator, denominator in per_unit)
    if unit in ("", "pixel", "pixels", "inch"):
        return None
    if unit == "cm":
        return _if_microscopic(y * 1e7, x * 1e7)
    timed = "T" in series.axes
    frame = found.get("finterval" if timed else "spacing")
    return Grid(y, x, unit, frame, ("s" if timed else unit) if frame else None)


def _resolution(tiff: _Tiff, series: _Series) -> Grid | None:
    """Plain resolution tags, believed only where they cannot be the dots per inch of a printer."""
    return _if_microscopic(*_resolution_nm(series))


# Asked in this order; vendors' own blocks before what any program may have filled in.
_GRIDS: tuple[Callable[[_Tiff, _Series], Grid | None], ...] = (
    _ome, _fei, _zeiss, _tvips, _sis, _jeol, _gatan, _imagej, _resolution,
)  # fmt: skip


# ---- acquisition facts -------------------------------------------------------------------------

_Facts = Iterator[tuple[str, Any]]


def _fei_facts(tiff: _Tiff, series: _Series) -> _Facts:
    found = tiff.fei_metadata
    beam, scan, detector = (found.get(name, {}) for name in ("Beam", "Scan", "Detectors"))
    if beam.get("HV"):
        yield "voltage_kv", beam["HV"] / 1e3
    yield "dwell_time_s", scan.get("Dwelltime") or None
    yield "instrument", found.get("System", {}).get("SystemType")
    yield "detector", detector.get("Name")


def _zeiss_facts(tiff: _Tiff, series: _Series) -> _Facts:
    found = tiff.sem_metadata
    per_second = {"ns": 1e9, "µs": 1e6, "us": 1e6, "ms": 1e3, "s": 1.0}
    yield "instrument", (found.get("sv_serial_number") or (None, None))[1]
    yield "detector", (found.get("dp_detector_type") or (None, None))[1]
    yield "magnification", (found.get("ap_mag") or (None, None))[1]
    if found["ap_actualkv"][2] == "kV":
        yield "voltage_kv", found["ap_actualkv"][1]
    _, dwell, unit = found["dp_dwell_time"]
    yield "dwell_time_s", dwell / per_second[unit]


def _tvips_facts(tiff: _Tiff, series: _Series) -> _Facts:
    found = tiff.tvips_metadata
    yield "voltage_kv", float(found["TemHighTension"]) / 1e3 or None
    yield "magnification", float(found["TemMagnification"]) or None
    yield "instrument", str(found["TemType"]).strip("\0 ")
    yield "detector", str(found["CameraType"]).strip("\0 ")


def _sis_facts(tiff: _Tiff, series: _Series) -> _Facts:
    found = _sis_block(series)
    yield "magnification", found.get("magnification")
    yield "detector", found.get("cameraname")


def _jeol_facts(tiff: _Tiff, series: _Series) -> _Facts:
    report = _jeol_report(series)
    yield "instrument", report.findtext("Instruments")
    yield "voltage_kv", float(report.findtext("ElectronGun/AccelerationVoltage")) / 1e3
    yield "magnification", float(report.findtext("ImageFormingSystem/SelectorValue"))


def _gatan_facts(tiff: _Tiff, series: _Series) -> _Facts:
    """Intensities: ``value = scale * (pixel - offset)`` in the unit."""
    tags = series.keyframe.tags
    if tags.valueof(65022):
        yield "intensity_unit", str(tags.valueof(65022))
        yield "intensity_offset", tags.valueof(65024)
        yield "intensity_scale", tags.valueof(65025)


_FACTS = (_fei_facts, _zeiss_facts, _tvips_facts, _sis_facts, _jeol_facts, _gatan_facts)


# ---- shared ------------------------------------------------------------------------------------


def _ome_image(tiff: _Tiff, index: int) -> Any:
    images = ET.fromstring(tiff.ome_metadata).findall("{*}Image")
    return images[index if index < len(images) else 0]


def _sis_block(series: _Series) -> Mapping[str, Any]:
    tags = series.keyframe.tags
    return dict(tags.valueof(33471) or {}) | dict(tags.valueof(33560) or {})


def _jeol_report(series: _Series) -> Any:
    page = series.keyframe
    if not str(page.tags.valueof("Make")).startswith("JEOL"):
        raise KeyError("Make")
    return ET.fromstring(page.description.strip(" \r\n\t\x01\x00"))


def _resolution_nm(series: _Series) -> tuple[float, float]:
    """Pixel size that the resolution tags claim, (y, x) in nm."""
    tags = series.keyframe.tags
    nm = {2: 25.4e6, 3: 1e7}[int(tags.valueof("ResolutionUnit"))]  # inch, centimetre
    y, x = (tags.valueof(name) for name in ("YResolution", "XResolution"))
    return nm * y[1] / y[0], nm * x[1] / x[0]


def _metres(y: Any, x: Any) -> Grid:
    return Grid(float(y) * 1e9, float(x) * 1e9, "nm")


def _if_microscopic(y_nm: float, x_nm: float) -> Grid | None:
    """Grid of that pixel size, unless it is above 5 µm: 72 dpi are 353 µm, 2400 dpi 11 µm."""
    return Grid(y_nm, x_nm, "nm") if 0 < max(y_nm, x_nm) < 5e3 else None


def _in_unit(length: float, unit: str, wanted: str) -> float:
    powers = {"m": 0, "mm": -3, "µm": -6, "nm": -9, "Å": -10, "pm": -12}
    if unit == wanted:
        return length
    return float(length * 10.0 ** (powers[unit] - powers[wanted]))


def _positive(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and value > 0
