import numpy as np
import pytest

from lowdose.data.simulate.fields import near
from lowdose.data.simulate.structures import ZONES, reflections
from lowdose.data.simulate.supported import (
    Deposit,
    atoms,
    body,
    carbon,
    dark_field,
    deposit,
    five_fold,
    mirrored,
    phase_contrast,
)

ZONE = next(zone for zone in ZONES if zone.name == "fcc [110]")
MODEL = ZONE.crystal(0, 0.04)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def centred(size):
    _, y, x = near((size, size), (size / 2, size / 2), size)
    return y, x


def test_particles_end_at_their_radius_and_are_thickest_inside():
    y, x = centred(160)
    for seed in range(30):
        thickness = body(y, x, 50.0, MODEL, np.random.default_rng(seed))
        assert (thickness >= 0).all()
        assert (thickness[np.hypot(y, x) > 1.1 * 50] == 0).all()
        assert thickness[80, 80] > 0.9 * thickness.max()


def test_particle_repeats_with_the_planes_of_its_structure():
    y, x = centred(256)
    window = np.hanning(256)[:, None] * np.hanning(256)
    expected = np.hypot(*reflections(MODEL, 12)[0].T)
    seen = 0
    for seed in range(12):
        lattice = atoms(y, x, ZONE, MODEL, np.random.default_rng(seed))
        assert np.abs(lattice).max() <= 1
        if not lattice.any():
            continue
        power = np.abs(np.fft.fft2(lattice * window)) ** 2
        row, col = np.unravel_index(power.argmax(), power.shape)
        strongest = np.hypot(np.fft.fftfreq(256)[row], np.fft.fftfreq(256)[col])
        assert np.abs(expected - strongest).min() < 1.5 / 256
        seen += 1
    assert seen > 5


def test_some_particles_are_off_every_axis():
    y, x = centred(64)
    blank = [not atoms(y, x, ZONE, MODEL, np.random.default_rng(seed)).any() for seed in range(200)]
    assert np.mean(blank) == pytest.approx(0.2, abs=0.1)


def test_twin_is_its_own_mirror_image(rng):
    normal = np.array([0.3, 0.4])
    place = rng.normal(0, 20, 2)
    unit = normal / np.hypot(*normal)
    image = place - 2 * (place @ unit) * unit
    here, there = (mirrored(*point[:, None], normal) for point in (place, image))
    np.testing.assert_allclose(here, there, atol=1e-9)
    assert np.hypot(*here) == pytest.approx(np.hypot(*place))


def test_five_fold_twin_repeats_at_a_fifth_of_a_turn(rng):
    radius, angle = rng.uniform(5, 50, 30), rng.uniform(-np.pi, np.pi, 30)
    one, next_one = (
        five_fold(radius * np.cos(a), radius * np.sin(a)) for a in (angle, angle + 2 * np.pi / 5)
    )
    np.testing.assert_allclose(one, next_one, atol=1e-9)


def test_five_fold_sectors_meet_on_lattice_planes():
    fifth = np.pi / 5
    y, x = five_fold(*(10 * np.array([[f(fifth - 1e-9)] for f in (np.cos, np.sin)])))
    along = np.concatenate([y, x]) / 10
    across = reflections(MODEL, 2)[0]  # of both sorts of {111} planes
    across /= np.hypot(*across.T)[:, None]
    assert np.abs(across @ along).min() < 1e-6


def test_film_is_nanometres_thick_and_nothing_in_its_holes():
    holes = 0
    for seed in range(20):
        film = carbon((200, 220), 0.05, np.random.default_rng(seed))
        assert (film >= 0).all()
        assert film.max() < 60
        holes += bool((film == 0).any())
    assert 0 < holes < 20


def test_particles_are_bright_in_the_annular_dark_field():
    clear = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        specimen = deposit((200, 200), rng)
        image = dark_field(specimen, rng)
        thick = specimen.thickness > 1.5
        if thick.any() and not thick.all():
            clear.append(image[thick].mean() > image[specimen.thickness == 0].mean())
    assert clear
    assert all(clear)


def test_particles_are_dark_in_bright_field():
    """The loss shows wherever the lens only moves intensity about."""
    y, x = centred(128)
    thickness = np.where(np.hypot(y, x) < 30, 6.0, 0.0).astype(np.float32)
    flat = np.zeros_like(thickness)
    specimen = Deposit(thickness, flat, flat, 79.0, 0.1, 0.25)
    for seed in range(5):
        image = phase_contrast(specimen, np.random.default_rng(seed))
        assert image[thickness > 0].mean() < 0.97
        assert image.mean() < 1


def test_edge_of_a_film_has_a_fringe():
    film = np.zeros((128, 128), np.float32)
    film[:, 32:96] = 8.0
    specimen = Deposit(0 * film, 0 * film, film, 79.0, 0.1, 0.25)
    overshoots = []
    for seed in range(8):
        profile = phase_contrast(specimen, np.random.default_rng(seed)).mean(axis=0)
        overshoots.append(profile[16:48].max() - profile[:8].mean())
    assert np.median(overshoots) > 0.02
