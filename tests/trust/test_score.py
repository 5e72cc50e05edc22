"""Errors measured without a truth agree with those measured with it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lowdose.errors import NoiseModelError
from lowdose.physics.correlation import blur as blur_of
from lowdose.physics.correlation import kept_variance, taps_of
from lowdose.physics.dose import NoiseModel
from lowdose.trust.score import INPUT, score, score_pair, scored_windows

COUNTS = NoiseModel(1.0)


def blur(width):
    return lambda electrons, noise: ndimage.gaussian_filter(electrons, width)


def soft(electrons, noise):
    """A filter that is not linear: keeps what stands out of its surroundings."""
    smooth = ndimage.gaussian_filter(electrons, 2.0)
    rest = electrons - smooth
    return smooth + np.sign(rest) * np.maximum(np.abs(rest) - 1.5 * np.sqrt(smooth + 1), 0)


METHODS = {"narrow": blur(0.7), "wide": blur(4.0), "soft": soft}


def truth(side=256):
    y, x = np.mgrid[:side, :side] / side
    return (
        20 + 15 * np.sin(40 * x + 9 * y) * np.sin(25 * y) + 30 * (np.hypot(x - 0.5, y - 0.5) < 0.2)
    )


def true_errors(recorded, clean):
    return {
        name: float(np.mean((method(recorded, COUNTS) - clean) ** 2))
        for name, method in METHODS.items()
    }


def draws(noise, count=12):
    """Exposures in pixel units, and the truth in electrons."""
    clean = truth()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        electrons = rng.poisson(clean) + noise.readout_electrons * rng.normal(size=clean.shape)
        yield (electrons * noise.gain + noise.offset).astype(np.float32), clean


@pytest.mark.parametrize(
    "noise", [COUNTS, NoiseModel(2.5, 100.0, 5.0)], ids=["counts", "gain, offset and readout"]
)
def test_the_error_is_that_measured_with_the_truth(noise):
    ratios = {name: [] for name in METHODS}
    for pixels, clean in draws(noise):
        found = score(pixels, noise, METHODS)
        true = true_errors(noise.to_electrons(pixels), clean)
        for each in found.scores:
            if each.name != INPUT:
                ratios[each.name].append(each.mse / noise.gain**2 / true[each.name])
    # Twelve images leave 1 to 2 % of chance.
    for name, values in ratios.items():
        assert np.mean(values) == pytest.approx(1.0, abs=0.05), name


def test_intervals_hold_nine_in_ten():
    hits = []
    for pixels, clean in draws(COUNTS, count=12):
        true = true_errors(pixels, clean)
        for each in score(pixels, COUNTS, METHODS).scores:
            low, high = each.interval
            expected = true.get(each.name, float(np.mean((pixels - clean) ** 2)))
            hits.append(low <= expected <= high)
    assert np.mean(hits) > 0.8


def test_methods_come_in_the_order_of_their_true_errors():
    for pixels, clean in draws(COUNTS, count=3):
        true = true_errors(pixels, clean)
        found = [each.name for each in score(pixels, COUNTS, METHODS).scores]
        assert found == [*sorted(true, key=lambda name: true[name]), INPUT]


def test_the_input_has_the_variance_of_its_noise():
    pixels, clean = next(draws(COUNTS))
    own = next(each for each in score(pixels, COUNTS, {}).scores if each.name == INPUT)
    assert own.mse == pytest.approx(clean.mean(), rel=0.01)


def test_a_method_that_changes_next_to_nothing_is_told_from_the_input():
    for pixels, _ in draws(COUNTS, count=3):
        slight = {"slight": lambda e, noise: 0.99 * e + 0.01 * ndimage.gaussian_filter(e, 0.5)}
        found = score(pixels, COUNTS, slight)
        assert found.best.name == "slight"
        assert not found.rivals()


def test_a_method_and_its_twin_cannot_be_told_apart_and_a_poor_one_can():
    pixels, _ = next(draws(COUNTS))
    twin = {"one": blur(0.7), "two": blur(0.7), "poor": blur(4.0)}
    found = score(pixels, COUNTS, twin)
    names = {each.name for each in found.rivals()} | {found.best.name}
    assert {"one", "two"} <= names
    assert "poor" not in names


def test_an_uncertain_gain_widens_intervals_but_not_leads():
    pixels, _ = next(draws(COUNTS))
    sure = score(pixels, COUNTS, METHODS)
    unsure = score(pixels, NoiseModel(1.0, gain_std=0.1), METHODS)
    assert unsure.best.mse_std > 5 * sure.best.mse_std
    assert unsure.scores[1].lead_std == pytest.approx(sure.scores[1].lead_std)


def test_two_exposures_tell_the_same_without_a_noise_model():
    clean = truth()
    first, second = np.random.default_rng(0).poisson(clean, (2, *clean.shape)).astype(np.float32)
    wrong = NoiseModel(1.3)  # told to methods, which do not listen; figures do not depend on it
    found = {each.name: each.mse for each in score_pair(first, second, wrong, METHODS).scores}
    mean = {
        name: (value + true_errors(second, clean)[name]) / 2
        for name, value in true_errors(first, clean).items()
    }
    for name in ("narrow", "soft"):
        assert found[name] == pytest.approx(mean[name], rel=0.1)
    assert found[INPUT] == pytest.approx(clean.mean(), rel=0.02)


def test_exposures_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="alike"):
        score_pair(np.ones((8, 8)), np.ones((8, 9)), COUNTS, {})


def test_without_noise_there_is_nothing_to_measure_by():
    with pytest.raises(NoiseModelError, match="no noise"):
        score(np.ones((64, 64)), NoiseModel(0.0, basis="flat"), {})


@pytest.mark.parametrize("shape", [(3, 3), (20, 700), (2, 16, 16)])
def test_any_size_is_scored(shape):
    pixels = np.random.default_rng(0).poisson(9, shape).astype(np.float32)
    found = score(pixels, COUNTS, {"same": lambda electrons, noise: electrons})
    assert found.pixels == pixels.size
    assert all(np.isfinite(each.mse) and np.isfinite(each.mse_std) for each in found.scores)


@pytest.mark.parametrize("shape", [(2048, 3000), (9, 600, 800)])
def test_of_large_images_a_megapixel_is_looked_at(shape):
    windows = list(scored_windows(np.broadcast_to(np.uint8(1), shape)))
    assert sum(window.size for window in windows) == 1 << 20


def bent(electrons, noise):
    """Follows a root of the pixel, as networks do that see stabilised noise."""
    rooted = np.sqrt(np.maximum(electrons + noise.readout_electrons**2, 0) + 0.375)
    return (0.5 * rooted + 0.5 * ndimage.gaussian_filter(rooted, 2.0)) ** 2


@pytest.mark.parametrize(
    ("readout", "correlation"), [(0.5, 0.0), (2.0, 0.0), (0.5, 0.3)], ids=["fine", "coarse", "blur"]
)
def test_readout_noise_and_blur_bias_no_error_at_few_electrons(readout, correlation):
    noise = NoiseModel(1.0, readout_std=readout, correlation=(correlation, correlation))
    clean = truth() / 8
    found, true = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        white = rng.poisson(clean) - clean + readout * rng.normal(size=clean.shape)
        pixels = (clean + correlated(white, correlation)).astype(np.float32)
        (error,) = [
            each.mse for each in score(pixels, noise, {"bent": bent}).scores if each.name == "bent"
        ]
        found.append(error)
        true.append(float(np.mean((bent(pixels, noise) - clean) ** 2)))
    assert np.mean(found) == pytest.approx(1.02 * np.mean(true), rel=0.05)


def correlated(white, correlation):
    """The same noise with neighbours that correlate, its variance kept."""
    if not correlation:
        return white
    taps = taps_of(correlation)
    image = torch.from_numpy(white)[None, None]
    return blur_of(image, taps, taps)[0, 0].numpy() / kept_variance(taps, taps) ** 0.5


def test_an_interval_never_lies_below_zero():
    pixels, _ = next(draws(COUNTS))
    smooth = ndimage.gaussian_filter(pixels, 1.0)  # has less noise than it is said to have
    found = score(smooth, COUNTS, {"wide": blur(4.0)})
    assert found.best.mse < 0
    assert found.best.interval == (0, 0)
    assert found.best.is_impossible
    assert "below zero" in found.doubt
    assert "--gain" in found.doubt


def test_right_noise_leaves_no_doubt():
    pixels, _ = next(draws(COUNTS))
    assert not score(pixels, COUNTS, METHODS).doubt


def test_a_constant_image_with_noise_said_to_be_there_has_finite_scores():
    found = score(np.full((64, 64), 10.0, np.float32), COUNTS, METHODS)
    assert all(not np.isnan(each.psnr(found.peak)) for each in found.scores)


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        (lambda x: x, False),
        (lambda x: 1.3 * x, True),
        (lambda x: x + 5, True),
        (lambda x: np.roll(x, 4, axis=1), True),
    ],
    ids=["alike", "more dose", "offset", "drift"],
)
def test_exposures_that_differ_by_more_than_noise_are_told(change, is_told):
    rng, clean = np.random.default_rng(0), truth()
    first, second = (rng.poisson(each).astype(np.float32) for each in (clean, change(clean)))
    found = score_pair(first, second, COUNTS, METHODS)
    assert bool(found.doubt) == is_told
    if is_told:
        assert "differ by more than noise" in found.doubt


def test_blur_of_a_detector_is_no_difference_of_two_exposures():
    rng, clean = np.random.default_rng(0), truth()
    first, second = (
        (clean + correlated(rng.poisson(clean) - clean, 0.4)).astype(np.float32) for _ in range(2)
    )
    assert not score_pair(first, second, COUNTS, METHODS).doubt


def test_of_many_small_frames_more_are_looked_at():
    windows = list(scored_windows(np.broadcast_to(np.uint8(1), (900, 64, 64))))
    assert len(windows) == 16


@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_what_cannot_be_ranked_is_refused_by_name(spoiled):
    counts = np.random.default_rng(0).poisson(20.0, (64, 64)).astype(np.float32)

    def bad(electrons, noise):
        return np.where(np.arange(64) == 3, spoiled, electrons)

    for methods, what in (({"bad": bad}, "finite"), ({"bad": lambda e, n: e[1:]}, "63, 64")):
        with pytest.raises(ValueError, match=f"'bad'.*{what}"):
            score(counts, NoiseModel(1.0), methods)
