"""What is said of a file."""

import json

import numpy as np
import pytest

from lowdose.micrograph import Axis, Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.report.facts import (
    describe,
    describe_file,
    distribution,
    file_rows,
    mean_electrons,
)


def test_a_distribution_equals_that_of_all_pixels_at_once():
    pixels = np.random.default_rng(0).normal(1e6, 1, (3, 700, 900)).astype(np.float64)
    found = distribution(pixels)
    assert (found.min, found.max) == (pixels.min(), pixels.max())
    assert found.mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert found.std == pytest.approx(pixels.std(), rel=1e-9)


def test_dose_follows_from_electrons_and_pixel_size():
    counts = np.random.default_rng(0).poisson(np.linspace(20, 60, 128), (128, 128))
    axes = (Axis("y", 2.0, "Å"), Axis("x", 2.0, "Å"))
    found = describe(Micrograph(counts.astype(np.uint16), axes))
    assert found["electrons_per_pixel"] == pytest.approx(counts.mean())
    assert found["dose_e_per_a2"] == pytest.approx(counts.mean() / 4)


def test_noise_that_drowns_shot_noise_tells_no_electrons():
    assert mean_electrons(NoiseModel(2.0, 10.0), 50.0) == 20
    assert mean_electrons(NoiseModel(0.001, 0.0, 10.0), 50.0) is None
    assert mean_electrons(NoiseModel(0.0), 50.0) is None


def test_blurred_noise_does_not_tell_how_many_electrons_there_were():
    assert mean_electrons(NoiseModel(2.0), 20.0) == 10
    assert mean_electrons(NoiseModel(2.0, correlation=(0.0, 0.4)), 20.0) is None


def test_all_findings_are_told_as_json_can_hold_them():
    image = np.random.default_rng(0).poisson(30, (256, 256)).astype("f4")
    image += 3 * np.random.default_rng(1).normal(size=(256, 1)).astype("f4")
    found = json.loads(json.dumps(describe(Micrograph(image))["findings"]))
    levels = {finding["name"]: finding["level"] for finding in found}
    assert levels["row noise"] == "warning"
    assert levels["column noise"] == "fine"


def test_rows_tell_format_pixels_pixel_size_and_metadata_in_this_order():
    axes = (Axis("y", 0.5, "nm"), Axis("x", 0.25, "nm"))
    micrograph = Micrograph(np.zeros((64, 96), np.uint16), axes, {"voltage_kv": 200.0})
    assert file_rows(describe_file(micrograph)) == [
        ("format", ""),
        ("pixels", "64 x 96 uint16"),
        ("pixel size", "0.5 x 0.25 nm"),
        ("voltage_kv", "200.0"),
    ]
    bare = Micrograph(np.zeros((2, 64, 96), np.float32))
    assert dict(file_rows(describe(bare)))["pixel size"] == "unknown"
