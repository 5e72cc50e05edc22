"""Files as instruments and their software wrote them: each is read right, or refused and why.

The files are kept outside the repository, in ``$LOWDOSE_MICROGRAPHS/native``.
"""

import gzip
import os
import shutil
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest

import lowdose.io
from lowdose.errors import InputError, LowdoseWarning
from lowdose.micrograph import Axis

pytest.importorskip("imagecodecs")

DEFAULT = Path(__file__).parents[3] / "shared" / "micrographs"
NATIVE = Path(os.environ.get("LOWDOSE_MICROGRAPHS", DEFAULT)) / "native"

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not NATIVE.is_dir(), reason="instrument files are not here"),
    pytest.mark.filterwarnings("ignore::lowdose.errors.LowdoseWarning"),
]

# File, or the end of several: the word that tells why it is refused.
REFUSED = {
    # Spectra, and EMI files whose SER is not beside them.
    "ref_F_0_1.dm3": "spectrum",
    "ref_F_0_1.dm4": "spectrum",
    "ref_F_1_1.dm4": "spectra",
    "ref_F_2_1.dm3": "spectra",
    "ref_T_0_1.dm3": "spectra",
    "ref_T_0_1.dm4": "spectra",
    "EDS-STO.emd": "spectra",
    "03_Scanning_Preview.emi": "_1.ser",
    "16x16-line_profile_horizontal_10x1024.emi": "_1.ser",
    "16x16-point_spectrum-1x1024.emi": "_1.ser",
    "16x16-2_point-spectra-2x1024_1.ser": "spectra",
    "16x16-line_profile_diagonal_10x1024_1.ser": "spectra",
    "16x16-spectrum_image-5x5x1024.emi": "spectra",
    "16x16-spectrum_image-5x5x1024_1.ser": "spectra",
    "more_ser_then_emi_metadata.emi": "spectrum",
    "more_ser_then_emi_metadata_1.ser": "spectrum",
    "example_spectrum.emd": "spectrum",
    "example1_v1.0.hdf5": "spectrum",
    "example1_v1.1.hdf5": "spectrum",
    "example1_v1.2.hdf5": "spectrum",
    "hspy_ext_missing.hspy": "spectrum",
    "none_metadata.hdf5": "spectrum",
    "with_lists_etc.hdf5": "spectrum",
    # More dimensions than a stack has.
    "Si100_1x1x3-zStart5.43.emd": "4-D STEM",
    "Si100_4D.emd": "4-D STEM",
    "test2.blo": "4-D STEM",
    # Pixels that are no intensities.
    "fei_example_complex_fft.emd": "complex",
    "test-3.dm3": "complex",
    "test-5.dm3": "complex",
    "test-13.dm3": "complex",
    "test-13.dm4": "complex",
    "test-27.dm4": "complex",
    "test_fft_packed_complex8.dm4": "complex",
    "test-14.dm3": "mask",
    "test-14.dm4": "mask",
    "test-8.dm4": "colour",
    "test-23.dm4": "colour",
    "optical_Zeiss_AxioVision_RGB.tif": "colour",
    "example_object_dtype_data.emd": "records",
    # Formats, and parts of them, that lowdose does not read.
    "test_12bit_RAW_1frame.mib": "raw MIB",
    "test_1bit_RAW_1frame.mib": "raw MIB",
    "test_tvips_2345_split_001.tvips": "_000.tvips",
    "over16bit.bcf": "no format",
    "test_TEM.bcf": "no format",
    "JEOL-SightX-TEM-mag-dummy.tif.gz": "no format",
}

PLUGINS = {
    ".dm3": "digitalmicrograph", ".dm4": "digitalmicrograph", ".ser": "tia", ".emi": "tia",
    ".emd": "emd", ".hspy": "hspy", ".hdf5": "hspy", ".tvips": "tvips", ".tif": "tiff",
}  # fmt: skip

# Where the plugin is known to be wrong or silent, and what is right instead: (y, x) in nm.
NOT_THE_PLUGINS = {
    "64x64_diffraction_acquire_1.ser": (0.10157, 0.10157),  # takes 1/m for m without its EMI
}

