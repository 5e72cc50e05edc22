import numpy as np
import pytest

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.physics.dose import NoiseModel
from lowdose.physics.stripes import SURE, find_stripes, line_means, stripe_power

COUNTS = NoiseModel(1.0)


def exposed(kind="membranes", shape=(300, 420), dose=30.0):
    clean = simulate_truth(kind, shape, rng=np.random.default_rng(5)).pixels
    clean = clean * (dose / clean.mean())
    return clean, np.random.default_rng(0).poisson(clean).astype(np.float32)


def offsets_of(rows, strength, dose=30.0):
    """Offsets of rows in counts, their deviation in that of the noise."""
    return (strength * dose**0.5 * np.random.default_rng(1).normal(size=(rows, 1))).astype("f4")


@pytest.mark.parametrize("kind", KINDS)
def test_no_specimen_has_stripes(kind):
    _, counts = exposed(kind)
    found = find_stripes(counts, COUNTS)
    assert found.strength == 0
    assert not found.rows.any()
    assert not found.columns.any()


@pytest.mark.parametrize("strength", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["membranes", "particles", "lattice"])
def test_offsets_of_rows_are_found_but_for_slow_ones(kind, strength):
    _, counts = exposed(kind)
    true = offsets_of(300, strength)
    found = find_stripes(counts + true, COUNTS)
    assert found.strength == pytest.approx(strength, rel=0.35)
    assert not found.columns.any()
    left = (found.rows - true).std() / true.std()
    assert left < 0.55
    # Of those that change from row to row next to nothing is left.
    assert np.diff(found.rows - true, axis=0).std() / np.diff(true, axis=0).std() < 0.3


def test_rows_and_columns_are_measured_alike_and_apart():
    _, counts = exposed(shape=(320, 320))
    rows, columns = offsets_of(320, 0.5), offsets_of(320, 1.0).T
    both = find_stripes(counts + rows + columns, COUNTS)
    turned = find_stripes((counts + rows + columns).T, COUNTS)
    assert np.allclose(both.rows, turned.columns.T, atol=1e-3)
    assert np.allclose(both.columns, turned.rows.T, atol=1e-3)
    for found, true in ((both.rows, rows), (both.columns, columns)):
        assert (found - true).std() < 0.5 * true.std()


@pytest.mark.parametrize("period", [2.7, 5, 16, 64])
def test_specimens_parallel_to_the_rows_stay(period):
    y = np.arange(400)[:, None] * np.ones(300)
    fringes = 100 * (1 + 0.5 * np.sin(2 * np.pi * y / period))
    counts = np.random.default_rng(0).poisson(fringes).astype("f4")
    assert find_stripes(counts, COUNTS).strength == 0


def test_layers_keep_their_edges_while_stripes_go():
    layers = np.where((np.arange(400)[:, None] // 50) % 2, 200.0, 50.0) * np.ones(300)
    counts = np.random.default_rng(0).poisson(layers).astype("f4")
    true = offsets_of(400, 1.0, dose=125.0)
    found = find_stripes(counts + true, COUNTS)
    assert found.strength > 0
    assert (found.rows - true).std() < 0.7 * true.std()
    # Edges, of fifteen times the offsets, do not pass for any.
    beside = np.abs((np.arange(400) + 25) % 50 - 25) < 3
    assert np.abs(found.rows[beside]).max() < 4 * true.std()


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_any_type_of_pixels_has_the_same_stripes(dtype):
    _, counts = exposed(dose=500.0)
    striped = np.rint(counts + offsets_of(300, 1.0, dose=500.0)).clip(0)
    wanted = find_stripes(striped.astype("f8"), COUNTS)
    assert wanted.strength > 0
    assert np.allclose(find_stripes(striped.astype(dtype), COUNTS).rows, wanted.rows, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (47, 500), (500, 33), (48, 48), (49, 1000)])
def test_images_of_any_size_are_taken(shape):
    noise = np.random.default_rng(0).poisson(100.0, shape).astype("f4")
    found = find_stripes(noise, COUNTS)
    assert (found.rows.shape, found.columns.shape) == ((shape[0], 1), (1, shape[1]))
    assert found.strength == 0


@pytest.mark.parametrize("shape", [(48, 48), (49, 300), (64, 64), (65, 400), (128, 50)])
def test_stripes_of_images_of_any_size_are_found(shape):
    noise = np.random.default_rng(0).poisson(100.0, shape).astype("f4")
    true = offsets_of(shape[0], 1.0, dose=100.0)
    found = find_stripes(noise + true, COUNTS)
    assert found.strength == pytest.approx(1, rel=0.5)
    assert np.diff(found.rows - true, axis=0).std() < 0.5 * np.diff(true, axis=0).std()


def test_flat_images_and_those_without_noise_have_none():
    flat = np.full((100, 100), 7.0, "f4")
    assert find_stripes(flat, COUNTS).strength == 0
    assert find_stripes(flat + offsets_of(100, 1.0), NoiseModel(0.0)).strength == 0


def test_images_that_are_nothing_but_stripes_become_flat():
    stripes = offsets_of(200, 10.0) + np.zeros((200, 200), "f4") + 100
    found = find_stripes(stripes, COUNTS)
    assert np.isfinite(found.rows).all()
    assert np.diff(stripes - found.rows, axis=0).std() < 0.4 * np.diff(stripes, axis=0).std()


@pytest.mark.parametrize("side", [64, 128, 256])
def test_noise_of_a_bright_half_is_no_stripes_of_a_dark_one(side):
    clean = np.where(np.arange(side) < 0.45 * side, 200.0, 1.0) * np.ones((side, 1))
    found = [
        find_stripes(np.random.default_rng(seed).poisson(clean).astype("f4"), COUNTS).strength
        for seed in range(40)
    ]
    assert np.count_nonzero(found) <= 2


def test_the_power_of_offsets_is_their_variance_and_chance_is_known():
    rng = np.random.default_rng(0)
    found = np.array([stripe_power(line_means(rng.normal(size=(400, 300)))) for _ in range(200)])
    powers, chances = found.T
    assert np.abs(powers.mean()) < 0.2 * chances.mean()
    assert powers.std() == pytest.approx(chances.mean(), rel=0.2)
    assert np.count_nonzero(powers > SURE * chances) <= 3
    striped = rng.normal(size=(400, 300)) + rng.normal(size=(400, 1))
    assert stripe_power(line_means(striped))[0] == pytest.approx(1, rel=0.3)


def test_vacuum_below_the_offset_has_stripes_too():
    rng = np.random.default_rng(0)
    dark = rng.normal(97, 3, (256, 256)) + 2 * rng.normal(size=(256, 1))
    dark[:, :26] += 100
    assert find_stripes(dark.astype("f4"), NoiseModel(1.0, 100.0)).strength > 0.5
