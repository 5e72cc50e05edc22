"""Files that no reader may accept, each built in a few milliseconds.

`CASES` maps a name to a function that takes an empty folder, puts a bad file (or none) there and
returns the path to read. Reading it has to raise an InputError: one line that begins with the
path, within two seconds and 700 MB, and nothing may be written.
"""

import bz2
import gzip
import io
import os
import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile

from tests.io.builders import grey_tiff, mrc_bytes, npy_bytes, png_bytes, png_chunk

RAMP = np.arange(64 * 48, dtype="f4").reshape(48, 64)
NOISE = np.random.default_rng(7).bytes(5000)
GOOD_MRC = mrc_bytes(RAMP)
GOOD_PNG = png_bytes((b"\0" + b"\x80" * 64) * 48, width=64, height=48)
GOOD_TIFF = grey_tiff(64, 48, b"\x80" * 64 * 48)
MEBIBYTE = 1 << 20
INT_MAX = 2**31 - 1


def good_npy(pixels: np.ndarray, **options: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels, **options)
    return stream.getvalue()


def with_value(value: float, dtype: str = "f4") -> np.ndarray:
    pixels = RAMP.astype(dtype)
    pixels[5, 7] = value
    return pixels


def npy_head(shape: object, descr: object = "<f4", order: bool = False) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}}}"


def zeros_after(head: bytes, mebibytes: int, compress: Callable[[bytes], bytes]) -> bytes:
    """`head` and then many zeros, compressed as one member for each MiB, hence quickly."""
    return compress(head) + compress(bytes(MEBIBYTE)) * mebibytes


