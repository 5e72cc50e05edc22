import numpy as np
import pytest

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics import outliers as module
from lowdose.physics.dose import NoiseModel
from lowdose.physics.outliers import outliers, without_outliers

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
def test_pixels_that_stick_out_become_what_is_around_them(dtype, strip, monkeypatch):
    monkeypatch.setattr(module, "_STRIP", strip)
    _, counts = exposed(30.0)
    faulty, places = with_faults(counts)
    repaired, count = without_outliers(faulty.astype(dtype), COUNTS)
    assert count == len(places[0])
    assert repaired.dtype == dtype
    others = np.ones(counts.shape, bool)
    others[places] = False
    assert np.array_equal(repaired[others], counts[others].astype(dtype))
    assert np.abs(repaired[places] - counts[places]).max() < 8 * counts[places].max() ** 0.5


def test_dead_pixels_are_seen_where_there_are_electrons():
    counts = np.random.default_rng(0).poisson(200.0, (64, 64)).astype(np.float32)
    counts[10, 20] = counts[40, 3] = 0
    repaired, count = without_outliers(counts, COUNTS)
    assert count == 2
    assert repaired.min() > 100


@pytest.mark.parametrize("dose", [0.02, 0.5, 5.0, 50.0, 5000.0])
def test_noise_alone_is_left_as_it_is(dose):
    counts = np.random.default_rng(0).poisson(dose, (1024, 1024)).astype(np.float32)
    same, count = without_outliers(counts, COUNTS)
    assert count == 0
    assert same is counts


@pytest.mark.parametrize("kind", list(KINDS))
def test_specimens_are_left_as_they_are(kind):
    _, counts = exposed(20.0, kind)
    assert without_outliers(counts, COUNTS)[1] == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (3, 3), (1, 50)])
def test_images_of_any_size_are_looked_at(shape):
    pixels = np.full(shape, 100, np.uint8)
    assert without_outliers(pixels, COUNTS)[1] == 0
    assert len(outliers(pixels, COUNTS.noise_std, sign=1).y) == 0


def test_an_image_without_noise_is_left_as_it_is():
    pixels = np.zeros((9, 9), np.float32)
    pixels[4, 4] = 1
    assert without_outliers(pixels, NoiseModel(0.0))[1] == 0


def test_a_denoiser_that_repairs_says_how_much_and_leaves_nothing_bright():
    clean, counts = exposed(30.0)
    faulty, places = with_faults(counts)
    plain, repairs = (Denoiser("fast", device="cpu", repair=repair) for repair in (False, True))
    image = Micrograph(np.stack([faulty, counts]))
    told = repairs(image, noise=COUNTS)
    assert told.repaired == len(places[0])
    assert told.micrograph.history[-1].endswith(f", pixels repaired: {told.repaired}")
    assert np.array_equal(image.pixels[0], faulty)
    left = plain(image, noise=COUNTS).micrograph.pixels[0] - clean
    repaired = told.micrograph.pixels[0] - clean
    assert np.mean(repaired**2) < 0.01 * np.mean(left**2)
