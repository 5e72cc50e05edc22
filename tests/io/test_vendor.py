"""Vendor formats from files built byte by byte: what is read, and what is refused and why."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from lowdose.errors import (
    LimitError,
    LowdoseWarning,
    MalformedFileError,
    MissingExtraError,
    UnsupportedContentError,
)
from lowdose.io.guard import Limits
from lowdose.io.vendor import VENDOR

pytest.importorskip("rsciio")
h5py = pytest.importorskip("h5py")


def read(path, limits=Limits()):  # noqa: B008 - frozen
    head = path.read_bytes()[:4096]
    (found,) = [each for each in VENDOR if each.sniff(head, path)]
    return found.read(path, limits)


# ---- Gatan DM3 ---------------------------------------------------------------------------------


def dm_group(**tags):
    """A tag group; keys that start with ``_`` stand for tags without a name."""
    return struct.pack(">BBI", 0, 0, len(tags)) + b"".join(
        dm_tag("" if name.startswith("_") else name, value) for name, value in tags.items()
    )


def dm_tag(name, value):
    head = struct.pack(">H", len(name)) + name.encode()
    if isinstance(value, bytes):
        return b"\x14" + head + value
    info, data = {
        int: lambda: ((5,), struct.pack("<I", value)),
        float: lambda: ((6,), struct.pack("<f", value)),
        str: lambda: ((20, 4, len(value)), value.encode("utf-16-le")),
        np.ndarray: lambda: ((20, 2, value.size), value.astype("<i2").tobytes()),
    }[type(value)]()
    return b"\x15" + head + b"%%%%" + struct.pack(f">I{len(info)}I", len(info), *info) + data


def dm_file(path, pixels, *, size=None, data_type=1, unit="nm", brightness="", **image_tags):
    """The smallest DM3 file that states everything a reader asks for."""
    height, width = size or pixels.shape
    axis = dm_group(Origin=2.0, Scale=0.5, Units=unit)
    image = dm_group(
        ImageData=dm_group(
            Calibrations=dm_group(
                Brightness=dm_group(Origin=10.0, Scale=0.25, Units=brightness),
                Dimension=dm_group(_0=axis, _1=axis),
            ),
            Data=pixels,
            DataType=data_type,
            Dimensions=dm_group(_0=width, _1=height),
        ),
        ImageTags=dm_group(**image_tags),
        Name="test",
    )
    root = dm_group(ImageList=dm_group(_0=image))
    path.write_bytes(struct.pack(">III", 3, len(root), 1) + root)
    return path


PIXELS = np.arange(12).reshape(3, 4)


def test_dm3_built_byte_by_byte(tmp_path):
    found = read(dm_file(tmp_path / "a.dm3", PIXELS))
    assert found.pixels.tolist() == PIXELS.tolist()
    assert found.pixels.dtype == np.int16
    assert isinstance(found.pixels, np.memmap)
    assert [(axis.scale, axis.unit, axis.offset) for axis in found.axes] == [(0.5, "nm", -1.0)] * 2
    assert found.source.format == "dm"


def test_dm3_states_acquisition_facts(tmp_path):
    info = dm_group(Voltage=200_000.0, **{"Indicated Magnification": 5000.0})
    found = read(dm_file(tmp_path / "a.dm3", PIXELS, **{"Microscope Info": info}))
    assert found.metadata["voltage_kv"] == 200
    assert found.metadata["magnification"] == 5000
    assert found.metadata["title"] == "test"
    assert "stated_gain" not in found.metadata


def test_gain_is_told_only_for_electrons(tmp_path):
    found = read(dm_file(tmp_path / "a.dm3", PIXELS, brightness="e-"))
    assert (found.metadata["stated_gain"], found.metadata["stated_offset"]) == (4.0, 10.0)


@pytest.mark.parametrize("size", [(3, 5), (2**30, 2**30), (2**31 - 1, 2**31 - 1)])
def test_dm3_that_claims_more_than_it_holds_is_refused(tmp_path, size):
    with pytest.raises((MalformedFileError, LimitError)):
        read(dm_file(tmp_path / "a.dm3", PIXELS, size=size))


def test_dm3_obeys_the_pixel_limit(tmp_path):
    with pytest.raises(LimitError):
        read(dm_file(tmp_path / "a.dm3", PIXELS), Limits(pixels=11))


@pytest.mark.parametrize(("data_type", "reason"), [(3, "complex"), (14, "mask"), (23, "colour")])
def test_dm3_that_is_no_micrograph_is_refused(tmp_path, data_type, reason):
    with pytest.raises(UnsupportedContentError, match=reason):
        read(dm_file(tmp_path / "a.dm3", np.zeros((8, 8)), size=(2, 2), data_type=data_type))


# ---- FEI TIA -----------------------------------------------------------------------------------


def ser_file(path, pixels, *, size=None, valid=1, step=2e-9, version=0x220):
    height, width = size or pixels.shape
    dimension = struct.pack("<IddIII", 1, 0.0, 1.0, 0, 0, 0)
    start = 22 + 8 + 4 + len(dimension)
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, version, 0x4122, 0x4152, valid, valid)
    head += struct.pack("<QI", start, 1) + dimension + struct.pack("<QQ", start + 16, 0)
    element = struct.pack("<ddIddIHII", -4e-9, step, 0, -4e-9, step, 0, 2, width, height)
    path.write_bytes(head + element + pixels.astype("<u2").tobytes() + bytes(8))
    return path


def test_ser_built_byte_by_byte(tmp_path):
    found = read(ser_file(tmp_path / "a_1.ser", PIXELS))
    assert found.pixels.tolist() == PIXELS[::-1].tolist()  # the first row in the file is the lowest
    # The plugin leaves the offset in metres beside a step in nanometres.
    assert [axis.unit for axis in found.axes] == ["nm", "nm"]
    assert [(axis.scale, axis.offset) for axis in found.axes] == [pytest.approx((2, -4))] * 2


def test_ser_step_of_a_diffraction_pattern_is_reciprocal(tmp_path):
    found = read(ser_file(tmp_path / "a_1.ser", PIXELS, step=1e8))
    assert found.axes[-1].unit == "1/nm"
    assert found.axes[-1].scale == pytest.approx(0.1)


@pytest.mark.parametrize("claim", [{"size": (30, 40)}, {"size": (2**31, 2**31)}, {"valid": 10**9}])
def test_ser_that_claims_more_than_it_holds_is_refused(tmp_path, claim):
    with pytest.raises((MalformedFileError, LimitError)):
        read(ser_file(tmp_path / "a_1.ser", PIXELS, **claim))


def test_ser_without_an_element_is_refused(tmp_path):
    with pytest.raises(UnsupportedContentError, match="no valid element"):
        read(ser_file(tmp_path / "a_1.ser", PIXELS, valid=0))


@pytest.mark.parametrize("length", [5, 20, 25, 60, 80])
def test_ser_stump_is_malformed(tmp_path, length):
    path = ser_file(tmp_path / "a_1.ser", PIXELS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(MalformedFileError):
        read(path)


def test_emi_without_its_ser_says_which_file_is_missing(tmp_path):
    (tmp_path / "scan.emi").write_bytes(b"JK\x00\x02" + bytes(60))
    with pytest.raises(UnsupportedContentError, match=r"scan_1\.ser"):
        read(tmp_path / "scan.emi")


# ---- HDF5 --------------------------------------------------------------------------------------


COUNTS = PIXELS.astype("u2")


def berkeley(path, pixels=COUNTS, *, names=("x", "y"), unit="[n_m]"):
    """Berkeley EMD as HyperSpy writes it: axes in the order x, y."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        if pixels is not None:
            group["data"] = pixels
            for index, length in enumerate(pixels.shape):
                dim = group.create_dataset(f"dim{index + 1}", data=np.arange(length) * 0.5)
                dim.attrs["name"], dim.attrs["units"] = names[index], unit
    return path


