import numpy as np
import pytest

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.data.simulate.fields import (
    cells,
    coordinates,
    fractal_field,
    frequencies,
    gaussian_blur,
    near,
    smooth_field,
    spots,
    wobbly,
)
from lowdose.data.simulate.lattice import Crystal, Dislocations, sites
from lowdose.errors import ConfigError

SHAPES = [(16, 16), (17, 61), (200, 24), (97, 131)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_truth_fills_zero_to_one_at_any_size(kind, shape):
    for seed in range(6):
        truth = simulate_truth(kind, shape, rng=np.random.default_rng(seed)).pixels
        assert truth.shape == shape
        assert truth.dtype == np.float32
        assert np.isfinite(truth).all()
        assert (truth.min(), truth.max()) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_same_state_gives_the_same_image_and_another_state_another(kind):
    first, again, other = (
        simulate_truth(kind, (80, 90), rng=np.random.default_rng(seed)).pixels for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_band_limited(kind):
    for seed in range(6):
        truth = simulate_truth(kind, (128, 128), rng=np.random.default_rng(seed)).pixels
        window = np.hanning(128)[:, None] * np.hanning(128)
        power = np.abs(np.fft.rfft2((truth - truth.mean()) * window)) ** 2
        ky, kx = frequencies(truth.shape)
        assert power[np.hypot(ky, kx) > 0.45].sum() < 0.005 * power.sum()


def test_axes_carry_the_given_pixel_size_or_the_typical_one(rng):
    assert simulate_truth("fracture", (16, 16), rng=rng).pixel_size_nm == (50.0, 50.0)
    given = simulate_truth("fracture", (16, 16), rng=rng, pixel_size_nm=2.0)
    assert given.pixel_size_nm == (2.0, 2.0)
    assert given.metadata["simulated"] == "fracture"


def test_unknown_kind_names_the_known_ones(rng):
    with pytest.raises(ConfigError, match=r"'plasma'.*particles, lattice"):
        simulate_truth("plasma", (64, 64), rng=rng)


def test_too_small_a_shape_says_the_smallest(rng):
    with pytest.raises(ConfigError, match=r"15 x 64.*at least 16"):
        simulate_truth("lattice", (15, 64), rng=rng)


def test_perfect_lattice_peaks_at_its_reciprocal_vectors():
    square = Crystal(8.0 * np.eye(2), np.zeros((1, 2)), np.ones(1)).turned(np.arctan2(3, 4))
    places, heights = sites(square, (200, 200), 16)
    power = np.abs(np.fft.fft2(spots((200, 200), places, heights, 1.5)))
    mean = np.median(power)
    for vector in square.reciprocal:  # 1/8 turned by the angle of 3-4-5 fits 200 px: 15 and 20
        row, col = np.rint(vector * 200).astype(int)
        np.testing.assert_allclose([row, col], vector * 200, atol=1e-9)
        assert power[row, col] > 1e4 * mean
        assert power[row, col] == power[row - 3 : row + 4, col - 3 : col + 4].max()


def test_reciprocal_vectors_are_dual_to_the_lattice(rng):
    oblique = Crystal(rng.uniform(3, 9, (2, 2)), np.zeros((1, 2)), np.ones(1))
    np.testing.assert_allclose(oblique.vectors @ oblique.reciprocal.T, np.eye(2), atol=1e-12)


def test_circuit_around_a_dislocation_closes_with_its_burgers_vector():
    core = Dislocations(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]))
    angle = np.arctan2(3, 4) + np.pi  # the cut lies opposite to the Burgers vector
    ends = angle + np.array([-1e-6, 1e-6])
    uy, ux = core.displacement(50 * np.sin(ends), 50 * np.cos(ends))
    np.testing.assert_allclose([uy[0] - uy[1], ux[0] - ux[1]], [3, 4], atol=1e-3)


def test_spot_integrates_to_its_volume_wherever_it_sits(rng):
    centres = rng.uniform(20, 40, (5, 2))
    image = spots((60, 64), centres, 2.0, (1.5, 3.0))
    assert image.sum() == pytest.approx(5 * 2.0 * 2 * np.pi * 1.5 * 3.0, rel=2e-3)
    one = spots((60, 64), np.array([[20.25, 30.5]]), 1.0, 2.0)
    y, x = coordinates((60, 64))
    exact = np.exp(-((y - 20.25) ** 2 + (x - 30.5) ** 2) / 8)
    np.testing.assert_allclose(one, exact, atol=3e-3)


def test_cells_are_those_of_the_nearest_point(rng):
    y, x = coordinates((50, 70))
    cell = cells(y, x, 12.0, rng)
    dy, dx = cell.offset
    points = np.unique(np.stack([y - dy, x - dx], -1).reshape(-1, 2).round(3), axis=0)
    every = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    np.testing.assert_allclose(np.hypot(dy, dx), every.min(axis=-1), atol=2e-3)
    assert (cell.edge_px >= 0).all()
    changes = cell.label[:, 1:] != cell.label[:, :-1]
    assert np.minimum(cell.edge_px[:, 1:], cell.edge_px[:, :-1])[changes].max() <= 1


def test_blur_keeps_the_mean_and_spreads_a_point(rng):
    image = np.zeros((41, 33), np.float32)
    image[20, 16] = 1
    blurred = gaussian_blur(image, 2.0)
    assert blurred.sum() == pytest.approx(1, rel=1e-4)
    assert blurred[20, 16] == pytest.approx(1 / (2 * np.pi * 4), rel=1e-2)


@pytest.mark.parametrize("field", [smooth_field, fractal_field])
@pytest.mark.parametrize("scale", [2.0, 5000.0])
def test_fields_are_standardised(field, scale, rng):
    exponent_or_scale = min(scale, 4.0) if field is fractal_field else scale
    image = field((33, 48), rng, exponent_or_scale)
    assert image.dtype == np.float32
    assert image.mean() == pytest.approx(0, abs=1e-5)
    assert image.std() == pytest.approx(1, rel=1e-4)


def test_window_is_cut_at_the_frame():
    window, y, x = near((20, 30), (1.5, 29.0), 3)
    assert window == (slice(0, 5), slice(26, 30))
    assert y.ravel().tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5]
    assert x.ravel().tolist() == [-3, -2, -1, 0]
    outside, y, _ = near((20, 30), (-50, 10), 3)
    assert outside[0] == slice(0, 0)
    assert y.shape == (0, 1)


def test_a_wobbly_outline_closes_and_is_as_rough_as_said():
    angle = np.linspace(-np.pi, np.pi, 361)
    rng = np.random.default_rng(0)
    assert (wobbly(angle, rng, 0.0, (2, 3)) == 1).all()
    outlines = np.array([wobbly(angle, rng, 0.2, (2, 4)) for _ in range(4000)])
    np.testing.assert_allclose(outlines[:, 0], outlines[:, -1])
    # A cosine of any phase has half the variance of its height.
    assert outlines.var() == pytest.approx((0.1**2 + 0.05**2) / 2, rel=0.1)
