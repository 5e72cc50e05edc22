"""TIFF: what is read, what is refused before memory is taken, what survives a round trip."""

import contextlib
import struct
import tracemalloc
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
import tifffile

from lowdose.errors import (
    InputError,
    LimitError,
    LowdoseWarning,
    MalformedFileError,
    MissingExtraError,
    OutputError,
    UnsupportedContentError,
)
from lowdose.io.guard import Limits
from lowdose.io.tiff import TIFF
from lowdose.micrograph import Axis, Micrograph

DTYPES = ["int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"]
needs_imagecodecs = pytest.mark.skipif(not find_spec("imagecodecs"), reason="needs imagecodecs")


def ramp(*shape, dtype="uint16"):
    return (np.arange(np.prod(shape)) % 120).astype(dtype).reshape(shape)


def read(path, limits=Limits()):  # noqa: B008 - frozen
    return TIFF.read(path, limits)


def through_file(path, micrograph):
    TIFF.write(path, micrograph)
    return read(path)


def ifd(order, *entries, link=0):
    """One classic image directory: (tag, type, count, value) entries, values inline."""
    body = b"".join(
        struct.pack(order + "HHI", tag, kind, count)
        + struct.pack(order + ("H2x" if kind == 3 else "I"), value)
        for tag, kind, count, value in entries
    )
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", link)


def plain_ifd(width, height, *, offset, length, compression=1, order="<", link=0):
    return ifd(
        order,
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, offset), (278, 4, 1, height), (279, 4, 1, length),
        link=link,
    )  # fmt: skip


def write_bytes(path, directory, tail=b"", order="<"):
    mark = b"II" if order == "<" else b"MM"
    path.write_bytes(mark + struct.pack(order + "HI", 42, 8) + directory + tail)
    return path


# ---- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_header_built_byte_by_byte(tmp_path, order):
    directory = plain_ifd(3, 2, offset=8 + 102, length=6, order=order)
    path = write_bytes(tmp_path / "a.tif", directory, bytes([1, 2, 3, 4, 5, 6]), order)
    assert read(path).pixels.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_plain_pixels_come_in_native_order(tmp_path, dtype, byteorder, bigtiff):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(5, 7, dtype=dtype), byteorder=byteorder, bigtiff=bigtiff)
    found = read(path).pixels
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, ramp(5, 7, dtype=dtype))


def test_a_stack_of_many_small_pages_opens(tmp_path):
    count = 5000
    size = len(plain_ifd(1, 1, offset=8, length=1))
    chain = b"".join(
        plain_ifd(2, 1, offset=8 + count * size + 2 * page, length=2,
                  link=8 + (page + 1) * size if page < count - 1 else 0)
        for page in range(count)
    )  # fmt: skip
    path = write_bytes(tmp_path / "a.tif", chain, np.arange(count, dtype=">u2").tobytes())
    pixels = read(path).pixels
    assert pixels.shape == (count, 1, 2)
    assert pixels[4999].tolist() == [[4999 >> 8, 4999 & 255]]


def test_more_pages_than_the_limit_are_refused(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp(5, 8, 9), photometric="minisblack", metadata=None)
    assert read(path, limits=Limits(pages=5)).frame_count == 5
    with pytest.raises(LimitError, match="more than 4 pages"):
        read(path, limits=Limits(pages=4))


def test_plain_pixels_are_a_read_only_map(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp(3, 5, 7), photometric="minisblack")
    pixels = read(tmp_path / "a.tif").pixels
    assert isinstance(pixels, np.memmap)
    assert not pixels.flags.writeable


@needs_imagecodecs
@pytest.mark.parametrize("layout", [{"rowsperstrip": 3}, {"tile": (16, 16)}])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
def test_strips_tiles_and_compression(tmp_path, layout, compression):
    pixels = ramp(2, 33, 41)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, photometric="minisblack", **layout)
    np.testing.assert_array_equal(read(path).pixels, pixels)


def test_imagej_stack_has_named_axis_spacing_and_unit(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        ramp(3, 5, 7),
        imagej=True,
        resolution=(2.0, 4.0),
        metadata={"axes": "ZYX", "unit": "\\u00B5m", "spacing": 1.5},
    )
    z, y, x = read(path).axes
    assert (z.name, z.scale, z.unit) == ("z", 1.5, "um")
    assert (y.scale, y.unit, x.scale) == (0.25, "um", 0.5)


