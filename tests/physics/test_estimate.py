import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lowdose.errors import NoiseModelError
from lowdose.physics import estimate as module
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise, fit_noise

SHAPES = [(1, 1), (1, 7), (3, 5), (8, 8), (40, 40), (3, 41, 56), (1, 64, 64), (12, 9, 200)]


def smooth(side=512, seed=1):
    """A smooth specimen from 0.3 to 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    waves = [np.cos((x * rng.normal() + y * rng.normal()) / 40 + rng.uniform(0, 6)) for _ in "1234"]
    image = np.sum(waves, axis=0)
    return 0.3 + 0.7 * (image - image.min()) / np.ptp(image)


def counts(dose, side=512, seed=0):
    return np.random.default_rng(seed).poisson(dose * smooth(side))


@pytest.mark.parametrize("dose", [1, 10, 100, 1000, 1e4])
@pytest.mark.parametrize("dtype", ["u2", "i4", ">u2", "f4", "f8"])
def test_counts_have_gain_exactly_one(dose, dtype):
    model = estimate_noise(counts(dose).astype(dtype))
    assert (model.gain, model.offset, model.readout_std) == (pytest.approx(1, rel=1e-9), 0, 0)
    assert model.remark == ""


@pytest.mark.parametrize("dose", [3, 30, 300, 3000])
def test_rescaled_counts_have_their_step_as_gain(dose):
    image = counts(dose)
    model = estimate_noise(np.float32(image / image.max()))
    assert model.gain == pytest.approx(1 / image.max(), rel=1e-4)
    assert model.offset == 0


def test_counts_scaled_between_their_extremes_never_claim_more_than_their_noise():
    image = counts(1000)
    model = estimate_noise(np.float32((image - image.min()) / np.ptp(image)))
    assert model.gain == pytest.approx(1 / np.ptp(image), rel=1e-4)
    deviation = np.sqrt(1000 * smooth()) / np.ptp(image)
    claimed = model.noise_std((1000 * smooth() - image.min()) / np.ptp(image))
    assert (claimed < 1.02 * deviation).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dose", [10, 100, 1000])
def test_gain_offset_and_readout_noise_are_fitted(dose, seed):
    noise = np.random.default_rng(seed).normal(0, 5, (512, 512))
    image = np.float32(7.3 * counts(dose, seed=seed) + 100 + noise)
    model = estimate_noise(image)
    assert 0.85 * 7.3 < model.gain < 1.05 * 7.3  # the lower end of the uncertainty is taken
    # Offset and readout noise cannot be told apart; what they do to the variance can.
    expected = np.sqrt(7.3**2 * dose * smooth() + 25)
    claimed = model.noise_std(7.3 * dose * smooth() + 100)
    np.testing.assert_allclose(claimed, expected, rtol=0.1)


def test_an_integer_camera_with_a_gain_is_not_taken_for_counts():
    image = np.rint(7.3 * counts(30) + 100).astype("u2")
    model = estimate_noise(image)
    assert model.gain == pytest.approx(7.3, rel=0.1)


def test_texture_in_counts_of_high_dose_keeps_gain_one_and_says_so():
    rng = np.random.default_rng(0)
    texture = 60 * rng.normal(size=(512, 512))  # as strong as 4 x the noise, everywhere
    image = rng.poisson(np.maximum(1000 * smooth() + texture, 0)).astype("u2")
    model = estimate_noise(image)
    assert model.gain == 1
    assert "texture" in model.remark


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e6, 1e30])
def test_the_unit_of_the_pixels_does_not_matter(unit):
    image = 7.3 * counts(30, 256) + np.random.default_rng(0).normal(0, 5, (256, 256))
    one, other = estimate_noise(image), estimate_noise(image * unit)
    assert other.gain == pytest.approx(one.gain * unit, rel=1e-6)
    assert other.offset == pytest.approx(one.offset * unit, rel=1e-6)
    assert other.basis == one.basis


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", [30, 300, 3000])
def test_constant_noise_is_taken_as_constant_up_to_the_brightest_pixel(ratio, seed):
    noise = np.random.default_rng(seed).normal(size=(512, 512))
    model = estimate_noise(np.float32(ratio * smooth() + noise))
    np.testing.assert_allclose(model.noise_std(ratio * smooth()), 1, rtol=0.1)


@pytest.mark.parametrize(
    "image",
    [
        smooth().astype("f4"),
        smooth(),
        np.rint(60_000 * smooth()).astype("u2"),
        np.rint(255 * smooth()).astype("u1"),
        np.float32(np.rint(255 * smooth()) / 255),
        np.add.outer(np.arange(200), 2 * np.arange(300)).astype("f4"),
        (smooth() > 0.6).astype("f4"),
    ],
    ids=["float32", "float64", "uint16", "uint8", "uint8 as float", "ramp", "mask"],
)
def test_clean_images_are_noise_free(image):
    assert estimate_noise(image).is_noise_free


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [0, 7, -3])
def test_constant_images_are_noise_free_and_say_what_to_do(shape, value):
    model = estimate_noise(np.full(shape, value, "f4"))
    assert model.is_noise_free
    assert "--gain" in model.remark


def test_images_too_small_to_tell_are_noise_free():
    rng = np.random.default_rng(0)
    assert estimate_noise(rng.poisson(30, (30, 40))).is_noise_free
    assert estimate_noise(rng.poisson(30, (7, 5000))).is_noise_free


def test_a_stack_is_judged_by_its_frames_together():
    frames = np.random.default_rng(0).poisson(0.5 * smooth(128), (20, 128, 128)).astype("u1")
    assert estimate_noise(frames).gain == 1
    assert estimate_noise(np.float32(frames / frames.max())).gain == pytest.approx(
        1 / frames.max(), rel=1e-4
    )


def test_large_images_are_sampled_and_never_written_to(tmp_path):
    image = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", "u2", (2400, 2400))
    image[:] = np.random.default_rng(0).poisson(50, image.shape)
    before = image.copy()
    image.flush()
    assert estimate_noise(np.load(tmp_path / "big.npy", mmap_mode="r")).gain == 1
    assert np.array_equal(image, before)


def test_pixels_that_the_sample_misses_may_be_darker_than_all_it_holds(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE", 1 << 11)
    rng = np.random.default_rng(0)
    image = rng.poisson(20, (1024, 1024)) + np.float32(0.5)
    skip = math.isqrt(image.size // module._SAMPLE)
    image[::skip, ::skip] += rng.integers(5000, 5200, image[::skip, ::skip].shape)
    model = estimate_noise(image)
    assert model.noise_std(np.array(20.5)) == pytest.approx(20**0.5, rel=0.1)


@pytest.mark.parametrize("frames", [9, 15, 23])
def test_of_a_stack_the_last_frames_are_looked_at_as_well(frames):
    dark = np.random.default_rng(0).poisson(5.0, (frames, 128, 128))
    dark[frames // 2 + 1 :] *= 0
    dark[-1] = 40 * counts(20.0, 128)
    windows = list(module.spread_windows(dark))
    assert len(windows) == 8
    assert np.array_equal(windows[0], dark[0])
    assert np.array_equal(windows[-1], dark[-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("judge", [estimate_noise, fit_noise])
def test_pixels_that_are_no_numbers_are_refused(judge, bad):
    image = counts(30, 64).astype("f4")
    image[5, 7] = bad
    with pytest.raises(NoiseModelError, match="NaN or infinite"):
        judge(image)


def test_texture_beside_white_noise_of_a_known_gain_is_no_blur():
    grain = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(512, 512)), 0.8)
    textured = 500 * smooth() * (1 + 0.1 * grain / grain.std())
    image = np.random.default_rng(0).poisson(textured).astype("f4")
    assert any(fit_noise(image).correlation)
    known = NoiseModel(1.0)
    assert module.allow_for_blur(known, image) is known
    blurred = ndimage.gaussian_filter(counts(500), 0.8, output="f4")
    left = module.allow_for_blur(known, blurred)
    assert left.gain == pytest.approx(1 / (4 * np.pi * 0.8**2), rel=0.15)


def test_the_fit_alone_does_not_look_at_the_step():
    image = 3 * counts(100)
    assert estimate_noise(image).basis == "values are counts of step 3"
    model = fit_noise(image)
    assert model.basis.startswith("fitted")
    assert model.gain == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("image", [np.ones((3, 5)), np.full((64, 64), 7), np.zeros((2, 64, 64))])
def test_the_fit_alone_refuses_an_image_that_tells_nothing(image):
    with pytest.raises(NoiseModelError, match="too small or too flat"):
        fit_noise(image)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", ">i2", "u4", "i8", "f2", "f4", ">f4", "f8"]),
    kind=st.sampled_from(["counts", "normal", "zeros", "hot", "half", "steps", "stripes"]),
    scale=st.sampled_from([1e-6, 0.3, 1.0, 100.0, 3e4, 1e30]),
    offset=st.sampled_from([0.0, -50.0, 1e4]),
)
def test_odd_images_give_a_finite_model_and_no_warning(shape, dtype, kind, scale, offset):
    rng = np.random.default_rng(0)
    image = {
        "counts": lambda: rng.poisson(3.0, shape).astype("f8"),
        "normal": lambda: rng.normal(size=shape),
        "zeros": lambda: np.zeros(shape),
        "hot": lambda: np.zeros(shape),
        "half": lambda: rng.poisson(5.0, shape) * (np.arange(shape[-1]) % 16 < 8),
        "steps": lambda: rng.integers(0, 3, shape) / 3,
        "stripes": lambda: np.arange(shape[-1]) % 2 + rng.normal(0, 0.01, shape),
    }[kind]()
    if kind == "hot":
        image.flat[image.size // 2] = 1
    image = image * scale + offset
    kinds = np.finfo if np.dtype(dtype).kind == "f" else np.iinfo
    image = np.clip(image, float(kinds(dtype).min) / 2, float(kinds(dtype).max) / 2).astype(dtype)
    before = image.copy()
    model = estimate_noise(image)
    facts = (model.gain, model.offset, model.readout_std, model.gain_std)
    assert np.isfinite(facts).all()
    assert np.isfinite(model.noise_std(image)).all()
    assert np.array_equal(image, before)
    assert model.basis


@pytest.mark.parametrize("width", [0.6, 0.75, 1.0])
def test_the_noise_of_a_blurred_image_is_measured_whole(width):
    electrons = ndimage.gaussian_filter(counts(50, seed=3).astype("f4"), width, mode="mirror")
    expected = ndimage.gaussian_filter(50 * smooth(), width, mode="mirror")
    model = estimate_noise(electrons)
    assert min(model.correlation) > 0.3
    assert model.noise_std(expected).mean() == pytest.approx((electrons - expected).std(), rel=0.15)


def test_interpolated_counts_rounded_to_whole_numbers_are_not_taken_for_counts():
    electrons = counts(50).astype("f8")
    moved = np.rint(
        (electrons[1:, 1:] + electrons[:-1, 1:] + electrons[1:, :-1] + electrons[:-1, :-1]) / 4
    )
    model = estimate_noise(moved)
    assert model.correlation == pytest.approx((0.5, 0.5), abs=0.08)
    assert model.gain < 0.5


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("dose", [10, 50])
@pytest.mark.parametrize("unit", [1.0, 1e-3, 255.0])
def test_interpolated_counts_are_not_taken_for_counts_of_hundredths(dose, fraction, unit):
    electrons = counts(dose).astype("f8")
    for axis in (0, 1):
        electrons = (1 - fraction) * electrons + fraction * np.roll(electrons, 1, axis)
    model = estimate_noise((unit * electrons).astype("f4"))
    alone = fraction**2 + (1 - fraction) ** 2
    expected = unit * alone * np.sqrt(dose * smooth())  # the root of its square, along both axes
    np.testing.assert_allclose(model.noise_std(unit * dose * smooth()), expected, rtol=0.1)
    correlation = fraction * (1 - fraction) / alone
    assert model.correlation == pytest.approx((correlation, correlation), abs=0.05)


def test_counts_interpolated_half_a_pixel_aside_and_binned_are_no_counts_of_a_quarter():
    electrons = counts(20, 1024).astype("f8")
    for axis in (0, 1):
        electrons = (electrons + np.roll(electrons, 1, axis)) / 2
    image = electrons.reshape(512, 2, 512, 2).sum(axis=(1, 3))
    expected = 4 * 20 * smooth(1024).reshape(512, 2, 512, 2).mean(axis=(1, 3))
    claimed = estimate_noise(image.astype("f4")).noise_std(expected)
    np.testing.assert_allclose(claimed, 0.75 * np.sqrt(expected), rtol=0.1)


@pytest.mark.parametrize("side", [2, 4])
def test_means_of_whole_squares_of_counts_are_counts_of_a_fraction(side):
    electrons = counts(20, 512 * side).astype("f4")
    image = electrons.reshape(512, side, 512, side).mean(axis=(1, 3))
    model = estimate_noise(image)
    assert (model.gain, model.offset, model.correlation) == (1 / side**2, 0, (0, 0))


@pytest.mark.parametrize("readout", [0.5, 2, 5])
@pytest.mark.parametrize("dose", [20, 50, 200, 1000, 5000])
@pytest.mark.parametrize(("gain", "dtype"), [(4.0, ">u2"), (9.0, "i4")])
def test_a_camera_that_stores_whole_numbers_is_known_by_its_photon_transfer(
    gain, dtype, dose, readout
):
    noise = np.random.default_rng(1).normal(0, readout, (512, 512))
    image = np.rint(gain * (counts(dose) + noise) + 100).astype(dtype)
    expected = gain * np.sqrt(dose * smooth() + readout**2)
    claimed = estimate_noise(image).noise_std(gain * dose * smooth() + 100)
    np.testing.assert_allclose(claimed, expected, rtol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_a_camera_of_many_pixels_is_known_likewise(seed):
    noise = np.random.default_rng(seed).normal(0, 2, (2048, 2048))
    image = np.rint(4 * (counts(1000, 2048, seed) + noise) + 100).astype("u2")
    claimed = estimate_noise(image).noise_std(4 * 1000 * smooth(2048) + 100)
    np.testing.assert_allclose(claimed, 4 * np.sqrt(1000 * smooth(2048) + 4), rtol=0.05)


@pytest.mark.parametrize("dose", [60, 100, 200])
def test_grey_levels_near_counts_have_the_noise_that_is_measured(dose):
    noise = np.random.default_rng(1).normal(0, 5, (512, 512))
    scale = 100 / dose
    image = np.rint(scale * (counts(dose) + noise)).clip(0, 255).astype("u1")
    expected = scale * np.sqrt(dose * smooth() + 25)
    claimed = estimate_noise(image).noise_std(scale * dose * smooth())
    np.testing.assert_allclose(claimed, expected, rtol=0.12)


@pytest.mark.parametrize("width", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("dose", [500, 5000])
def test_texture_that_grows_with_the_signal_in_counts_keeps_gain_one(dose, width):
    texture = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(512, 512)), width)
    clean = dose * smooth() * (1 + 0.12 * texture / texture.std())
    image = np.random.default_rng(0).poisson(clean.clip(0)).astype("u2")
    assert estimate_noise(image).gain == 1


@pytest.mark.parametrize("dose", [0.1, 0.3, 1, 10, 200])
@pytest.mark.parametrize("side", [224, 256, 512])
def test_counts_are_never_refuted_by_chance(dose, side):
    for seed in range(4):
        image = counts(dose, side, seed)
        for dtype in ("u2", "u1") if image.max() < 256 else ("u2",):
            assert estimate_noise(image.astype(dtype)).gain == 1


@pytest.mark.parametrize("dose", [50, 500, 5000])
def test_black_of_rescaled_counts_follows_from_their_noise(dose):
    clean = dose * (0.4 + smooth())  # never near black
    image = np.float32(3.7 * np.random.default_rng(0).poisson(clean) + 100)
    model = estimate_noise(image)
    assert model.gain == pytest.approx(3.7, rel=1e-4)
    claimed = model.noise_std(3.7 * clean + 100)
    np.testing.assert_allclose(claimed, 3.7 * np.sqrt(clean), rtol=0.05)


@pytest.mark.parametrize("dose", [3000, 30_000])
def test_noise_that_a_truth_holds_itself_is_kept_at_high_doses(dose):
    own = 1 + 0.03 * np.random.default_rng(2).normal(size=(512, 512))
    image = np.random.default_rng(0).poisson((dose * smooth() * own).clip(0)).astype("f4")
    assert estimate_noise(image).gain == 1


def atoms(side=384, period=8.0, width=2.0, angle=0.2):
    """A lattice of bright atoms, on which no part of an image is homogeneous; mean 1."""
    y, x = np.mgrid[:side, :side]
    turned = (x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle))
    off = [np.remainder(place, period) - period / 2 for place in turned]
    image = 0.3 + np.exp(-(off[0] ** 2 + off[1] ** 2) / (2 * width**2))
    return image / image.mean()


@pytest.mark.parametrize("period", [5.0, 8.0, 14.0])
@pytest.mark.parametrize("dose", [20, 100])
@pytest.mark.parametrize("dtype", ["f4", "u2"])
def test_a_camera_is_known_by_a_lattice_alone(period, dose, dtype):
    rng = np.random.default_rng(0)
    expected = dose * atoms(period=period, width=period / 4)
    pixels = 3.7 * (rng.poisson(expected) + 2 * rng.normal(size=expected.shape)) + 100
    model = estimate_noise(np.rint(pixels).astype(dtype) if dtype == "u2" else pixels.astype(dtype))
    assert model.gain == pytest.approx(3.7, rel=0.1)
    true = 3.7**2 * (dose + 2**2)
    assert model.noise_std(100 + 3.7 * dose) ** 2 == pytest.approx(true, rel=0.06)
    assert model.correlation == (0, 0)


@pytest.mark.parametrize("dose", [10, 100])
def test_black_of_rescaled_counts_follows_from_a_lattice(dose):
    recorded = np.random.default_rng(0).poisson(dose * atoms())
    model = estimate_noise(np.float32(3.7 * recorded + 100))
    assert model.gain == pytest.approx(3.7, rel=1e-4)
    assert model.offset == pytest.approx(100, abs=3.7 * 0.08 * dose)


def test_counts_of_a_lattice_are_counts():
    for dose in (2, 5, 20, 100, 1000):
        model = estimate_noise(np.random.default_rng(0).poisson(dose * atoms()))
        assert (model.gain, model.offset, model.remark) == (1, 0, "")


@pytest.mark.parametrize("width", [0.5, 0.8])
def test_noise_that_a_detector_blurred_is_measured_on_a_lattice_too(width):
    rng = np.random.default_rng(0)
    pixels = ndimage.gaussian_filter(10.0 * rng.poisson(200 * atoms()), width).astype(np.float32)
    kernel = ndimage.gaussian_filter(np.eye(1, 441, 220).reshape(21, 21), width)
    model = estimate_noise(pixels)
    assert min(model.correlation) > 0.1
    true = 100 * 200 * np.square(kernel).sum()
    assert model.noise_std(np.array(2000.0)) ** 2 == pytest.approx(true, rel=0.25)


def test_the_fit_alone_knows_a_lattice_too():
    model = fit_noise(np.random.default_rng(0).poisson(50 * atoms()))
    assert model.gain == pytest.approx(1, rel=0.1)


@pytest.mark.filterwarnings("error")
def test_parts_of_a_blurred_image_where_nothing_arrived_are_passed_over():
    image = ndimage.gaussian_filter(np.random.default_rng(0).poisson(2e4 * smooth()) * 1.0, 0.7)
    image[:200] = 0
    assert estimate_noise(np.rint(image).astype(np.uint16)).gain > 0


@pytest.mark.parametrize("dtype", ["f4", "u2", "u1"])
def test_a_lattice_without_noise_has_none(dtype):
    image = 200 * atoms(period=8, width=2) / atoms(period=8, width=2).max()
    pixels = image.astype(dtype) if dtype == "f4" else np.rint(image).astype(dtype)
    model = estimate_noise(pixels)
    assert model.noise_std(np.array(image.mean())) < 1


def test_grey_levels_of_a_lattice_have_the_noise_that_is_measured():
    recorded = np.random.default_rng(0).poisson(100 * atoms()).astype(float)
    scale = 255 / recorded.max()
    model = estimate_noise(np.rint(scale * recorded).astype(np.uint8))
    true = scale**2 * 100 + 1 / 12
    assert model.noise_std(np.array(scale * 100)) ** 2 == pytest.approx(true, rel=0.1)


def test_a_camera_of_one_unit_per_electron_is_no_counter():
    recorded = np.random.default_rng(0).poisson(50 * atoms())
    readout = 5 * np.random.default_rng(1).normal(size=recorded.shape)
    model = estimate_noise(np.rint(recorded + readout + 100).astype(np.uint16))
    assert model.noise_std(np.array(150.0)) ** 2 == pytest.approx(50 + 25, rel=0.15)


@pytest.mark.parametrize(("texture", "kept"), [(0.065, True), (0.1, False)])
def test_counts_of_a_texture_as_fine_as_noise_stay_counts_while_it_may_be_that(texture, kept):
    rng = np.random.default_rng(0)
    rough = 350 * smooth() * (1 + texture * rng.normal(size=smooth().shape)).clip(0)
    model = estimate_noise(rng.poisson(rough).astype("f4"))
    assert (model.gain == 1) == kept


@pytest.mark.parametrize(
    ("gain", "said"), [(1, None), (3, "3.17 times less"), (50, "times less"), (0.1, "times more")]
)
def test_noise_far_from_that_of_a_given_gain_is_remarked_upon(gain, said):
    image = np.random.default_rng(0).poisson(np.linspace(2, 12, 256), (256, 256)).astype(float)
    remark = module.allow_for_blur(NoiseModel(gain), image).remark
    assert said in remark if said else remark == ""


def test_a_gain_of_which_there_is_next_to_no_noise_is_refused():
    image = np.random.default_rng(0).poisson(np.linspace(2, 12, 256), (256, 256)).astype(float)
    with pytest.raises(NoiseModelError, match=r"times less than a gain of 1000 .*--offset"):
        module.allow_for_blur(NoiseModel(1000.0), image)
