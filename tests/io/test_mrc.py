import bz2
import gzip
import io
import warnings

import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import get_ext_header_dtype

import lowdose.io
from lowdose.errors import LowdoseWarning, OutputError
from lowdose.micrograph import Axis, Micrograph
from tests.io.builders import MRC_FIELDS, MRC_MODES, mrc_bytes

RAMP = np.arange(2 * 5 * 7).reshape(2, 5, 7) - 9
IN_NM = (Axis("y", 0.2, "nm"), Axis("x", 0.1, "nm"))


@pytest.fixture
def placed(tmp_path):
    def place(content, name="in.mrc"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return place


def is_valid(path):
    """mrcfile's own verdict; it warns where it would also print."""
    report = io.StringIO()
    assert mrcfile.validate(path, report), report.getvalue()
    return True


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", MRC_MODES)
def test_a_file_built_byte_by_byte_reads_back_in_native_order(kind, order, placed):
    pixels = RAMP.astype(kind)
    read = lowdose.io.read(placed(mrc_bytes(pixels, order=order)))
    assert read.pixels.dtype == np.dtype(kind)
    assert read.pixels.dtype.isnative
    np.testing.assert_array_equal(read.pixels, pixels)
    assert [axis.name for axis in read.axes] == ["frame", "y", "x"]
    assert read.pixel_size_nm == (0.25, 0.25)


@pytest.mark.parametrize("kind", MRC_MODES)
def test_pixels_survive_writing_and_mrcfile_calls_the_file_valid(kind, tmp_path):
    pixels = RAMP.astype(kind)
    lowdose.io.write(tmp_path / "out.mrc", Micrograph(pixels))
    assert is_valid(tmp_path / "out.mrc")
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        assert independent.data.dtype == np.dtype(kind)
        np.testing.assert_array_equal(independent.data, pixels)
    np.testing.assert_array_equal(lowdose.io.read(tmp_path / "out.mrc").pixels, pixels)


@pytest.mark.parametrize("kind", ["i1", "i2", "f4", "u2", "f2"])
def test_a_file_by_mrcfile_reads_as_mrcfile_reads_it(kind, tmp_path):
    with mrcfile.new(tmp_path / "in.mrc") as independent:
        independent.set_data(RAMP.astype(kind))
        independent.voxel_size = (1.5, 1.25, 3.0)  # x, y, z
    read = lowdose.io.read(tmp_path / "in.mrc")
    np.testing.assert_array_equal(read.pixels, RAMP.astype(kind))
    assert read.axes == (Axis("z", 3.0, "Å"), Axis("y", 1.25, "Å"), Axis("x", 1.5, "Å"))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compression_changes_nothing(suffix, compress, placed):
    content = mrc_bytes(RAMP.astype("i2"), extended=b"kept", exttyp=b"SERI", order=">")
    plain = lowdose.io.read(placed(content))
    packed = lowdose.io.read(placed(compress(content), f"in.mrc{suffix}"))
    np.testing.assert_array_equal(packed.pixels, plain.pixels)
    assert packed.axes == plain.axes
    assert packed.source.header == plain.source.header


@pytest.mark.parametrize("suffix", [".mrcs", ".st", ".rec", ".map"])
def test_a_relative_keeps_its_suffix(suffix, placed):
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4")), f"in{suffix}"))
    assert lowdose.io.family_suffix(read.source.format, read.source.path) == suffix


def test_a_plain_file_is_mapped_not_loaded(placed):
    path = placed(mrc_bytes(RAMP.astype("f4")))
    read = lowdose.io.read(path)
    assert isinstance(read.pixels, np.memmap)
    assert not read.pixels.flags.writeable


def test_a_stack_far_larger_than_memory_opens_at_once(tmp_path):
    path = tmp_path / "sparse.mrcs"
    with open(path, "wb") as file:
        file.write(mrc_bytes(np.zeros((0, 4096), "f4"), nx=4096, ny=4096, nz=1600))
        file.truncate(1024 + 1600 * 4096**2 * 4)  # 107 GB, none of them on the disk
    read = lowdose.io.read(path, nonfinite="keep")
    assert read.shape == (1600, 4096, 4096)
    assert read.pixels[1599, 4095, 4095] == 0


def test_one_section_is_an_image_and_the_space_group_tells_volumes_from_stacks(placed):
    assert lowdose.io.read(placed(mrc_bytes(RAMP[0].astype("f4")))).shape == (5, 7)
    volume = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"), ispg=1, mz=2, zlen=9.0)))
    assert volume.axes[0] == Axis("z", 4.5, "Å")
    stack = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"), ispg=0, mz=2, zlen=9.0)))
    assert stack.axes[0] == Axis("frame")


@pytest.mark.parametrize(
    "fields", [{"xlen": 0.0}, {"xlen": -7.0}, {"xlen": np.nan}, {"xlen": np.inf}, {"mx": 0}]
)
def test_a_senseless_cell_is_an_unknown_pixel_size(fields, placed, tmp_path):
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"), **fields)))
    assert read.pixel_size_nm is None
    lowdose.io.write(tmp_path / "out.mrc", read)
    assert is_valid(tmp_path / "out.mrc")


def test_four_bit_pixels_are_unpacked_low_half_first(placed):
    packed = np.array([[0x21, 0x43, 0x05], [0xFE, 0xDC, 0x0B]], "u1")  # rows of five pixels
    read = lowdose.io.read(placed(mrc_bytes(packed, mode=101, nx=5)))
    assert read.pixels.tolist() == [[1, 2, 3, 4, 5], [14, 15, 12, 13, 11]]


@pytest.mark.parametrize(("flags", "expected"), [(0, 200), (1, -56)])
def test_imod_says_whether_bytes_are_signed(flags, expected, placed):
    content = mrc_bytes(np.full((3, 3), 200, "u1"), imod_stamp=1146047817, imod_flags=flags)
    assert lowdose.io.read(placed(content)).pixels[0, 0] == expected


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["i1", "f4"])
def test_a_broken_machine_stamp_is_seen_through(kind, order, placed):
    content = mrc_bytes(RAMP.astype(kind), order=order, machst=b"\0\0\0\0")
    with pytest.warns(LowdoseWarning, match=r"^.*in\.mrc: wrong machine stamp 00000000"):
        read = lowdose.io.read(placed(content))
    np.testing.assert_array_equal(read.pixels, RAMP)


