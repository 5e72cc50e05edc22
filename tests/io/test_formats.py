import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import lowdose.io
from lowdose.errors import (
    InputError,
    LowdoseError,
    LowdoseWarning,
    MalformedFileError,
    OutputError,
    UnsupportedContentError,
)
from lowdose.io import (
    FORMATS,
    Format,
    by_suffix,
    check_output,
    family_suffix,
    formats,
    identify,
)
from lowdose.micrograph import Micrograph
from tests.io.builders import mrc_bytes
from tests.io.malformed_cases import GOOD_MRC, GOOD_PNG, GOOD_TIFF, good_npy, with_value

RAMP = np.arange(2 * 5 * 7, dtype="u2").reshape(2, 5, 7)
GOOD = {"mrc": GOOD_MRC, "npy": good_npy(RAMP), "png": GOOD_PNG, "tiff": GOOD_TIFF}


def test_names_are_unique_and_suffixes_lower_case_with_a_dot():
    names = [each.name for each in FORMATS]
    assert len(set(names)) == len(names)
    for suffix in (suffix for each in FORMATS for suffix in each.suffixes):
        assert suffix == suffix.lower()
        assert suffix.startswith(".")


@pytest.mark.parametrize("name", GOOD)
def test_content_decides_and_a_name_without_suffix_is_no_lie(name, tmp_path):
    (tmp_path / "nameless").write_bytes(GOOD[name])
    assert identify(tmp_path / "nameless").name == name
    assert lowdose.io.read(tmp_path / "nameless").source.format == name


@pytest.mark.parametrize("name", GOOD)
def test_a_wrong_suffix_is_read_with_one_warning_that_names_the_file(name, tmp_path):
    path = tmp_path / ("image.npy" if name != "npy" else "image.mrc")
    path.write_bytes(GOOD[name])
    with pytest.warns(LowdoseWarning, match=f"but its content is {name}") as caught:
        assert lowdose.io.read(path).source.format == name
    assert len(caught) == 1
    assert str(caught[0].message).startswith(f"{path}: ")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", [each.name for each in FORMATS if each.write])
def test_every_writable_format_reads_its_own(name, tmp_path):
    suffix = next(each.suffixes[0] for each in FORMATS if each.name == name)
    pixels = RAMP[0] if name == "png" else RAMP
    lowdose.io.write(tmp_path / f"out{suffix}", Micrograph(pixels))
    read = lowdose.io.read(tmp_path / f"out{suffix}")
    assert read.source.format == name
    np.testing.assert_array_equal(read.pixels, pixels)


def test_a_named_format_wins_over_the_suffix(tmp_path):
    lowdose.io.write(tmp_path / "out.dat", Micrograph(RAMP), format="npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.dat"), RAMP)


@pytest.mark.parametrize("name", ["out", "out.xyz", "out.dm4", "out.jpg"])
def test_what_cannot_be_written_is_refused_with_the_choices(name, tmp_path):
    with pytest.raises(OutputError, match=r"lowdose does not write .* \.npy, \.mrc"):
        lowdose.io.write(tmp_path / name, Micrograph(RAMP))
    with pytest.raises(OutputError, match="does not write dm"):
        lowdose.io.write(tmp_path / "out.mrc", Micrograph(RAMP), format="dm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mrc.gz", "out.mrc.bz2"])
def test_compressed_output_is_refused_rather_than_written_plain(name, tmp_path):
    with pytest.raises(OutputError, match="compress"):
        lowdose.io.write(tmp_path / name, Micrograph(RAMP))


def test_a_folder_a_device_and_a_missing_folder_are_not_written_to(tmp_path):
    (tmp_path / "out.mrc").mkdir()
    with pytest.raises(OutputError, match="is not a file"):
        lowdose.io.write(tmp_path / "out.mrc", Micrograph(RAMP))
    with pytest.raises(OutputError, match=r"its folder does not exist"):
        lowdose.io.write(tmp_path / "none" / "out.mrc", Micrograph(RAMP))
    with pytest.raises(OutputError, match="is not a file"):
        lowdose.io.write(os.devnull, Micrograph(RAMP), format="mrc")
    assert list((tmp_path / "out.mrc").iterdir()) == []


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "link.npy").symlink_to(tmp_path / "target.npy")
    lowdose.io.write(tmp_path / "link.npy", Micrograph(RAMP))
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "target.npy"), RAMP)


def test_a_file_can_be_written_over_while_it_is_mapped(tmp_path):
    np.save(tmp_path / "in.npy", RAMP)
    read = lowdose.io.read(tmp_path / "in.npy")
    lowdose.io.write(tmp_path / "in.npy", read)
    np.testing.assert_array_equal(read.pixels, RAMP)
    np.testing.assert_array_equal(np.load(tmp_path / "in.npy"), RAMP)