def test_berkeley_emd_in_either_order_is_upright(tmp_path):
    upright = read(berkeley(tmp_path / "a.emd", names=("y", "x")))
    turned = read(berkeley(tmp_path / "b.emd", PIXELS.T.astype("u2"), names=("x", "y")))
    assert upright.pixels.tolist() == turned.pixels.tolist() == PIXELS.tolist()
    assert upright.pixel_size_nm == turned.pixel_size_nm == (0.5, 0.5)


def velox(path, shape=(4, 5, 1), *, images=1, dtype="u2"):
    """Velox EMD: (y, x, frame) and JSON beside it, metres for units."""
    about = (
        '{"BinaryResult": {"PixelSize": {"width": "2e-9", "height": "2e-9"}, "PixelUnitX": "m",'
        ' "Offset": {"x": "0", "y": "0"}, "DetectorIndex": "0"}, "Detectors": {"Detector-0":'
        ' {"DetectorName": "HAADF"}}, "Scan": {"FrameTime": "0.5"}, "Optics":'
        ' {"AccelerationVoltage": "300000"}, "Acquisition": {}, "Instrument": {}, "Core": {},'
        ' "CustomProperties": {}}'
    )
    version = '{"format": "Velox", "version": "11"}'
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([version.encode()])
        for index in range(images):
            group = file.create_group(f"Data/Image/{index:032x}")
            group["Data"] = (np.arange(np.prod(shape)) + index).astype(dtype).reshape(shape)
            text = np.frombuffer(about.encode(), "u1")
            group["Metadata"] = np.tile(text[:, None], (1, shape[2]))
    return path