def test_a_stamp_that_contradicts_the_header_loses(placed):
    content = mrc_bytes(RAMP.astype("f4"), order=">", machst=b"\x44\x44\0\0")
    with pytest.warns(LowdoseWarning, match="machine stamp"):
        np.testing.assert_array_equal(lowdose.io.read(placed(content)).pixels, RAMP)


def test_a_file_older_than_the_magic_number_is_known_by_its_name(placed):
    content = mrc_bytes(RAMP.astype("f4"), map=bytes(4), nversion=0)
    np.testing.assert_array_equal(lowdose.io.read(placed(content)).pixels, RAMP)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bytes_after_the_pixels_are_worth_one_warning(pack, placed):
    path = placed(pack(mrc_bytes(RAMP.astype("f4")) + b"more"))
    if pack is gzip.compress:
        path = path.rename(path.with_name("in.mrc.gz"))
    with pytest.warns(LowdoseWarning, match="more bytes after the last pixel") as caught:
        np.testing.assert_array_equal(lowdose.io.read(path).pixels, RAMP)
    assert len(caught) == 1
    assert str(caught[0].message).startswith(str(path))


@pytest.mark.parametrize("order", "<>")
def test_header_extended_header_and_labels_survive(order, placed, tmp_path):
    extended = bytes(range(256)) * 3
    labels = {"nlabl": 2, "label0": b"first".ljust(80), "label1": b"second"}
    content = mrc_bytes(RAMP.astype("i2"), order=order, extended=extended, exttyp=b"SERI", **labels)
    read = lowdose.io.read(placed(content))
    lowdose.io.write(
        tmp_path / "out.mrc", read.with_pixels(read.pixels.astype("f4") / 3, "denoised")
    )
    assert is_valid(tmp_path / "out.mrc")
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        assert independent.extended_header.tobytes() == extended
        assert independent.get_labels() == ["first".ljust(80), "second", "denoised"]
        assert independent.voxel_size.tolist() == (2.5, 2.5, 1.0)
    again = (tmp_path / "out.mrc").read_bytes()
    changed = {"nversion", "mode", "dmin", "dmax", "dmean", "rms", "nlabl"}
    for name, (offset, code) in MRC_FIELDS.items():
        if name not in changed and not name.startswith("label"):
            size = int(code[:-1] or 4)
            assert again[offset : offset + size] == content[offset : offset + size], name


