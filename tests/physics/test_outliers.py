import numpy as np
import pytest

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.physics import outliers as module
from lowdose.physics.dose import NoiseModel
from lowdose.physics.outliers import find_outliers, outliers

COUNTS = NoiseModel(1.0)


def exposed(dose, kind="particles", shape=(256, 300)):
    clean = simulate_truth(kind, shape, rng=np.random.default_rng(5)).pixels
    clean = clean * (dose / clean.mean())
    return clean, np.random.default_rng(0).poisson(clean).astype(np.float32)


def with_faults(counts, *, hot=400.0):
    """The image with single pixels far too bright, some at its borders, and of no signal."""
    rng = np.random.default_rng(1)
    places = rng.choice(counts[::4, ::4].size, 30, replace=False)
    y, x = (4 * each for each in np.unravel_index(places, counts[::4, ::4].shape))
    y, x = np.append(y, [1, counts.shape[0] - 1]), np.append(x, [counts.shape[1] - 1, 1])
    faulty = counts.copy()
    faulty[y, x] = hot + 20 * counts.max()
    return faulty, (y, x)


@pytest.mark.parametrize("strip", [1 << 22, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int32, np.float64])
def test_pixels_that_stick_out_are_found_with_what_is_around_them(dtype, strip, monkeypatch):
    monkeypatch.setattr(module, "_STRIP", strip)
    _, counts = exposed(30.0)
    faulty, places = with_faults(counts)
    found = find_outliers(faulty.astype(dtype), COUNTS)
    assert set(zip(found.y, found.x, strict=True)) == set(zip(*places, strict=True))
    assert np.abs(found.middle - counts[found.y, found.x]).max() < 8 * counts[places].max() ** 0.5


def test_dead_pixels_are_seen_where_there_are_electrons():
    counts = np.random.default_rng(0).poisson(200.0, (64, 64)).astype(np.float32)
    counts[10, 20] = counts[40, 3] = 0
    found = find_outliers(counts, COUNTS)
    assert set(zip(found.y, found.x, strict=True)) == {(10, 20), (40, 3)}
    assert found.middle.min() > 100


@pytest.mark.parametrize("dose", [0.02, 0.5, 5.0, 50.0, 5000.0])
def test_noise_alone_is_left_as_it_is(dose):
    counts = np.random.default_rng(0).poisson(dose, (1024, 1024)).astype(np.float32)
    assert len(find_outliers(counts, COUNTS).y) == 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_specimens_are_left_as_they_are(kind):
    _, counts = exposed(20.0, kind)
    assert len(find_outliers(counts, COUNTS).y) == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (3, 3), (1, 50)])
def test_images_of_any_size_are_looked_at(shape):
    pixels = np.full(shape, 100, np.uint8)
    assert len(find_outliers(pixels, COUNTS).y) == 0
    assert len(outliers(pixels, COUNTS.noise_std, sign=1).y) == 0


def test_an_image_without_noise_is_left_as_it_is():
    pixels = np.zeros((9, 9), np.float32)
    pixels[4, 4] = 1
    assert len(find_outliers(pixels, NoiseModel(0.0)).y) == 0


def test_vacuum_below_the_offset_is_left_as_it_is():
    dark = np.random.default_rng(0).normal(99, 3, (128, 128)).astype("f4")
    dark[60, 60] = 400
    found = find_outliers(dark, NoiseModel(2.5, 100.0))
    assert list(zip(found.y, found.x, strict=True)) == [(60, 60)]
