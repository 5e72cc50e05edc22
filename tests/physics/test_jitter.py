import numpy as np
import pytest

from lowdose.data.simulate import KINDS, simulate_truth
from lowdose.physics.dose import NoiseModel
from lowdose.physics.jitter import SURE, find_jitter, jitter_power, put_back

COUNTS = NoiseModel(1.0)
SHAPE = 300, 420


def truth(kind, dose=30.0):
    clean = simulate_truth(kind, SHAPE, rng=np.random.default_rng(5)).pixels
    return clean * (dose / clean.mean())


def counted(clean):
    return np.random.default_rng(0).poisson(np.maximum(clean, 0)).astype("f4")


def moved(frame, rows):
    return np.stack(list(put_back(frame, rows)))


def displacements(strength, rows=SHAPE[0]):
    return strength * np.random.default_rng(1).normal(size=rows)


@pytest.mark.parametrize("dose", [5.0, 30.0, 1000.0])
@pytest.mark.parametrize("kind", KINDS)
def test_no_specimen_has_jitter(kind, dose):
    found = find_jitter(counted(truth(kind, dose)), COUNTS)
    assert found.strength == 0
    assert not found.rows.any()


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["membranes", "fracture", "diffraction"])
def test_displacements_of_rows_are_found_but_for_slow_ones(kind, strength):
    true = displacements(strength)
    found = find_jitter(counted(moved(truth(kind, 100.0), -true)), COUNTS)
    assert found.strength == pytest.approx(strength, rel=0.3)
    left = found.rows - true
    assert left.std() < 0.65 * strength
    # Of those that change from row to row less is left.
    assert np.diff(left).std() < 0.4 * np.diff(true).std()


def test_what_lies_at_x_belongs_to_x_plus_the_displacement():
    true = displacements(0.7)
    x = np.arange(SHAPE[1]) + true[:, None]
    y = np.arange(SHAPE[0])[:, None]
    waves = sum(
        np.cos(2 * np.pi * (x / period + y / slant) + phase)
        for period, slant, phase in ((17, 90, 0.3), (29, -60, 1.1), (43, 200, 2.0))
    )
    counts = counted(200 * (1 + waves / 4))
    found = find_jitter(counts, COUNTS)
    assert np.corrcoef(found.rows, true)[0, 1] > 0.9
    straight = moved(counts, found.rows)
    assert np.diff(straight, axis=0).std() < 0.85 * np.diff(counts, axis=0).std()


@pytest.mark.parametrize("slant", [0.0, 0.3, 1.0, 3.0])
def test_edges_that_slant_or_bend_stay(slant):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bent = x + slant * y + 10 * np.sin(y / 40)
    counts = counted(70 + 30 * np.tanh(3 * np.sin(bent / 9)))
    assert find_jitter(counts, COUNTS).strength == 0


@pytest.mark.parametrize("seed", range(5))
def test_moving_rows_keeps_white_noise_white(seed):
    rng = np.random.default_rng(seed)
    noise = moved(rng.normal(size=(200, 300)), rng.normal(size=200))
    assert noise.std() == pytest.approx(0.985, abs=0.01)
    for ahead, behind in ((noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1])):
        assert np.mean(ahead * behind) == pytest.approx(0, abs=0.04)


def test_rows_moved_by_whole_pixels_are_the_same_pixels():
    frame = np.random.default_rng(0).poisson(50, (140, 64)).astype("u2")
    rows = np.resize([2.0, -1.0, 0.0], 140)
    found = moved(frame, rows)
    assert found.dtype == np.float32
    assert np.allclose(found[0, 2:], frame[0, :-2], atol=1e-3)
    assert np.allclose(found[1, :-1], frame[1, 1:], atol=1e-3)
    assert np.allclose(found[2], frame[2], atol=1e-3)
    # Mirrored beyond the end that a row was moved away from.
    assert np.allclose(found[0, :2], frame[0, 1::-1], atol=1e-3)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8", ">u2"])
def test_any_type_of_pixels_has_the_same_jitter(dtype):
    true = displacements(1.0)
    counts = counted(moved(truth("membranes", 500.0), -true))
    wanted = find_jitter(counts.astype("f8"), COUNTS)
    assert wanted.strength > 0
    assert np.allclose(find_jitter(counts.astype(dtype), COUNTS).rows, wanted.rows, atol=1e-2)


def test_memory_maps_are_not_written_to(tmp_path):
    true = displacements(1.0)
    np.save(tmp_path / "a.npy", counted(moved(truth("membranes"), -true)))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    before = mapped.copy()
    moved(mapped, find_jitter(mapped, COUNTS).rows)
    assert np.array_equal(mapped, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (47, 500), (500, 33), (48, 48), (49, 1000)])
def test_images_of_any_size_are_taken(shape):
    noise = np.random.default_rng(0).poisson(100.0, shape).astype("f4")
    found = find_jitter(noise, COUNTS)
    assert found.rows.shape == shape[:1]
    assert found.strength == 0


def test_flat_images_and_those_without_noise_have_none():
    flat = np.full((100, 100), 7.0, "f4")
    assert find_jitter(flat, COUNTS).strength == 0
    assert find_jitter(moved(truth("membranes"), displacements(1.0)), NoiseModel(0.0)).strength == 0


@pytest.mark.parametrize("specimen", ["ramp", "membranes"])
@pytest.mark.parametrize("fault", ["offsets", "flicker"])
def test_rows_that_are_brighter_are_not_displaced(specimen, fault):
    ramp = np.linspace(50, 150, SHAPE[1]) * np.ones((SHAPE[0], 1))
    clean = ramp if specimen == "ramp" else truth("membranes", 100.0)
    rows = np.random.default_rng(2).normal(size=(SHAPE[0], 1))
    faulty = counted(clean * (1 + 0.05 * rows)) if fault == "flicker" else counted(clean) + 5 * rows
    assert find_jitter(faulty, COUNTS).strength == 0


@pytest.mark.parametrize("shape", [(48, 48), (49, 65), (64, 200), (65, 129), (600, 63), (129, 700)])
def test_jitter_of_images_of_any_size_is_found(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    true = displacements(1.5, shape[0])
    counts = counted(500 * (1 + 0.7 * np.sin((x + true[:, None]) / 3 + y / 30)))
    found = find_jitter(counts, COUNTS)
    assert found.strength == pytest.approx(1.5, rel=0.4)
    assert np.diff(found.rows - true).std() < 0.5 * np.diff(true).std()


@pytest.mark.parametrize("part", ["columns", "rows", "frame"])
def test_padding_hides_no_jitter(part):
    true = displacements(1.5)
    counts = counted(moved(truth("membranes", 100.0), -true))
    inside = np.zeros(SHAPE, bool)
    where = {
        "columns": np.s_[:, 84:],
        "rows": np.s_[75:],
        "frame": np.s_[8:-8, 8:-8],
    }[part]
    inside[where] = True
    found = find_jitter(np.where(inside, counts, 0), COUNTS)
    rows = inside.any(axis=1)
    assert (found.rows - true)[rows].std() < 0.65 * true[rows].std()


def test_values_beyond_all_measure_are_left_alone():
    huge = moved(truth("membranes"), displacements(1.0)).astype("f4") * np.float32(1e35)
    with np.errstate(all="ignore"):
        assert find_jitter(huge, NoiseModel(1e35)).strength == 0


def test_chance_is_no_jitter():
    rng = np.random.default_rng(0)
    found = np.array([jitter_power(rng.normal(size=(128, 256))) for _ in range(100)])
    assert np.count_nonzero(found[:, 0] > SURE * found[:, 1]) <= 2