def mrc_contents() -> Iterator[tuple[str, bytes]]:
    for size in (7, 100, 212, 1023, 1024, 1030, len(GOOD_MRC) // 2, len(GOOD_MRC) - 1):
        yield f"mrc cut to {size} bytes.mrc", GOOD_MRC[:size]
    lies: dict[str, dict[str, int]] = {
        "nx zero": {"nx": 0}, "ny zero": {"ny": 0}, "nz zero": {"nz": 0},
        "nx negative": {"nx": -64}, "nz negative": {"nz": -1},
        "all sides negative": {"nx": -64, "ny": -48, "nz": -1},
        "one row too many": {"ny": 49}, "one frame too many": {"nz": 2},
        "sides of 400000": {"nx": 400_000, "ny": 400_000},
        "largest sides": {"nx": INT_MAX, "ny": INT_MAX, "nz": INT_MAX},
        "nsymbt largest": {"nsymbt": INT_MAX}, "nsymbt negative": {"nsymbt": -1024},
        "nsymbt past the end": {"nsymbt": 80}, "mode 5": {"mode": 5}, "mode 77": {"mode": 77},
        "mode negative": {"mode": -1}, "mode 4, complex": {"mode": 4},
        "mode 3, complex integers": {"mode": 3},
        "stack of volumes": {"nz": 8, "ny": 6, "mz": 4, "ispg": 401},
    }  # fmt: skip
    for name, fields in lies.items():
        yield f"mrc with {name}.mrc", mrc_bytes(RAMP, **fields)
    yield "big-endian mrc cut short.mrc", mrc_bytes(RAMP, order=">")[:-9]
    yield "mrc with nan.mrc", mrc_bytes(with_value(np.nan))
    yield "mrc with inf.mrc", mrc_bytes(with_value(-np.inf))
    yield "big-endian mrc with nan.mrc", mrc_bytes(with_value(np.nan), order=">")
    yield "half-precision mrc with nan.mrc", mrc_bytes(with_value(np.nan, "f2"))


def compressed_contents() -> Iterator[tuple[str, bytes]]:
    huge = mrc_bytes(RAMP, nx=50_000, ny=25_000)
    bomb = mrc_bytes(RAMP[:0], nx=1024, ny=1024, nz=150)  # 600 MiB of float32
    long_header = mrc_bytes(RAMP, nsymbt=INT_MAX)
    for suffix, compress in ((".mrc.gz", gzip.compress), (".mrc.bz2", bz2.compress)):
        whole = compress(GOOD_MRC)
        yield f"cut to 5 bytes{suffix}", whole[:5]
        yield f"cut in the header{suffix}", whole[:60]
        yield f"cut in the pixels{suffix}", whole[: len(whole) // 2]
        yield f"cut at the end{suffix}", whole[:-1]
        yield f"wrong checksum{suffix}", _flipped(whole, -6)
        yield f"pixels missing{suffix}", compress(GOOD_MRC[:5000])
        yield f"header missing{suffix}", compress(GOOD_MRC[:700])
        yield f"claim of 5 GB{suffix}", compress(huge)
        yield f"bomb of 600 MiB{suffix}", zeros_after(bomb, 600, compress)
        yield f"extended header of 2 GiB{suffix}", compress(long_header)
        yield f"compressed text{suffix}", compress(b"Dear diary, " * 1000)
        yield f"compressed noise{suffix}", compress(NOISE)
        yield f"compressed nan{suffix}", compress(mrc_bytes(with_value(np.nan)))
        yield f"garbage after the magic{suffix}", whole[:4] + NOISE


def npy_contents() -> Iterator[tuple[str, bytes]]:
    whole = good_npy(RAMP)
    for size in (6, 8, 9, 40, 128, len(whole) - 1):
        yield f"npy cut to {size} bytes.npy", whole[:size]
    for name, shape in {
        "sides of 10^6": (10**6, 10**6), "sides of 10^30": (10**30, 10**30),
        "a negative side": (-48, 64), "two negative sides": (-48, -64), "no rows": (0, 64),
        "no pixels": (48, 0), "one axis": (48 * 64,), "no axis": (), "four axes": (1, 1, 48, 64),
        "a shape of floats": (48.0, 64.0), "a shape of text": "48, 64",
        "a shape of bools": (True, 2),
    }.items():  # fmt: skip
        data = RAMP.tobytes() if name != "a shape of bools" else b""
        yield f"npy with {name}.npy", npy_bytes(npy_head(shape), data)
    for descr in ("|O", "<c8", "|b1", "<U4", "|S4", "<M8[s]", "|V4", "<f16", "no such", 7, [1]):
        name = str(descr).translate(str.maketrans("|<", "  ")).strip()
        yield f"npy of type {name}.npy", npy_bytes(npy_head((48, 64), descr), RAMP.tobytes() * 4)
    record = [("a", "<f4"), ("b", "<f4")]
    yield "structured npy.npy", npy_bytes(npy_head((48, 32), record), RAMP.tobytes())
    objects = np.array([[{"a": 1}, None]], dtype=object)
    yield "pickled objects in npy.npy", good_npy(objects, allow_pickle=True)
    yield "pickle.npy", pickle.dumps(RAMP)
    yield "npy with code for a header.npy", npy_bytes("__import__('os').getpid()", b"\0" * 99)
    yield "npy with half a header.npy", npy_bytes("{'descr': '<f4', 'shape': (4, 4)}", bytes(64))
    yield "npy with deep brackets.npy", npy_bytes("(" * 5000, bytes(64))
    yield "npy with a long header.npy", npy_bytes(npy_head((48, 64)) + " " * 30_000, bytes(99))
    yield "npy with a header of 4 GB.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(200)
    yield "npy of version 9.npy", b"\x93NUMPY\x09\0" + whole[8:]
    yield "npy with nan.npy", good_npy(with_value(np.nan, "f8"))
    yield "npy beyond float32.npy", good_npy(with_value(1e300, "f8"))
    yield "npy with inf.npy", good_npy(with_value(np.inf, "f2"))
    yield "npz.npz", _npz()


def png_contents() -> Iterator[tuple[str, bytes]]:
    for size in (8, 20, 32, 33, 60, len(GOOD_PNG) - 20):
        yield f"png cut to {size} bytes.png", GOOD_PNG[:size]
    grey = (b"\0" + b"\x80" * 64) * 48
    sides = {"no columns": (0, 48), "no rows": (64, 0), "10^5": (10**5, 10**5)}
    sides |= {"largest sides": (INT_MAX, INT_MAX), "sides of 2^32": (2**32 - 1, 2**32 - 1)}
    for name, (width, height) in sides.items():
        yield f"png with {name}.png", png_bytes(grey, width=width, height=height)
    yield "png with too few rows.png", png_bytes(grey[:650], width=64, height=48)
    yield "png with a bad checksum.png", _flipped(GOOD_PNG, 30)
    yield "png with bad pixels.png", _flipped(GOOD_PNG, 50)
    no_pixels = GOOD_PNG[:33] + png_chunk(b"IEND", b"")
    yield "png without pixels.png", no_pixels
    palette = png_chunk(b"PLTE", bytes(range(12)))
    for name, bits, colour, extra in (
        ("rgb", 8, 2, b""), ("rgb 16", 16, 2, b""), ("rgba", 8, 6, b""), ("grey alpha", 8, 4, b""),
        ("palette", 8, 3, palette), ("one-bit", 1, 0, b""), ("four-bit", 4, 0, b""),
        ("unknown colour", 8, 5, b""), ("seven-bit", 7, 0, b""),
    ):  # fmt: skip
        rows = (b"\0" + b"\1" * 8 * 8 * 8) * 8
        content = png_bytes(rows, width=8, height=8, bits=bits, colour=colour, extra=extra)
        yield f"{name} png.png", content


def tiff_contents() -> Iterator[tuple[str, bytes]]:
    for size in (4, 6, 8, 100, 64 * 48 + 9, len(GOOD_TIFF) - 30):
        yield f"tiff cut to {size} bytes.tif", GOOD_TIFF[:size]
    yield "tiff of 400000 x 400000.tif", grey_tiff(400_000, 400_000, b"\x80" * 64)
    yield "tiff without rows.tif", grey_tiff(64, 0, b"\x80" * 64)
    zeros = zlib.compress(bytes(MEBIBYTE))
    bomb = grey_tiff(1 << 15, 1 << 15, zeros, strips=1 << 10, compression=8)
    yield "deflate bomb of 1 GiB.tif", bomb
    yield "deflate noise.tif", grey_tiff(64, 48, NOISE, compression=8)
    yield "unknown compression.tif", grey_tiff(64, 48, NOISE, compression=64_999)
    yield "complex tiff.tif", grey_tiff(16, 12, NOISE[:1536], bits=64, sample_format=6)
    yield (
        "tiff with nan.tif",
        grey_tiff(64, 48, with_value(np.nan).tobytes(), bits=32, sample_format=3),
    )
    yield "tiff with its tags past the end.tif", b"II*\0\xff\xff\xff\x7f" + bytes(100)
    yield "tiff with noise for tags.tif", b"II*\0\x08\0\0\0" + NOISE
    yield "bigtiff of noise.tif", b"II+\0\x08\0\0\0" + NOISE
    yield "ome tiff of 10^8 planes.tif", _ome_tiff(planes=10**8)
    yield "ome tiff of missing planes.tif", _ome_tiff(planes=3)
    for name, tags in {"empty": (), "nearly empty": (256, 257)}.items():
        yield f"tiff of 300000 {name} directories.tif", _tiff_of_directories(300_000, tags)
    yield "tiff of text.tif", b"MM\0*" + b"Dear diary, " * 20


def vendor_contents() -> Iterator[tuple[str, bytes]]:
    hdf5 = b"\x89HDF\r\n\x1a\n"
    for suffix in (".h5", ".hspy", ".emd"):
        yield f"signature alone{suffix}", hdf5
        yield f"noise after the signature{suffix}", hdf5 + NOISE
    for name, magic in {
        "noise.dm3": b"\0\0\0\3\0\0\x13\x88\0\0\0\1", "noise.dm4": b"\0\0\0\4" + bytes(7) + b"\x13",
        "noise.ser": b"II\x97\1\x20\2", "noise.blo": b"IMGBLO", "noise.mib": b"MQ1,000001,00384,",
    }.items():  # fmt: skip
        yield f"magic and {name}", magic + NOISE
        yield f"magic without {name}", magic


def other_contents() -> Iterator[tuple[str, bytes]]:
    yield "empty.mrc", b""
    yield "empty.tif", b""
    yield "one byte.mrc", b"\0"
    yield "six bytes.tif", b"II*\0\x08\0"
    yield "text.mrc", b"It was a dark and stormy night.\n" * 100
    yield "text.png", b"It was a dark and stormy night.\n" * 100
    yield "zeros.mrc", bytes(5000)
    yield "ones.mrc", b"\xff" * 5000
    yield "jpeg.png", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + NOISE
    yield "zip.mrc", _npz()
    for suffix in (".mrc", ".mrcs", ".tif", ".png", ".npy", ".dm4", ".ser", ".emd", ".h5", ".xyz"):
        yield f"noise{suffix}", NOISE


def _flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


def _ome_tiff(planes: int) -> bytes:
    """One page, whose OME header promises more."""
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels ID="a" '
        f'SizeX="64" SizeY="48" SizeZ="{planes}" SizeC="1" SizeT="1" Type="float" '
        'DimensionOrder="XYCZT"><TiffData/></Pixels></Image></OME>'
    )
    stream = io.BytesIO()
    tifffile.imwrite(stream, RAMP, description=xml, metadata=None)
    return stream.getvalue()


def _tiff_of_directories(number: int, tags: tuple[int, ...]) -> bytes:
    """A chain of directories that hold these tags alone, each of value 1."""
    entries = np.array([(tag, 4, 1, 1) for tag in tags], "<u2, <u2, <u4, <u4")
    fields = [("count", "<u2"), ("entries", entries.dtype, len(tags)), ("link", "<u4")]
    chain = np.zeros(number, fields)
    chain["count"], chain["entries"] = len(tags), entries
    chain["link"][:-1] = 8 + chain.itemsize * np.arange(1, number)
    return b"II*\0\x08\0\0\0" + chain.tobytes()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, image=RAMP)
    return stream.getvalue()


def _placed(name: str, content: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return build


def _folder(folder: Path) -> Path:
    (folder / "folder.mrc").mkdir()
    return folder / "folder.mrc"


def _missing(folder: Path) -> Path:
    return folder / "missing.mrc"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mrc")
    return folder / "pipe.mrc"


def _dangling_link(folder: Path) -> Path:
    (folder / "link.mrc").symlink_to(folder / "nothing")
    return folder / "link.mrc"


# Without the optional extra these end in MissingExtraError.
NEED_EXTRA = frozenset(name for name, _ in vendor_contents())

CASES: dict[str, Callable[[Path], Path]] = {
    "a folder": _folder,
    "a missing file": _missing,
    "a link to nothing": _dangling_link,
    **({"a pipe": _pipe} if hasattr(os, "mkfifo") else {}),
}
for _contents in (
    mrc_contents, compressed_contents, npy_contents, png_contents, tiff_contents, vendor_contents,
    other_contents,
):  # fmt: skip
    CASES.update({name: _placed(name, content) for name, content in _contents()})
