import numpy as np
import pytest

from lowdose.data.simulate.diffraction import (
    Defect,
    beams,
    dislocation,
    fault,
    precipitate,
)

CENTRE = np.array([100.0, 100.0])
SIDE = 200


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def flat(thickness, side=SIDE):
    return np.full((side, side), thickness, np.float32)


def test_without_defects_the_two_beam_formula_holds(rng):
    thickness, deviation = rng.uniform(0.1, 6, (2, 30, 40))
    deviation = deviation - 3
    direct, diffracted = beams(thickness, deviation, 0.0, [])
    root = np.sqrt(1 + deviation**2)
    expected = (np.sin(np.pi * thickness * root) / root) ** 2
    np.testing.assert_allclose(diffracted, expected, atol=1e-4)
    np.testing.assert_allclose(direct, 1 - expected, atol=1e-4)


def test_no_electron_is_lost_without_absorption_whatever_the_defects(rng):
    found = [
        sort(flat(150.0), CENTRE, 50.0, 0.3, rng) for sort in (dislocation, fault, precipitate)
    ]
    direct, diffracted = beams(flat(3.0), flat(0.4), 0.0, found)
    np.testing.assert_allclose(direct + diffracted, 1, atol=1e-4)


def test_absorption_is_stronger_on_one_side_of_a_bend_contour_in_bright_field():
    thickness = np.full((1, 2), 4.25)
    direct, diffracted = beams(thickness, np.array([[0.7, -0.7]]), 0.1, [])
    assert direct[0, 0] > 1.5 * direct[0, 1]  # anomalous transmission, at positive deviation
    assert diffracted[0, 0] == pytest.approx(diffracted[0, 1], rel=1e-3)
    assert (direct + diffracted < 1).all()


def test_a_displacement_by_whole_lattice_planes_is_invisible():
    whole = Defect(np.arange(50), lambda depth: np.full(50, 2 * np.pi * (depth > 0.4)))
    thickness, deviation = np.full((10, 10), 2.3), np.full((10, 10), 0.3)
    perfect, _ = beams(thickness, deviation, 0.05, [])
    seen, _ = beams(thickness, deviation, 0.05, [whole])
    np.testing.assert_allclose(seen, perfect, atol=1e-4)


def test_fault_fringes_are_symmetric_in_bright_field_and_not_in_dark_field():
    """Hirsch et al., Sec. 10.3: the dark-field fringes are alike at the top only."""
    planes = np.linspace(0, 1, 201)
    shift = 2 * np.pi / 3
    inclined = Defect(
        np.arange(201), lambda depth: shift * np.clip((depth - planes) * 24 + 0.5, 0, 1)
    )
    direct, diffracted = beams(np.full((1, 201), 4.0), np.zeros((1, 201)), 0.1, [inclined])
    assert np.abs(direct - direct[:, ::-1]).max() < 0.02 * np.ptp(direct)
    assert np.abs(diffracted - diffracted[:, ::-1]).max() > 0.3 * np.ptp(diffracted)


def test_a_fault_shows_fringes_and_leaves_the_rest_alone(rng):
    found = fault(flat(200.0), CENTRE, 50.0, 0.0, rng)
    perfect, _ = beams(flat(4.0), flat(0.0), 0.05, [])
    seen, _ = beams(flat(4.0), flat(0.0), 0.05, [found])
    touched = np.zeros(SIDE**2, bool)
    touched[found.index] = True
    np.testing.assert_array_equal(seen.ravel()[~touched], perfect.ravel()[~touched])
    assert np.ptp(seen.ravel()[touched]) > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_an_inclined_dislocation_alternates_along_its_line(seed):
    found = dislocation(flat(200.0), CENTRE, 40.0, 0.0, np.random.default_rng(seed))
    perfect, _ = beams(flat(4.25), flat(0.0), 0.05, [])
    seen, _ = beams(flat(4.25), flat(0.0), 0.05, [found])
    change = (seen - perfect).ravel()[found.index]
    assert (change > 0.05).any()
    assert (change < -0.05).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_strain_of_a_dislocation_ends_without_a_step(seed):
    foil = flat(150.0)
    found = dislocation(foil, CENTRE, 60.0, 0.0, np.random.default_rng(seed))
    perfect, _ = beams(flat(2.5), flat(0.5), 0.05, [])
    seen, _ = beams(flat(2.5), flat(0.5), 0.05, [found])
    touched = np.zeros((SIDE, SIDE), bool)
    touched.ravel()[found.index] = True
    inner = touched[1:-1, 1:-1] & touched[:-2, 1:-1] & touched[2:, 1:-1]
    inner &= touched[1:-1, :-2] & touched[1:-1, 2:]
    border = touched[1:-1, 1:-1] & ~inner
    change = np.abs(seen - perfect)[1:-1, 1:-1]
    assert np.quantile(change[border], 0.95) < 0.1 * change.max()


def test_a_precipitate_has_a_line_of_no_contrast_across_g(rng):
    found = precipitate(flat(150.0), CENTRE, 60.0, 0.0, rng)
    perfect, _ = beams(flat(2.5), flat(0.2), 0.05, [])
    seen, _ = beams(flat(2.5), flat(0.2), 0.05, [found])
    change = np.abs(seen - perfect)
    assert change[100, 60:140].max() < 1e-4  # g points along y
    assert change.max() > 0.05


def test_defects_stay_in_the_frame_and_touch_each_pixel_once(rng):
    for sort in (dislocation, fault, precipitate):
        for place in (np.array([0.0, 0.0]), np.array([199.0, 30.0])):
            index = sort(flat(100.0), place, 40.0, 0.7, rng).index
            assert len(np.unique(index)) == len(index)
            assert ((index >= 0) & (index < SIDE**2)).all()