def test_nonfinite_pixels_are_filled_with_the_median_of_their_frame(tmp_path):
    stack = np.stack([with_value(np.nan), with_value(1.0) + 5000])
    np.save(tmp_path / "in.npy", stack)
    read = lowdose.io.read(tmp_path / "in.npy", nonfinite="fill").pixels
    frame = np.delete(stack[0].ravel(), 5 * 64 + 7)
    assert read[0, 5, 7] == np.median(frame)
    np.testing.assert_array_equal(np.delete(read[0].ravel(), 5 * 64 + 7), frame)
    np.testing.assert_array_equal(read[1], stack[1])
    assert np.isnan(np.load(tmp_path / "in.npy")[0, 5, 7])


def test_nonfinite_pixels_can_be_kept_but_not_conjured_from_nothing(tmp_path):
    path = tmp_path / "in.mrc"
    path.write_bytes(mrc_bytes(with_value(np.inf)))
    assert np.isinf(lowdose.io.read(path, nonfinite="keep").pixels).sum() == 1
    path.write_bytes(mrc_bytes(np.full((4, 4), np.nan, "f4")))
    with pytest.raises(UnsupportedContentError, match="no finite pixel"):
        lowdose.io.read(path, nonfinite="fill")


@pytest.mark.parametrize(
    ("path", "name", "suffix"),
    [
        ("a.mrc", "mrc", ".mrc"), ("a.MRCS", "mrc", ".mrcs"), ("a.mrc.gz", "mrc", ".mrc"),
        ("a.st.bz2", "mrc", ".mrc"), ("a.dat", "npy", ".npy"), ("a.png", "png", ".png"),
        ("a.dm4", "dm", ".mrc"), ("a.emd", "emd", ".mrc"),
    ],
)  # fmt: skip
def test_output_goes_to_its_own_family_or_to_mrc(path, name, suffix):
    assert family_suffix(name, Path(path)) == suffix


def test_suffixes_are_matched_without_case():
    assert by_suffix("A.MRC.GZ").name == "mrc"
    assert by_suffix("A.xyz") is None


def fake_format(read):
    return Format("fake", "For tests.", (".fake",), lambda head, path: head == b"fake", read)


@pytest.fixture
def read_fake(tmp_path, monkeypatch):
    def run(reader):
        monkeypatch.setattr(formats, "FORMATS", (fake_format(reader),))
        (tmp_path / "in.fake").write_bytes(b"fake")
        return lowdose.io.read(tmp_path / "in.fake")

    return run


@pytest.mark.parametrize(
    "error",
    [OverflowError("too\nlarge"), KeyError("nx"), SyntaxError(), OSError("bad"), MemoryError()],
)
def test_whatever_a_library_raises_becomes_one_line_with_its_cause(error, read_fake):
    def reader(path, limits):
        raise error

    with pytest.raises(InputError, match=r"in\.fake: ") as caught:
        read_fake(reader)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_our_own_errors_pass_unchanged(read_fake):
    error = LowdoseError("as it is")

    def reader(path, limits):
        raise error

    with pytest.raises(LowdoseError) as caught:
        read_fake(reader)
    assert caught.value is error
    with pytest.raises(MalformedFileError, match="cannot be decoded as fake: RuntimeError"):
        read_fake(lambda path, limits: (_ for _ in ()).throw(RuntimeError))


def test_a_library_s_warnings_become_one_of_ours(read_fake):
    def reader(path, limits):
        warnings.warn("the tag\nis odd", stacklevel=1)
        warnings.warn("the end is missing", RuntimeWarning, stacklevel=1)
        warnings.warn("an interface is old", DeprecationWarning, stacklevel=1)
        return Micrograph(RAMP)

    with pytest.warns(LowdoseWarning) as caught:
        read_fake(reader)
    assert len(caught) == 1
    assert str(caught[0].message).endswith("in.fake: the end is missing; the tag is odd.")


def test_a_folder_that_may_not_be_written_to_is_found_out_before_the_work(tmp_path, monkeypatch):
    # By the answer of the system, for root may write anywhere.
    monkeypatch.setattr("os.access", lambda folder, mode: Path(folder) != tmp_path)
    with pytest.raises(OutputError, match="may not be written to"):
        check_output(tmp_path / "a.mrc")
    (tmp_path / "open").mkdir()
    (tmp_path / "a.mrc").symlink_to(tmp_path / "open" / "a.mrc")
    check_output(tmp_path / "a.mrc")
