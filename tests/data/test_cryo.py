import numpy as np
import pytest

from lowdose.data.simulate.cryo import (
    carbon_edge,
    density,
    draw,
    filaments,
    fold,
    gold_beads,
    ice,
    microscope,
    oligomer,
    orientations,
    point_group,
    rotation,
    single,
)

Z, Y = np.array([0.0, 0, 1]), np.array([0.0, 1, 0])
THRICE = np.roll(np.eye(3), 1, axis=0)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.mark.parametrize(
    ("generators", "order"),
    [
        ([rotation(Z, 2 * np.pi / 5)], 5),
        ([rotation(Z, 2 * np.pi / 7), rotation(Y, np.pi)], 14),
        ([THRICE, rotation(Z, np.pi)], 12),
        ([THRICE, rotation(Z, np.pi / 2)], 24),
        ([THRICE, rotation(np.array([0, 1, (1 + 5**0.5) / 2]), 2 * np.pi / 5)], 60),
    ],
    ids=["C5", "D7", "T", "O", "I"],
)
def test_point_group_has_its_order_and_holds_rotations_only(generators, order):
    group = point_group(generators)
    assert len(group) == order
    np.testing.assert_allclose(np.linalg.det(group), 1)
    products = (group[:, None] @ group).reshape(-1, 3, 3)
    known = {tuple(np.rint(1e4 * m.ravel()).astype(int)) for m in group}
    assert {tuple(np.rint(1e4 * m.ravel()).astype(int)) for m in products} == known


def test_a_quarter_turn_about_z_takes_x_to_y():
    np.testing.assert_allclose(rotation(Z, np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_orientations_are_rotations_without_a_preferred_view(rng):
    views = orientations(4000, rng)
    kept = views @ views.transpose(0, 2, 1) - np.eye(3)
    np.testing.assert_allclose(kept, 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(views), 1)
    np.testing.assert_allclose(views.mean(axis=0), 0, atol=0.04)
    # The cosine of the tilt of any axis is uniform on a sphere: variance one third.
    np.testing.assert_allclose((views**2).mean(axis=0), 1 / 3, atol=0.02)


@pytest.mark.parametrize("radius", [1.5, 6.0])
def test_a_fold_is_compact_about_its_middle(radius, rng):
    beads = fold(rng, radius)
    np.testing.assert_allclose(beads.mean(axis=0), 0, atol=1e-9)
    assert np.sqrt((beads**2).sum(axis=1).mean()) == pytest.approx(radius / 1.3)
    assert np.sqrt((beads**2).sum(axis=1)).max() < 2.5 * radius


def test_neighbours_on_a_chain_lie_closer_than_others(rng):
    beads = fold(rng, 5.0)
    bond = np.sqrt((np.diff(beads, axis=0) ** 2).sum(axis=1)).mean()
    apart = np.sqrt(((beads[:, None] - beads) ** 2).sum(axis=-1)).mean()
    assert bond < 0.3 * apart


def test_an_oligomer_has_about_the_radius_asked_for():
    for seed in range(30):
        beads = oligomer(np.random.default_rng(seed), 6.0)
        assert 3 < np.sqrt((beads**2).sum(axis=1).mean()) < 8


def test_density_keeps_count_and_place(rng):
    places = rng.uniform(25, 40, (50, 2))
    image = density((64, 70), places, 2.0)
    assert image.sum() == pytest.approx(50, rel=1e-4)
    y, x = np.indices(image.shape)
    middle = [(image * c).sum() / image.sum() for c in (y, x)]
    np.testing.assert_allclose(middle, places.mean(axis=0), atol=1e-3)


def test_beads_out_of_the_frame_are_not_drawn_in_it():
    places = np.array([[-5.0, 10], [10, 200], [63.5, 10], [10, 69.2]])
    assert not density((64, 70), places, 1.0).any()


@pytest.mark.parametrize("scene", [single, filaments])
def test_density_is_negative_only_where_the_blur_rings_and_some_is_there(scene):
    sums = []
    for seed in range(6):
        image = scene((150, 160), 0.3, np.random.default_rng(seed))
        assert image.min() >= -0.01 * image.max()
        sums.append(image.sum())
    assert np.median(sums) > 100


def test_the_microscope_is_under_focus():
    for seed in range(20):
        lens = microscope(np.random.default_rng(seed))
        assert -4000 <= lens.defocus_nm <= -300
        assert abs(lens.astigmatism_nm) <= 0.05 * abs(lens.defocus_nm)


def test_molecules_are_dark_in_an_under_focused_image():
    correlations = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        matter = single((200, 200), 0.4, rng)
        phase = 0.1 * matter / matter.max()
        image = microscope(rng).image(np.exp((1j - 0.07) * phase), 0.4)
        correlations.append(np.corrcoef(image.ravel(), phase.ravel())[0, 1])
    assert np.median(correlations) < -0.3


def test_gold_stops_more_electrons_than_carbon_and_carbon_more_than_ice():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        gold = gold_beads((300, 300), 0.5, rng)[1].max()
        film = carbon_edge((300, 300), 0.5, rng)[1].max()
        vitreous = np.ptp(ice((300, 300), 0.5, rng)[1])
        assert gold > film
        assert film > 0
        assert vitreous < 0.25


def test_the_edge_of_the_hole_crosses_most_frames():
    crossed = 0
    for seed in range(12):
        _, loss = carbon_edge((256, 256), 0.2, np.random.default_rng(seed))
        assert (loss >= 0).all()
        crossed += bool((loss == 0).any() and (loss > 0).any())
    assert crossed >= 6


def test_fields_of_view_differ(rng):
    first, second = draw((64, 64), rng), draw((64, 64), rng)
    assert np.abs(first - second).mean() > 0.05