def test_statistics_are_those_of_the_written_pixels(placed, tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.normal(1e6, 3, (3, 700, 900)).astype("f4")  # more than one block a frame
    content = mrc_bytes(pixels, dmin=-5.0, dmax=5.0, dmean=0.1, rms=2.0)
    lowdose.io.write(tmp_path / "out.mrc", lowdose.io.read(placed(content)))
    header = mrcfile.open(tmp_path / "out.mrc", header_only=True).header
    assert header.dmin == pixels.min()
    assert header.dmax == pixels.max()
    assert header.dmean == pytest.approx(pixels.mean(dtype="f8"), rel=1e-7)
    assert header.rms == pytest.approx(pixels.std(dtype="f8"), rel=1e-6)


def test_the_newest_ten_labels_stay_ascii_and_fit(placed, tmp_path):
    labels = {"label0": b"oldest", "label1": b"old", "nlabl": 2}
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"), **labels)))
    notes = [f"step {number}" for number in range(7)]
    read = read.with_pixels(read.pixels, *notes, "0.5 Å\nper pixel ± 1", "x" * 100)
    lowdose.io.write(tmp_path / "out.mrc", read)
    assert is_valid(tmp_path / "out.mrc")
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        assert independent.get_labels() == ["old", *notes, "0.5 A per pixel +- 1", "x" * 80]


def test_labels_are_the_history_and_written_once(placed, tmp_path):
    labels = {"label0": b"first".ljust(80), "label9": b"of \xb5m", "nlabl": 1}
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"), **labels)))
    assert read.history == ("first", "of µm")
    path = tmp_path / "out.mrc"
    for step in ("once", "twice"):
        lowdose.io.write(path, read.with_pixels(read.pixels + 1, step))
        read = lowdose.io.read(path)
    assert read.history == ("first", "of µm", "once", "twice")
    lowdose.io.write(tmp_path / "out.tif", read)
    assert lowdose.io.read(tmp_path / "out.tif").history == read.history


def test_pixel_size_in_nanometres_becomes_angstroms(tmp_path):
    lowdose.io.write(tmp_path / "out.mrc", Micrograph(RAMP[0].astype("f4"), IN_NM))
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        assert independent.voxel_size.y == pytest.approx(2.0)
        assert independent.voxel_size.x == pytest.approx(1.0)
    assert lowdose.io.read(tmp_path / "out.mrc").pixel_size_nm == pytest.approx((0.2, 0.1))


def test_a_cropped_image_gets_a_matching_cell(placed, tmp_path):
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"))))
    lowdose.io.write(tmp_path / "out.mrc", read.with_pixels(read.pixels[:, :3, :4]))
    assert is_valid(tmp_path / "out.mrc")
    assert lowdose.io.read(tmp_path / "out.mrc").pixel_size_nm == (0.25, 0.25)


@pytest.mark.parametrize(
    ("kind", "written"),
    [("u1", "u2"), ("i4", "f4"), ("u4", "f4"), ("i8", "f4"), ("u8", "f4"), ("f8", "f4")],
)
def test_a_type_without_a_mode_takes_the_next_that_holds_it(kind, written, tmp_path):
    pixels = np.array([[0, 1], [2, 200]], kind)
    lowdose.io.write(tmp_path / "out.mrc", Micrograph(pixels))
    assert is_valid(tmp_path / "out.mrc")
    read = lowdose.io.read(tmp_path / "out.mrc").pixels
    assert read.dtype == np.dtype(written)
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("pixels", [np.full((2, 2), 2**24 + 1), np.full((2, 2), -1e39)])
def test_values_that_no_mode_holds_are_refused_and_nothing_is_left(pixels, tmp_path):
    with pytest.raises(OutputError, match=r"out\.mrc: holds .* Convert them to float32"):
        lowdose.io.write(tmp_path / "out.mrc", Micrograph(pixels))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exttyp", [b"FEI1", b"FEI2"])
def test_the_microscope_s_own_facts_come_with_units(exttyp, placed, tmp_path):
    record = np.zeros(1, get_ext_header_dtype(exttyp, "<"))
    record["Metadata size"] = record.itemsize
    record["HT"], record["Dose"] = 300_000, 40e20  # V, e/m²
    record["Pixel size X"], record["Pixel size Y"] = 1.1e-10, 1.2e-10  # m
    content = mrc_bytes(
        RAMP[0].astype("i2"), extended=record.tobytes(), exttyp=exttyp, xlen=0.0, ylen=0.0
    )
    read = lowdose.io.read(placed(content))
    assert read.metadata == pytest.approx({"voltage_kv": 300.0, "dose_e_per_a2": 40.0})
    assert read.pixel_size_nm == pytest.approx((0.12, 0.11))
    lowdose.io.write(tmp_path / "out.mrc", read)
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        assert independent.indexed_extended_header["HT"].tolist() == [300_000]
        assert independent.voxel_size.x == pytest.approx(1.1)


def test_a_signed_image_of_imod_is_written_as_such(placed, tmp_path):
    content = mrc_bytes(RAMP[0].astype("i1"), imod_stamp=1146047817, imod_flags=0)
    read = lowdose.io.read(placed(content))
    lowdose.io.write(tmp_path / "out.mrc", read.with_pixels(RAMP[0].astype("i1")))
    np.testing.assert_array_equal(lowdose.io.read(tmp_path / "out.mrc").pixels, RAMP[0])


def test_a_header_from_before_2014_leaves_as_a_valid_one(placed, tmp_path):
    content = mrc_bytes(
        RAMP.astype("f4"), map=bytes(4), nversion=0, mapc=0, mapr=0, maps=0, nlabl=-3, order=">"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lowdose.io.write(tmp_path / "out.mrc", lowdose.io.read(placed(content)))
    assert is_valid(tmp_path / "out.mrc")


def test_a_label_ends_with_a_whole_word(placed, tmp_path):
    read = lowdose.io.read(placed(mrc_bytes(RAMP.astype("f4"))))
    note = "w" * 60 + " readout noise 3.82e+05"
    lowdose.io.write(tmp_path / "out.mrc", read.with_pixels(read.pixels, note))
    with mrcfile.open(tmp_path / "out.mrc") as independent:
        (label,) = independent.get_labels()
    assert label == "w" * 60 + " readout noise .."