FILES = sorted(path for path in NATIVE.rglob("*") if path.is_file())
NAMES = [path.name for path in FILES]
READ = [path for path in FILES if path.name not in REFUSED]


def known(path):
    """(shape, dtype, steps and units of y and x) of each image, as an independent reader says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".mrc":
            with mrcfile.open(path, permissive=True) as mrc:
                voxel = [(float(mrc.voxel_size[name]), "Å") for name in "yx"]
                return [(mrc.data.shape, mrc.data.dtype, voxel)]
        module = pytest.importorskip(f"rsciio.{PLUGINS[path.suffix]}")
        signals = module.file_reader(str(path), **options(path))
    return [
        (
            signal["data"].shape,
            signal["data"].dtype,
            [(float(axis["scale"]), axis.get("units")) for axis in signal["axes"][-2:]],
        )
        for signal in signals
        if signal["data"].ndim > 1 and not signal["data"].dtype.names
    ]


def options(path):
    return {"select_type": "images"} if path.suffix == ".emd" else {}


def step(scale, unit):
    """Step in one unit for all lengths, NaN where nothing is stated."""
    unit = str(unit or "").replace(" ", "").replace("_", "").strip("[]")
    if scale <= 0 or (scale == 1 and not unit):
        return np.nan
    axis = Axis("x", scale, unit)
    return axis.step_nm or axis.scale


def test_the_table_names_files_that_exist():
    assert set(NAMES) >= REFUSED.keys()


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_shape_type_and_pixel_size_are_those_of_an_independent_reader(path):
    found = lowdose.io.read(path)
    matches = [
        (dtype, axes)
        for shape, dtype, axes in known(path)
        if squeezed(shape) == squeezed(found.shape)
    ]
    assert matches, f"no image of shape {found.shape}"
    dtype, axes = matches[0]
    assert found.pixels.dtype == dtype.newbyteorder("=")
    steps = [step(axis.scale or 0.0, axis.unit) for axis in found.axes[-2:]]
    expected = NOT_THE_PLUGINS.get(path.name) or [step(*each) for each in axes]
    assert steps == pytest.approx(expected, rel=1e-4, nan_ok=True)


def squeezed(shape):
    return tuple(length for length in shape[:-2] if length > 1) + tuple(shape[-2:])


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_result_survives_the_tiff_writer(path, tmp_path):
    found = lowdose.io.read(path)
    lowdose.io.write(tmp_path / "a.tif", found)
    again = lowdose.io.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(again.pixels, found.pixels)
    assert again.axes == found.axes
    assert again.metadata == found.metadata


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name in REFUSED], ids=lambda path: path.name
)
def test_refusal_is_one_line_that_says_why(path):
    with pytest.raises(InputError) as caught:
        lowdose.io.read(path)
    assert str(caught.value).startswith(str(path))
    assert REFUSED[path.name] in caught.value.problem
    assert "\n" not in str(caught.value)


def test_jeol_sightx_is_read_once_unpacked(tmp_path):
    (packed,) = NATIVE.rglob("JEOL-SightX-TEM-mag-dummy.tif.gz")
    with gzip.open(packed) as source, open(tmp_path / "jeol.tif", "wb") as target:
        shutil.copyfileobj(source, target)
    found = lowdose.io.read(tmp_path / "jeol.tif")
    assert found.pixel_size_nm == pytest.approx((1.82079, 1.82079), rel=1e-4)
    assert found.metadata["voltage_kv"] == 200


@pytest.mark.filterwarnings("default::lowdose.errors.LowdoseWarning")
def test_velox_file_of_four_detectors_says_what_it_left_out():
    (path,) = NATIVE.rglob("STEM_HAADF-DF4-DF2-BF_Diffraction_Micro.emd")
    with pytest.warns(LowdoseWarning, match="read HAADF, left out DF2, BF, DF4"):
        lowdose.io.read(path)


def test_berkeley_image_lies_as_its_axes_say():
    """RosettaSciIO transposes this file, whose first axis is y; the file itself is right."""
    h5py = pytest.importorskip("h5py")
    (path,) = NATIVE.rglob("Acquisition_18.emd")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(lowdose.io.read(path).pixels, file["data/single/data"])
