import zlib

import numpy as np
import pytest
from PIL import Image

import lowdose.io
from lowdose.errors import OutputError, UnsupportedContentError
from lowdose.micrograph import Micrograph
from tests.io.builders import png_bytes, png_chunk

RAMP = np.arange(5 * 7).reshape(5, 7) * 7


@pytest.mark.parametrize(("kind", "factor"), [("u1", 1), ("u2", 257)])
def test_pixels_survive_writing_and_reading(kind, factor, tmp_path):
    pixels = (RAMP * factor).astype(kind)
    lowdose.io.write(tmp_path / "out.png", Micrograph(pixels))
    read = lowdose.io.read(tmp_path / "out.png")
    assert read.pixels.dtype == np.dtype(kind)
    np.testing.assert_array_equal(read.pixels, pixels)
    with Image.open(tmp_path / "out.png") as independent:
        np.testing.assert_array_equal(np.asarray(independent), pixels)


def test_a_file_built_byte_by_byte_is_read(tmp_path):
    path = tmp_path / "in.png"
    path.write_bytes(png_bytes(b"\0\1\2\3\4\0\5\6\7\x08", width=2, height=2, bits=16))
    assert lowdose.io.read(path).pixels.tolist() == [[0x102, 0x304], [0x506, 0x708]]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (11, 13)])
def test_an_interlaced_file_is_read(height, width, bits, tmp_path):
    pixels = np.arange(height * width).reshape(height, width).astype(f">u{bits // 8}")
    # The seven passes as the specification lists them.
    passes = (
        pixels[::8, ::8], pixels[::8, 4::8], pixels[4::8, ::4], pixels[::4, 2::4],
        pixels[2::4, ::2], pixels[::2, 1::2], pixels[1::2, ::1],
    )  # fmt: skip
    rows = b"".join(b"\0" + row.tobytes() for each in passes for row in each if row.size)
    content = bytearray(png_bytes(rows, width=width, height=height, bits=bits))
    content[28] = 1
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path = tmp_path / "in.png"
    path.write_bytes(content)
    np.testing.assert_array_equal(lowdose.io.read(path).pixels, pixels)


def test_an_image_beyond_pillow_s_own_limit_is_read(tmp_path):
    side = 9_500  # 90 million pixels; Pillow warns above 89
    rows = zlib.compress((b"\0" + bytes(side)) * side, 1)
    whole = png_bytes(b"", width=side, height=side)
    path = tmp_path / "large.png"
    path.write_bytes(whole[:33] + png_chunk(b"IDAT", rows) + whole[-12:])
    assert lowdose.io.read(path).shape == (side, side)


@pytest.mark.parametrize("kind", ["f4", "i2", "u4", "i1"])
def test_other_types_are_refused_with_what_to_do(kind, tmp_path):
    with pytest.raises(OutputError, match=r"out\.png: .* Choose .tif or .mrc"):
        lowdose.io.write(tmp_path / "out.png", Micrograph(RAMP.astype(kind)))
    assert list(tmp_path.iterdir()) == []


def test_a_stack_is_refused(tmp_path):
    with pytest.raises(OutputError, match="stack of 2"):
        lowdose.io.write(tmp_path / "out.png", Micrograph(np.zeros((2, 3, 3), "u1")))


def test_colour_is_refused_with_its_name(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "in.png")
    with pytest.raises(UnsupportedContentError, match="colours are RGB of 8 bits"):
        lowdose.io.read(tmp_path / "in.png")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save(tmp_path / "in.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedContentError, match="animation"):
        lowdose.io.read(tmp_path / "in.png")