def test_velox_image(tmp_path):
    found = read(velox(tmp_path / "a.emd"))
    assert found.pixels.tolist() == np.arange(20).reshape(4, 5).tolist()
    assert found.pixel_size_nm == pytest.approx((2, 2))
    assert found.metadata["voltage_kv"] == 300


def test_velox_frames_come_first(tmp_path):
    found = read(velox(tmp_path / "a.emd", (4, 5, 3)))
    assert found.shape == (3, 4, 5)
    assert (found.axes[0].name, found.axes[0].unit) == ("t", "s")


def test_several_images_warn(tmp_path):
    with pytest.warns(LowdoseWarning, match="holds 2 images; read HAADF, left out HAADF"):
        read(velox(tmp_path / "a.emd", images=2))


def hspy(path, data, *axes, record_by="image"):
    with h5py.File(path, "w") as file:
        file.attrs["file_format"], file.attrs["file_format_version"] = "HyperSpy", "3.1"
        group = file.create_group("Experiments/__unnamed__")
        group["data"] = data
        for index, axis in enumerate(axes):
            group.create_group(f"axis-{index}").attrs.update(axis)
        group.create_group("metadata/Signal").attrs["record_by"] = record_by
        group.create_group("original_metadata")
    return path


def axis(name, size, unit="nm", *, navigate=False):
    place = {"name": name, "scale": 0.5, "offset": 1.0}
    return {**place, "size": size, "units": unit, "navigate": navigate}


def test_hyperspy_stack(tmp_path):
    data = np.arange(24.0).reshape(2, 3, 4)
    axes = axis("z", 2, navigate=True), axis("y", 3), axis("x", 4)
    found = read(hspy(tmp_path / "a.hspy", data, *axes))
    np.testing.assert_array_equal(found.pixels, data)
    assert [(each.name, each.scale, each.offset) for each in found.axes] == [
        ("z", 0.5, 1), ("y", 0.5, 1), ("x", 0.5, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "axes", "reason"),
    [
        ((9,), [axis("Energy", 9, "eV")], "a spectrum or profile of 9 channels"),
        ((3, 9), [axis("x", 3, navigate=True), axis("Energy", 9, "eV")], "spectra"),
        (
            (2, 3, 9),
            [axis("y", 2, navigate=True), axis("x", 3, navigate=True), axis("E", 9)],
            "spe",
        ),
        ((2, 3, 4, 4), [axis(name, 2) for name in "abcd"], "4-D STEM"),
    ],
)
def test_hyperspy_that_is_no_image_is_refused(tmp_path, shape, axes, reason):
    with pytest.raises(UnsupportedContentError, match=reason):
        read(hspy(tmp_path / "a.hspy", np.zeros(shape), *axes))


def test_any_other_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = PIXELS
    with pytest.raises(UnsupportedContentError, match="neither EMD nor HyperSpy"):
        read(tmp_path / "a.h5")


