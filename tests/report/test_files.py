"""From a file to its page: everything is on it, and nothing else is touched."""

import dataclasses
import re

import numpy as np
import pytest

import lowdose
from lowdose.batch import NoiseChoice
from lowdose.data.simulate import simulate_truth
from lowdose.errors import ConfigError, NoiseModelError, OutputError
from lowdose.infer import Denoiser
from lowdose.micrograph import Axis, Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.report import files
from lowdose.report.files import report_path, write_report

NOISE = NoiseModel(1.0)
AXES = (Axis("y", 0.5, "nm"), Axis("x", 0.5, "nm"))


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser("everyday", device="cpu")


@pytest.fixture
def scan(tmp_path):
    clean = simulate_truth("particles", (192, 192), rng=np.random.default_rng(1)).pixels
    counts = np.random.default_rng(0).poisson(clean * (30 / clean.mean())).astype(np.uint16)
    lowdose.write(tmp_path / "scan.mrc", Micrograph(counts, AXES))
    return tmp_path / "scan.mrc"


def test_the_page_tells_file_result_and_origin(scan, denoiser):
    target = report_path(scan)
    found = write_report(scan, target, denoiser, rivals=("none", "everyday"))
    text = target.read_text("utf-8")
    for piece in (
        "scan.mrc", "0.5 x 0.5 nm", "gain 1", denoiser.record.sha256, found.verdict[0],
        "Photon transfer", "Fourier ring correlation", "Spectra", "uncertainty", "nm",
    ):  # fmt: skip
        assert piece in text, piece
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert [each.name for each in scan.parent.iterdir() if each.suffix == ".html"] == [target.name]


def test_metadata_named_like_a_fact_of_ours_is_told_beside_it(scan, denoiser, monkeypatch):
    own = dataclasses.replace(lowdose.read(scan), metadata={"noise": "of the pump", "format": "A4"})
    monkeypatch.setattr(files, "read", lambda path, **kinds: own)
    write_report(scan, report_path(scan), denoiser, rivals=())
    text = report_path(scan).read_text("utf-8")
    for piece in ("of the pump", "gain 1", "A4"):
        assert piece in text


def test_a_frame_of_a_stack_is_reported(scan, denoiser, tmp_path):
    frame = lowdose.read(scan).pixels
    stack = Micrograph(np.stack([frame, frame[::-1]]))
    lowdose.write(tmp_path / "stack.mrc", stack)
    found = write_report(tmp_path / "stack.mrc", tmp_path / "r.html", denoiser, frame=1)
    assert np.array_equal(found.micrograph.pixels, frame[::-1])
    assert "frame 1" in (tmp_path / "r.html").read_text("utf-8")
    with pytest.raises(ConfigError, match="2 frames"):
        write_report(tmp_path / "stack.mrc", tmp_path / "r.html", denoiser, frame=2)


def test_what_is_known_of_the_noise_is_used_and_told(scan, denoiser, tmp_path):
    choice = NoiseChoice(gain=1.0, offset=0.0, readout=2.0)
    found = write_report(scan, tmp_path / "r.html", denoiser, choice=choice)
    assert found.denoised.noise.readout_std == 2.0
    assert "readout 2.0" in (tmp_path / "r.html").read_text("utf-8")


def test_an_older_report_is_replaced_and_nothing_else(scan, denoiser, tmp_path):
    target = tmp_path / "r.html"
    for _ in range(2):
        write_report(scan, target, denoiser)
    target.write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="no report of lowdose"):
        write_report(scan, target, denoiser)
    assert target.read_text() == "<html>mine</html>"


def test_noise_that_contradicts_the_file_is_refused_with_its_name(scan, denoiser, tmp_path):
    with pytest.raises(NoiseModelError, match=r"scan\.mrc"):
        write_report(scan, tmp_path / "r.html", denoiser, choice=NoiseChoice(gain=1.0, offset=1e6))
    assert not (tmp_path / "r.html").exists()


def test_a_frame_is_judged_by_the_noise_of_its_stack_as_it_is_denoised(scan, denoiser, tmp_path):
    frame = lowdose.read(scan).pixels.astype(np.float32)
    stack = np.stack([0.37 * frame, 0.37 * frame[::-1]])
    lowdose.write(tmp_path / "stack.mrc", Micrograph(stack))
    found = write_report(tmp_path / "stack.mrc", tmp_path / "r.html", denoiser, frame=1)
    assert found.denoised.noise == denoiser(lowdose.read(tmp_path / "stack.mrc")).noise


def test_pixels_that_are_no_numbers_are_filled_where_that_is_asked_for(scan, denoiser, tmp_path):
    pixels = lowdose.read(scan).pixels.astype(np.float32)
    pixels[5, 5] = np.nan
    np.save(tmp_path / "holes.npy", pixels)
    found = write_report(
        tmp_path / "holes.npy", tmp_path / "r.html", denoiser, nonfinite="fill", noise=NOISE
    )
    assert found.denoised.noise is NOISE