def test_hyperstack_of_single_planes_is_an_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(1, 1, 1, 5, 7), metadata={"axes": "TCZYX"})
    assert read(tmp_path / "a.ome.tif").shape == (5, 7)


def test_ome_units_without_a_name_are_micrometres(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, ramp(5, 7), metadata={"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5})
    assert read(path).pixel_size_nm == (500.0, 250.0)


@pytest.mark.parametrize("dpi", [72, 96, 300, 1200])
def test_printer_resolutions_are_no_pixel_size(tmp_path, dpi):
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 7), resolution=(dpi, dpi), resolutionunit="INCH")
    assert read(tmp_path / "a.tif").pixel_size_nm is None


def test_microscopic_resolution_is_a_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(5, 7), resolution=(2e6, 1e6), resolutionunit="CENTIMETER")
    assert read(path).pixel_size_nm == (10.0, 5.0)


def test_grey_palette_is_an_image_and_a_coloured_one_is_not(tmp_path):
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(
        tmp_path / "grey.tif", ramp(5, 7, dtype="uint8"), photometric="palette", colormap=grey
    )
    assert read(tmp_path / "grey.tif").shape == (5, 7)
    grey[1] = 0
    tifffile.imwrite(
        tmp_path / "red.tif", ramp(5, 7, dtype="uint8"), photometric="palette", colormap=grey
    )
    with pytest.raises(UnsupportedContentError, match="palette"):
        read(tmp_path / "red.tif")


def test_preview_is_left_out_with_a_warning(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb")
        tiff.write(ramp(32, 40), photometric="minisblack")
    with pytest.warns(LowdoseWarning, match="left out 8 x 8 x 3"):
        assert read(tmp_path / "a.tif").shape == (32, 40)


def test_reduced_page_is_left_out_in_silence(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(ramp(32, 40), photometric="minisblack")
        tiff.write(ramp(8, 10), photometric="minisblack", subfiletype=1)
    assert read(tmp_path / "a.tif").shape == (32, 40)


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (np.zeros((8, 8, 3), np.uint8), {"photometric": "rgb"}, "colour"),
        (np.zeros((8, 8), np.complex64), {}, "complex"),
        (np.zeros((8, 8), bool), {}, "mask"),
        (np.zeros((2, 3, 8, 8), np.uint8), {"ome": True, "metadata": {"axes": "TZYX"}}, "axes"),
    ],
)
def test_no_micrograph_is_refused_with_the_reason(tmp_path, pixels, options, reason):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(UnsupportedContentError, match=reason):
        read(tmp_path / "a.tif")


def test_pages_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(ramp(32, 40), photometric="minisblack")
        tiff.write(ramp(30, 40), photometric="minisblack")
    with pytest.raises(UnsupportedContentError, match="different kinds"):
        read(tmp_path / "a.tif")


def test_ome_file_never_opens_another(tmp_path):
    """Multi-file OME-TIFF names its siblings; only the file that was given is read."""
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(5, 7), ome=True)
    xml = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    uuid = '<UUID FileName="b.ome.tif">urn:uuid:0</UUID>'
    named = xml.replace("<TiffData", "<TiffData", 1)
    start = named.index("<TiffData")
    end = named.index("/>", start)
    named = named[:end] + f">{uuid}</TiffData>" + named[end + 2 :]
    tifffile.imwrite(tmp_path / "b.ome.tif", ramp(9, 9) + 1, ome=True)
    tifffile.tiffcomment(tmp_path / "a.ome.tif", named)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif").pixels, ramp(5, 7))


# ---- files that lie ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(5, 16))
def test_stump_is_malformed(tmp_path, length):
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 7))
    stump = (tmp_path / "a.tif").read_bytes()[:length]
    (tmp_path / "a.tif").write_bytes(stump)
    with pytest.raises(MalformedFileError):
        read(tmp_path / "a.tif")