@pytest.fixture
def secret(tmp_path):
    """A file that no other file may make us read."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.full((3, 4), 7, "u2")
    np.full(12, 7, "u2").tofile(tmp_path / "secret.raw")
    return tmp_path


def test_external_link_is_refused(secret):
    path = berkeley(secret / "a.emd", pixels=None)
    with h5py.File(path, "a") as file:
        file["data/image/data"] = h5py.ExternalLink("secret.h5", "/data")
    with pytest.raises(UnsupportedContentError, match="another file"):
        read(path)


def test_external_storage_is_refused(secret):
    path = berkeley(secret / "a.emd", pixels=None)
    with h5py.File(path, "a") as file:
        file["data/image"].create_dataset(
            "data", (3, 4), "u2", external=[(str(secret / "secret.raw"), 0, 24)]
        )
    with pytest.raises(UnsupportedContentError, match="another file"):
        read(path)


def test_virtual_data_set_is_refused(secret):
    path = berkeley(secret / "a.emd", pixels=None)
    layout = h5py.VirtualLayout((3, 4), "u2")
    layout[:] = h5py.VirtualSource(str(secret / "secret.h5"), "data", (3, 4))
    with h5py.File(path, "a") as file:
        file["data/image"].create_virtual_dataset("data", layout)
    with pytest.raises(UnsupportedContentError, match="another file"):
        read(path)


def test_enormous_empty_data_set_is_refused(tmp_path):
    path = berkeley(tmp_path / "a.emd", pixels=None)
    with h5py.File(path, "a") as file:
        file["data/image"].create_dataset("data", (10**6, 10**6), "f4", chunks=(1000, 1000))
    with pytest.raises(LimitError):
        read(path)


def test_ring_of_hdf5_links_ends(tmp_path):
    path = berkeley(tmp_path / "a.emd", names=("y", "x"))
    with h5py.File(path, "a") as file:
        file["data/image/again"] = file["data"]
        file["soft"] = h5py.SoftLink("/data")
    assert read(path).shape == (3, 4)


# ---- Merlin, TVIPS, BLO ------------------------------------------------------------------------


def mib_file(path, frames, *, size=None):
    _, height, width = frames.shape
    width, height = size or (width, height)
    time = "2020-01-01T00:00:00.000000Z"
    head = f"MQ1,000001,00384,01,{width:04},{height:04},U16,   1x1,01,0,{time},500000ns,0,12"
    blocks = [head.encode().ljust(384) + frame.astype(">u2").tobytes() for frame in frames]
    path.write_bytes(b"".join(blocks))
    return path


def test_mib_frame_is_upright_and_native(tmp_path):
    found = read(mib_file(tmp_path / "a.mib", PIXELS[None]))
    assert found.pixels.tolist() == PIXELS[::-1].tolist()  # the detector's first row is the lowest
    assert found.pixels.dtype == np.uint16
    assert found.pixels.dtype.isnative


def test_mib_that_claims_more_than_it_holds_is_refused(tmp_path):
    with pytest.raises(MalformedFileError, match="cut short"):
        read(mib_file(tmp_path / "a.mib", PIXELS[None], size=(9999, 9999)))


def tvips_file(path, *, width=4, height=3, bits=16):
    head = struct.pack("<13I", 256, 2, width, height, bits, 0, 0, 1, 1, 2, 200_000, 0, 60)
    frame = struct.pack("<4If2I5fI2f", 1, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    path.write_bytes(head.ljust(256, b"\0") + (frame + PIXELS.astype("<u2").tobytes()) * 2)
    return path


def test_tvips_recording(tmp_path):
    found = read(tvips_file(tmp_path / "a_000.tvips"))
    assert found.pixels.tolist() == [PIXELS.tolist()] * 2
    assert found.pixel_size_nm == (2, 2)


def test_tvips_that_claims_more_than_it_holds_is_refused(tmp_path):
    with pytest.raises((MalformedFileError, LimitError)):
        read(tvips_file(tmp_path / "a_000.tvips", width=2**31, height=2**31))


def test_later_part_of_a_recording_is_refused(tmp_path):
    (tmp_path / "a_001.tvips").write_bytes(bytes(300))
    with pytest.raises(UnsupportedContentError, match=r"_000\.tvips"):
        read(tmp_path / "a_001.tvips")


def test_blo_that_claims_more_than_it_holds_is_refused(tmp_path):
    head = b"IMGBLO" + struct.pack("<HIII6H", 0x0102, 0x1000, 0x1000, 0, 144, 0, 999, 999, 0, 0)
    (tmp_path / "a.blo").write_bytes(head.ljust(0x1000, b"\0"))
    with pytest.raises(MalformedFileError, match="cut short"):
        read(tmp_path / "a.blo")


# ---- without the optional extra ----------------------------------------------------------------


@pytest.mark.parametrize("module", ["rsciio.digitalmicrograph", "rsciio"])
def test_missing_extra_says_what_to_install(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, "rsciio.digitalmicrograph", None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lowdose\[formats\]'"):
        read(dm_file(tmp_path / "a.dm3", PIXELS))


def test_missing_h5py_says_what_to_install(tmp_path, monkeypatch):
    path = berkeley(tmp_path / "a.emd")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lowdose\[formats\]'"):
        read(path)


def test_missing_sparse_says_what_to_install(tmp_path, monkeypatch):
    """The plugin asks for it at any Velox file with a spectrum image, even for its image."""

    def file_reader(filename, **options):
        raise ModuleNotFoundError("The 'sparse' library was not found.")

    monkeypatch.setattr("rsciio.emd.file_reader", file_reader)
    with pytest.raises(MissingExtraError, match="pip install sparse"):
        read(velox(tmp_path / "a.emd"))


def test_importing_the_readers_imports_no_gpl_code():
    code = "import sys, lowdose.io.vendor; print('rsciio' in sys.modules, 'h5py' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
