from dataclasses import replace

import numpy as np
import pytest

from lowdose.data.simulate.crystal import (
    Foil,
    bright_field,
    dark_field,
    doped,
    edged,
    foil,
    phase_contrast,
    twinned,
)
from lowdose.data.simulate.lattice import grains, polycrystal, sites
from lowdose.data.simulate.structures import ZONES, random_crystal, reflections

BY_NAME = {zone.name: zone for zone in ZONES}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def shortest_reflections(name):
    """Two reflections of a zone in cycles per lattice parameter."""
    zone = BY_NAME[name]
    return reflections(zone.crystal(0, zone.materials[0][0]), 2)[0]


@pytest.mark.parametrize(
    ("name", "spacing"),  # in lattice parameters: 1 / sqrt(h^2 + k^2 + l^2)
    [
        ("fcc [100]", 4**-0.5),
        ("fcc [110]", 3**-0.5),
        ("fcc [111]", 8**-0.5),
        ("bcc [100]", 2**-0.5),
        ("bcc [110]", 2**-0.5),
        ("bcc [111]", 2**-0.5),
        ("diamond or zinc blende [110]", 3**-0.5),
        ("rock salt [110]", 3**-0.5),
        ("fluorite [110]", 3**-0.5),
        ("perovskite [100]", 1.0),
        ("rutile [001]", 2**-0.5),
        ("honeycomb or hcp [0001]", 0.75**0.5),
    ],
)
def test_widest_planes_of_a_zone_are_those_of_the_structure(name, spacing):
    assert 1 / np.hypot(*shortest_reflections(name)[0]) == pytest.approx(spacing, rel=1e-6)


def test_planes_along_110_of_fcc_meet_at_the_angle_of_an_octahedron():
    first, second = shortest_reflections("fcc [110]")
    cosine = first @ second / np.hypot(*first) / np.hypot(*second)
    assert np.degrees(np.arccos(abs(cosine))) == pytest.approx(70.53, abs=0.01)


def test_glide_planes_of_rutile_forbid_odd_orders_along_its_axes():
    zone = BY_NAME["rutile [001]"]
    vectors, _ = reflections(zone.crystal(0, zone.materials[0][0]), 30)
    along = np.rint(vectors[np.abs(vectors[:, 1]) < 1e-9, 0]).astype(int)
    assert along.tolist() == [2, 4]


def test_cells_are_the_smallest_that_repeat():
    for zone in ZONES:
        model = zone.crystal(0, 0.02)
        found, _ = reflections(model, 4)
        orders = np.rint(found @ model.vectors.T)
        np.testing.assert_allclose(orders @ model.reciprocal, found, atol=1e-9)
        assert np.linalg.matrix_rank(orders) == 2


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_columns_of_every_zone_keep_apart(zone):
    for material in range(len(zone.materials)):
        places, heights = sites(zone.crystal(material, 0.01), (150, 150), 0)
        apart = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
        assert apart[apart > 0].min() > 7  # of 0.01 nm: no bond projects to less in the table
        assert (apart > 1e-6).sum() == len(places) * (len(places) - 1)
        assert set(heights) <= set(zone.materials[material][1])


def test_period_in_pixels_and_pixel_size_give_the_period_in_nm(rng):
    for _ in range(20):
        model, pixel_size_nm = random_crystal(rng, 12.0)
        assert np.hypot(*model.vectors.T).min() == pytest.approx(12)
        assert 0.14 < 12 * pixel_size_nm < 0.7


def test_twins_mirror_the_lattice_in_rows_of_both():
    model = BY_NAME["fcc [110]"].crystal(0, 0.03)
    places, heights = twinned(model, (200, 200), 5)
    inside = np.all((places > 20) & (places < 180), axis=1)
    apart = np.hypot(*(places[inside][:, None] - places).transpose(2, 0, 1))
    nearest = np.sort(apart, axis=1)[:, 1]
    np.testing.assert_allclose(nearest, np.hypot(*model.vectors.T).min(), rtol=1e-6)
    density = 1 / abs(np.linalg.det(model.vectors))
    assert inside.sum() == pytest.approx(160**2 * density, rel=0.05)
    # A lattice repeats at its own vectors; the twin only across the mirror.
    repeated = np.hypot(*(places[inside][:, None] + model.vectors[0] - places).transpose(2, 0, 1))
    share = (repeated.min(axis=1) < 0.1).mean()
    assert 0.3 < share < 0.8
    assert len(heights) == len(places)