@needs_imagecodecs
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cut_file_is_refused_unless_every_pixel_is_left(tmp_path, compression):
    whole = tmp_path / "whole.tif"
    noise = np.random.default_rng(0).integers(0, 255, (2, 30, 30)).astype(np.uint8)
    tifffile.imwrite(whole, noise, compression=compression, photometric="minisblack")
    content = whole.read_bytes()
    for end in range(8, len(content) - 1, len(content) // 25):
        (tmp_path / "cut.tif").write_bytes(content[:end])
        try:
            np.testing.assert_array_equal(read(tmp_path / "cut.tif").pixels, noise)
        except InputError:
            continue
        assert end > noise.size or compression


@pytest.mark.parametrize("compression", [1, 8])
def test_huge_claim_is_refused_without_memory(tmp_path, compression):
    directory = plain_ifd(400_000, 400_000, offset=110, length=140, compression=compression)
    path = write_bytes(tmp_path / "a.tif", directory, bytes(140))
    tracemalloc.start()
    with pytest.raises((LimitError, MalformedFileError)):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_deflate_bomb_is_refused(tmp_path):
    bomb = zlib.compress(bytes(30_000 * 30_000 // 100), 9)  # the claim alone is the bomb
    directory = plain_ifd(30_000, 30_000, offset=110, length=len(bomb), compression=8)
    with pytest.raises(LimitError, match="implausible"):
        read(write_bytes(tmp_path / "a.tif", directory, bomb))


def test_strip_that_decodes_to_more_than_its_page_takes_no_memory(tmp_path):
    bomb = zlib.compress(bytes(200 << 20), 9)
    directory = plain_ifd(4, 4, offset=110, length=len(bomb), compression=8)
    path = write_bytes(tmp_path / "a.tif", directory, bomb)
    tracemalloc.start()
    with contextlib.suppress(Exception):  # refused or cut to the page: either will do
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@needs_imagecodecs
def test_enormous_tile_is_refused(tmp_path):
    directory = ifd(
        "<",
        (256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (322, 4, 1, 1 << 20), (323, 4, 1, 1 << 20), (324, 4, 1, 126), (325, 4, 1, 20),
    )  # fmt: skip
    with pytest.raises(InputError):
        read(write_bytes(tmp_path / "a.tif", directory, bytes(40)))


@pytest.mark.parametrize("count", [1, 2, 150])
def test_ring_of_directories_is_refused(tmp_path, count):
    size = len(plain_ifd(2, 2, offset=0, length=0))
    links = [8 + size * index for index in range(1, count)] + [8 + size * (count // 2)]
    ring = b"".join(plain_ifd(2, 2, offset=8, length=4, link=link) for link in links)
    with pytest.raises(MalformedFileError, match="ring"):
        read(write_bytes(tmp_path / "a.tif", ring))


def test_many_pages_that_share_one_strip_are_refused(tmp_path):
    size = len(plain_ifd(2, 2, offset=0, length=0))
    pages = [
        plain_ifd(1000, 1000, offset=8, length=1_000_000, link=8 + size * (index + 1))
        for index in range(999)
    ]
    pages.append(plain_ifd(1000, 1000, offset=8, length=1_000_000))
    path = write_bytes(tmp_path / "a.tif", b"".join(pages), bytes(1_000_000))
    with pytest.raises(InputError):
        read(path)


def test_missing_strip_is_refused(tmp_path):
    directory = plain_ifd(4, 4, offset=0, length=0, compression=8)
    with pytest.raises(MalformedFileError, match="not inside"):
        read(write_bytes(tmp_path / "a.tif", directory, bytes(40)))


def test_compression_without_imagecodecs_says_what_to_install(tmp_path, monkeypatch):
    directory = plain_ifd(4, 4, offset=110, length=20, compression=8)
    path = write_bytes(tmp_path / "a.tif", directory, bytes(40))
    monkeypatch.setattr("lowdose.io.tiff.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install imagecodecs"):
        read(path)


def test_pixel_limit_holds(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp(50, 70))
    with pytest.raises(LimitError):
        read(tmp_path / "a.tif", Limits(pixels=1000))


# ---- round trips -------------------------------------------------------------------------------

CALIBRATED = (Axis("y", 0.5, "nm", 3.0), Axis("x", 0.25, "nm", -1.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_keeps_pixels_and_type(tmp_path, dtype):
    found = through_file(tmp_path / "a.tif", Micrograph(ramp(5, 7, dtype=dtype), CALIBRATED))
    assert found.pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.pixels, ramp(5, 7, dtype=dtype))


@pytest.mark.parametrize(
    "frame", [Axis("frame"), Axis("t", 0.5, "s"), Axis("z", 2.0, "nm", 1.0), Axis("tilt", 3, "deg")]
)
@pytest.mark.parametrize("count", [1, 3])
def test_round_trip_keeps_axes(tmp_path, frame, count):
    axes = (frame, *CALIBRATED)
    found = through_file(tmp_path / "a.tif", Micrograph(ramp(count, 5, 7), axes))
    assert found.axes == axes
    assert found.shape == (count, 5, 7)


@pytest.mark.parametrize("unit", ["m", "mm", "um", "nm", "Å", "pm", "1/nm", None])
def test_round_trip_keeps_units(tmp_path, unit):
    scale = None if unit is None else 0.125
    axes = (Axis("y", scale, unit), Axis("x", scale, unit))
    assert through_file(tmp_path / "a.tif", Micrograph(ramp(5, 7), axes)).axes == axes


def test_round_trip_keeps_metadata_history_and_description(tmp_path):
    tifffile.imwrite(tmp_path / "source.tif", ramp(5, 7), description="grid 7, square 3")
    source = read(tmp_path / "source.tif")
    micrograph = Micrograph(
        source.pixels, CALIBRATED, {"voltage_kv": 300.0}, source.source, ("denoised <&> é",)
    )
    found = through_file(tmp_path / "a.tif", micrograph)
    assert found.metadata == {"voltage_kv": 300.0}
    assert found.history == ("denoised <&> é",)
    assert found.source.header["description"] == "grid 7, square 3"


def test_round_trip_keeps_white_as_zero(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 7), photometric="miniswhite")
    source = read(tmp_path / "a.tif")
    TIFF.write(tmp_path / "b.tif", source)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE


def test_rescaled_since_then_the_new_scale_wins(tmp_path):
    """Another program that resamples may keep our note; what it states itself is right."""
    TIFF.write(tmp_path / "a.tif", Micrograph(ramp(6, 8), CALIBRATED))
    xml = tifffile.tiffcomment(tmp_path / "a.tif").replace('"0.25"', '"0.75"')
    tifffile.tiffcomment(tmp_path / "a.tif", xml.encode())
    assert read(tmp_path / "a.tif").axes[-1].scale == 0.75


def test_other_programs_read_the_pixel_size(tmp_path):
    TIFF.write(tmp_path / "a.tif", Micrograph(ramp(5, 7), CALIBRATED))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_ome
        assert 'PhysicalSizeX="0.25" PhysicalSizeXUnit="nm"' in tiff.ome_metadata
        assert tiff.pages[0].get_resolution("centimeter") == pytest.approx((4e7, 2e7))
        assert tiff.pages[0].software.startswith("lowdose")


@pytest.mark.parametrize("unit", ["nm", "um", "Å", "1/nm"])
def test_hyperspy_reads_the_pixel_size(tmp_path, unit):
    rsciio = pytest.importorskip("rsciio.tiff")
    axes = (Axis("y", 0.5, unit), Axis("x", 0.25, unit))
    TIFF.write(tmp_path / "a.tif", Micrograph(ramp(5, 7), axes))
    (signal,) = rsciio.file_reader(str(tmp_path / "a.tif"))
    found = [Axis(axis["name"], axis["scale"], axis["units"]) for axis in signal["axes"]]
    assert [(axis.scale, axis.unit) for axis in found] == [(0.5, unit), (0.25, unit)]


def test_half_floats_become_floats(tmp_path):
    found = through_file(tmp_path / "a.tif", Micrograph(ramp(5, 7, dtype="float16")))
    assert found.pixels.dtype == np.float32


def test_types_without_a_place_are_refused(tmp_path):
    with pytest.raises(OutputError, match="int64"):
        TIFF.write(tmp_path / "a.tif", Micrograph(ramp(5, 7, dtype="int64")))


def test_name_of_the_file_does_not_matter(tmp_path):
    assert through_file(tmp_path / ".a.tif.part", Micrograph(ramp(5, 7))).shape == (5, 7)
