import numpy as np
import pytest

from lowdose.data.sets import fingerprint as module
from lowdose.data.sets.fingerprint import copies_of, fingerprint
from tests.data.fields import field


def scaled(frame):
    return (frame - frame.min()) / np.ptp(frame)


SAVED_OTHERWISE = {
    "the same": lambda x: x,
    "8 bit": lambda x: np.uint8(200 * x + 20),
    "float, other unit": lambda x: np.float32(1e-3 * x - 7),
    "square root": np.sqrt,
    "square": np.square,
    "half the size": lambda x: x.reshape(128, 2, 128, 2).mean(axis=(1, 3)),
    "a little noise": lambda x: x + np.random.default_rng(0).normal(0, 0.01, x.shape),
}


@pytest.mark.parametrize("change", SAVED_OTHERWISE.values(), ids=SAVED_OTHERWISE)
def test_a_copy_that_was_saved_otherwise_is_known(change):
    frame = scaled(field(3, 256))
    others = [fingerprint(scaled(field(seed, 256))) for seed in range(3)]
    found = copies_of([*others, fingerprint(frame), fingerprint(change(frame))])
    assert found.tolist() == [0, 1, 2, 3, 3]


OTHER_FIELDS = {
    "mirrored": lambda x: x[::-1],
    "turned": np.rot90,
    "moved by a cell": lambda x: np.roll(x, 32, axis=1),
}


@pytest.mark.parametrize("change", OTHER_FIELDS.values(), ids=OTHER_FIELDS)
def test_another_field_is_no_copy(change):
    frame = field(3, 256)
    assert copies_of([fingerprint(frame), fingerprint(change(frame))]).tolist() == [0, 1]


def test_fields_without_structure_are_no_copies_however_the_beam_lights_them():
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    light = 3000 * np.exp(-0.5 * ((x - 0.2) ** 2 + y**2))
    rng = np.random.default_rng(0)
    prints = [fingerprint(rng.poisson(light)) for _ in range(8)]
    assert copies_of(prints).tolist() == list(range(8))


def test_a_bar_with_the_same_writing_makes_no_copies():
    bar = np.where(np.random.default_rng(9).random((32, 256)) < 0.2, 60000, 0)
    frames = [field(seed, 256) for seed in range(6)]
    for frame in frames:
        frame[-32:] = bar
    assert copies_of([fingerprint(frame) for frame in frames]).tolist() == list(range(6))


def test_copies_of_copies_name_the_first():
    frame = scaled(field(0, 256))
    prints = [fingerprint(frame**power) for power in (1, 0.8, 0.7, 1.3)]
    assert copies_of(prints).tolist() == [0, 0, 0, 0]


def test_images_too_small_for_a_fingerprint_are_like_no_other():
    small = fingerprint(np.zeros((31, 500)))
    assert small == b""
    assert copies_of([small, small]).tolist() == [0, 1]
    assert copies_of([]).tolist() == []


def test_far_fewer_pairs_are_compared_than_there_are(monkeypatch):
    compared = []
    are_alike, collapse = module._are_alike, module._collapse

    def count_pairs(values, one, other):
        compared.append(len(one))
        return are_alike(values, one, other)

    def count_bucket(values, known, bucket, *rest):
        compared.append(len(bucket) ** 2)
        collapse(values, known, bucket, *rest)

    monkeypatch.setattr(module, "_are_alike", count_pairs)
    monkeypatch.setattr(module, "_collapse", count_bucket)
    rng = np.random.default_rng(0)
    prints = [rng.integers(-127, 128, 320).astype(np.int8).tobytes() for _ in range(4000)]
    copies = copies_of([*prints, *prints[:7]])
    assert copies[4000:].tolist() == list(range(7))
    assert np.array_equal(copies[:4000], np.arange(4000))
    assert sum(compared) < 4000**2 / 1000


def test_a_thousand_copies_of_one_image_are_all_found():
    same, other = fingerprint(field(0, 256)), fingerprint(field(1, 256))
    prints = [other] + [same] * 1000 + [other]
    assert copies_of(prints).tolist() == [0] + [1] * 1000 + [0]
