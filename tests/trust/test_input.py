"""Faults that were planted are found, and good images are found no fault with."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from lowdose.data.simulate import simulate_truth
from lowdose.errors import NoiseModelError
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.trust.input import examine

KINDS = ["particles", "lattice", "membranes", "fracture"]
DOSES = [5, 20, 100, 500, 2500]
SIDE = 256


@pytest.fixture(scope="module")
def exposures():
    """Truths of four kinds, each exposed to five doses in electrons a pixel: (dose, counts)."""
    found = []
    for seed, kind in enumerate(KINDS):
        truth = simulate_truth(kind, (SIDE, SIDE), rng=np.random.default_rng(seed)).pixels
        truth = truth.astype("f8") / truth.mean(dtype="f8")
        rng = np.random.default_rng(100 + seed)
        found += [(dose, rng.poisson(dose * truth).astype("f4")) for dose in DOSES]
    return found


def odd(image, noise=None):
    """Names of all that is not fine."""
    model = estimate_noise(image) if noise is None else noise
    return {finding.name for finding in examine(image, model).findings if finding.level != "fine"}


def share_found(exposures, fault, *names, doses=DOSES):
    """Share of the images in which a fault, planted by ``fault(counts, rng)``, is found."""
    rng = np.random.default_rng(1)
    images = [fault(counts, rng).astype("f4") for dose, counts in exposures if dose in doses]
    return np.mean([bool(odd(image).intersection(names)) for image in images])


def noise_of(counts):
    return math.sqrt(counts.mean())


# ---- good images


def test_good_images_are_found_no_fault_with(exposures):
    names = [odd(counts) for _, counts in exposures]
    for check in set().union(*names):
        assert np.mean([check in found for found in names]) <= 0.05, check


# ---- photon transfer


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_gain_wrong_by_two_is_found_either_way(exposures, gain):
    found = ["photon transfer" in odd(counts, NoiseModel(gain)) for _, counts in exposures]
    assert np.mean(found) > 0.95


def test_whole_numbers_of_a_camera_that_gives_two_for_an_electron_are_not_believed_counts():
    rng = np.random.default_rng(0)
    truth = simulate_truth("membranes", (SIDE, SIDE), rng=rng).pixels
    camera = np.rint(2 * rng.poisson(500 * truth + 100) + rng.normal(size=truth.shape))
    noise = estimate_noise(camera)
    assert noise.gain == 1
    (found,) = [each for each in examine(camera, noise).findings if each.name == "photon transfer"]
    assert found.level == "warning"
    assert found.value == pytest.approx(2, rel=0.1)
    assert "--gain" in found.action


def test_the_points_of_the_photon_transfer_lie_on_the_law_of_counts():
    counts = np.random.default_rng(0).poisson(np.linspace(20, 200, 512), (512, 512))
    transfer = examine(counts, NoiseModel(1.0)).transfer
    np.testing.assert_allclose(transfer.expected, transfer.mean)
    np.testing.assert_allclose(transfer.variance, transfer.expected, rtol=0.15)
    assert transfer.line.slope == pytest.approx(1, rel=0.1)


# ---- neighbours


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (lambda x, _: ndimage.median_filter(x, 3), ("repeated values", "correlated noise")),
        (lambda x, _: ndimage.gaussian_filter(x, 0.75), ("correlated noise",)),
        (lambda x, _: np.kron(x[::2, ::2], np.ones((2, 2))), ("repeated values",)),
    ],
    ids=["median", "blur", "doubled pixels"],
)
def test_filtered_images_are_found(exposures, fault, names):
    assert share_found(exposures, fault, *names) > 0.95


def test_a_median_filter_is_found_in_values_on_no_grid():
    noise = np.random.default_rng(0).normal(100, 5, (SIDE, SIDE)).astype("f4")
    assert "repeated values" not in odd(noise)
    assert "repeated values" in odd(ndimage.median_filter(noise, 3))


# ---- lines


@pytest.mark.parametrize(
    ("shape", "name"), [((SIDE, 1), "row noise"), ((1, SIDE), "column noise")], ids=["rows", "cols"]
)
def test_offsets_of_lines_by_half_the_noise_are_found(exposures, shape, name):
    def fault(counts, rng):
        return counts + 0.5 * noise_of(counts) * rng.normal(size=shape)

    assert share_found(exposures, fault, name) > 0.95


@pytest.mark.parametrize("period", [2.7, 5, 16])
def test_specimens_parallel_to_the_rows_are_no_line_noise(period):
    y = np.arange(SIDE)[:, None] * np.ones(SIDE)
    rng = np.random.default_rng(0)
    fringes = rng.poisson(100 * (1 + 0.5 * np.sin(2 * np.pi * y / period)))
    layers = rng.poisson(np.where((y // 64) % 2, 200, 50))
    for specimen in (fringes, layers):
        assert "row noise" not in odd(specimen, NoiseModel(1.0))


def test_the_offsets_of_rows_are_measured_in_units_of_the_noise():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 3, (512, 512)) + rng.normal(0, 3, (512, 1))
    (found,) = [
        each
        for each in examine(image.astype("f4"), NoiseModel(1e-3, 0.0, 3.0)).findings
        if each.name == "row noise"
    ]
    assert found.value == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("strength", [0.7, 1.5])
def test_displaced_rows_are_found_and_measured_in_pixels(strength):
    rng = np.random.default_rng(0)
    x = np.arange(600) + rng.normal(0, strength, (600, 1))
    image = rng.poisson(100 * (1 + 0.6 * np.sin(x / 4))).astype("f4")
    found = {each.name: each for each in examine(image, NoiseModel(1.0)).findings}["row jitter"]
    assert found.level == "warning"
    assert found.value == pytest.approx(strength, rel=0.3)
    assert "--dejitter" in found.action


# ---- values and pixels


def test_saturated_images_are_found(exposures):
    assert (
        share_found(exposures, lambda x, _: np.minimum(x, np.quantile(x, 0.99)), "saturation")
        > 0.95
    )


def test_clipped_images_are_found(exposures):
    def fault(counts, rng):
        offset = counts + rng.normal(0, 0.3 * noise_of(counts), counts.shape)
        return np.maximum(offset - np.quantile(offset, 0.1), 0)

    assert share_found(exposures, fault, "clipped values", doses=DOSES[1:]) > 0.95


def test_single_hot_pixels_are_found(exposures):
    def fault(counts, rng):
        counts = counts.copy()
        counts.flat[rng.choice(counts.size, 20, replace=False)] += 30 * noise_of(counts) + 20
        return counts

    assert share_found(exposures, fault, "hot pixels") > 0.95


def test_dead_pixels_are_found_where_there_are_electrons(exposures):
    def fault(counts, rng):
        counts = np.rint(counts + counts.mean())
        counts.flat[rng.choice(counts.size, 20, replace=False)] = 0
        return counts

    assert share_found(exposures, fault, "hot pixels", doses=[500, 2500]) > 0.95


def test_jpeg_is_found_where_noise_does_not_hide_it(exposures):
    def fault(counts, _):
        grey = np.clip(counts * (230 / np.quantile(counts, 0.999)), 0, 255).astype("u1")
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=60)
        return np.asarray(Image.open(file))

    assert share_found(exposures, fault, "block grid", doses=[500, 2500]) > 0.95


def test_steps_coarser_than_the_noise_are_found(exposures):
    def fault(counts, _):
        step = 4 * noise_of(counts)
        return np.rint(counts / step) * step

    # Of five electrons that leaves values that could be counts, with too little noise for them.
    assert share_found(exposures, fault, "rounding", doses=DOSES[1:]) > 0.95
    assert share_found(exposures, fault, "rounding", "photon transfer") > 0.95


def test_masked_borders_are_found(exposures):
    def fault(counts, _):
        counts = counts.copy()
        counts[:, : SIDE // 16] = np.rint(counts.mean())
        return counts

    assert share_found(exposures, fault, "constant areas") > 0.95


# ---- any image


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1, 1), (1, 7), (3, 5), (8, 8), (40, 70), (3, 41, 56), (12, 9, 200)]),
    dtype=st.sampled_from(["u1", "i1", "u2", ">i2", "u4", "i8", "f2", "f4", ">f4", "f8"]),
    kind=st.sampled_from(["counts", "normal", "zeros", "hot", "half", "stripes"]),
    scale=st.sampled_from([1e-6, 1.0, 3e4, 1e30]),
    given_gain=st.sampled_from([None, 0.0, 1.0, 1e-9]),
)
def test_odd_images_are_told_what_can_be_told(shape, dtype, kind, scale, given_gain):
    rng = np.random.default_rng(0)
    image = {
        "counts": lambda: rng.poisson(3.0, shape).astype("f8"),
        "normal": lambda: rng.normal(size=shape),
        "zeros": lambda: np.zeros(shape),
        "hot": lambda: np.arange(math.prod(shape)).reshape(shape) == 1,
        "half": lambda: rng.poisson(5.0, shape) * (np.arange(shape[-1]) % 16 < 8),
        "stripes": lambda: np.arange(shape[-1]) % 2 + rng.normal(0, 0.01, shape),
    }[kind]()
    kinds = np.finfo if np.dtype(dtype).kind == "f" else np.iinfo
    most = float(kinds(dtype).max) / 2
    image = np.clip(image * scale, float(kinds(dtype).min) / 2, most).astype(dtype)
    before = image.copy()
    found = examine(image, estimate_noise(image) if given_gain is None else NoiseModel(given_gain))
    assert all(math.isfinite(each.value) and each.meaning for each in found.findings)
    assert all(bool(each.action) == (each.level != "fine") for each in found.findings)
    assert np.array_equal(image, before)


def test_pixels_that_are_no_numbers_are_refused():
    image = np.ones((64, 64), "f4")
    image[3, 4] = np.nan
    with pytest.raises(NoiseModelError, match="NaN or infinite"):
        examine(image, NoiseModel(1.0))


def test_large_images_are_looked_at_in_all_corners(tmp_path):
    path = tmp_path / "big.npy"
    image = np.lib.format.open_memmap(path, "w+", "u2", (4096, 2048))
    image[:] = (
        np.random.default_rng(0).poisson(50, (512, 2048))[None].repeat(8, 0).reshape(-1, 2048)
    )
    image[-512:, -512:] = 50
    image.flush()
    assert "constant areas" in odd(np.load(path, mmap_mode="r"))