def test_a_mirror_of_the_crystal_itself_makes_no_twin():
    model = BY_NAME["fcc [100]"].crystal(0, 0.03)
    places, _ = twinned(model, (120, 120), 4)
    fractions = (places - 60) @ np.linalg.inv(model.vectors)
    np.testing.assert_allclose(fractions, np.rint(fractions), atol=1e-6)


def test_grains_hold_the_lattice_at_its_density(rng):
    model = BY_NAME["perovskite [100]"].crystal(0, 0.03)
    grain, _, turns = grains((300, 300), rng, least_px=100)
    places, _ = polycrystal(model, grain, turns, 30)
    inside = np.all((places > 0) & (places < 299), axis=1)
    density = len(model.basis) / abs(np.linalg.det(model.vectors))
    assert inside.sum() == pytest.approx(300**2 * density, rel=0.06)


def one_column(number, atoms, others=()):
    """A foil of single columns, 3 nm apart."""
    rows = [(number, atoms), *others]
    places = np.array([[40.0, 40 + 60 * i] for i in range(len(rows))])
    flat = np.ones((80, 60 * len(rows) + 20), np.float32)
    numbers, counts = np.array(rows, dtype=float).T
    return Foil(places, numbers, counts, flat, 0 * flat, 0.05, 0.3)


def test_dark_field_grows_with_the_atoms_and_as_z_to_the_one_point_seven(rng):
    specimen = one_column(20, 5, [(40, 5), (20, 10)])
    image = dark_field(specimen, rng)
    first, heavier, thicker = image[40, [40, 100, 160]]
    assert heavier / first == pytest.approx(2**1.7, rel=1e-3)
    assert thicker / first == pytest.approx(2, rel=1e-3)


def test_bright_field_shows_columns_dark_and_light_elements_better(rng):
    specimen = one_column(8, 5, [(80, 5)])
    bright = bright_field(replace(specimen, thickness=0 * specimen.thickness), rng)
    light, heavy = 1 - bright[40, [40, 100]]
    assert 0 < light < heavy
    assert light / heavy > 2 * 0.1**1.7


def test_vacuum_passes_the_whole_beam(rng):
    empty = one_column(20, 0)
    image = phase_contrast(replace(empty, thickness=0 * empty.thickness), rng)
    np.testing.assert_allclose(image, 1, atol=1e-4)


def test_vacuum_beyond_an_edge_holds_neither_atoms_nor_coat():
    seen = 0
    for seed in range(12):
        thickness, coat = edged((120, 150), 8.0, np.random.default_rng(seed))
        assert (coat >= 0).all()
        assert (thickness >= 0).all()
        assert thickness.max() <= 1
        seen += bool((coat == 0).any() and (thickness == 0).any())
        assert (thickness[coat == 0] == 0).mean() > 0.98 if (coat == 0).any() else True
        specimen = foil((120, 150), np.random.default_rng(seed))
        y, x = np.clip(np.rint(specimen.places).astype(int), 0, (119, 149)).T
        assert (specimen.atoms >= 0).all()
        assert (specimen.atoms == np.rint(specimen.atoms)).all()
        assert (specimen.atoms[specimen.thickness[y, x] == 0] <= 1).all()
    assert seen > 0


def test_doping_only_takes_atoms_away_and_adds_single_ones():
    bare = one_column(20, 6, [(20, 6)] * 200)
    for seed in range(8):
        after = doped(bare, np.random.default_rng(seed))
        assert (after.atoms[: len(bare.atoms)] <= bare.atoms).all()
        assert (after.atoms[len(bare.atoms) :] == 1).all()
        assert (after.numbers[len(bare.atoms) :] >= 47).all()
