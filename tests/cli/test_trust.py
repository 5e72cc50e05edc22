"""``lowdose score``, ``lowdose report`` and what ``denoise`` has of them."""

import json

import numpy as np
import pytest

import lowdose
from lowdose.data.simulate import simulate_truth
from lowdose.micrograph import Micrograph

METHODS = "--method", "everyday", "--method", "gaussian"


@pytest.fixture
def scan(tmp_path):
    clean = simulate_truth("particles", (192, 192), rng=np.random.default_rng(1)).pixels
    rng = np.random.default_rng(0)
    for name in ("scan", "again"):
        counts = rng.poisson(clean * (30 / clean.mean())).astype(np.uint16)
        lowdose.write(tmp_path / f"{name}.mrc", Micrograph(counts))
    return tmp_path / "scan.mrc"


def test_one_exposure_is_not_scored_against_itself(call, scan):
    result = call("score", scan, "--against", scan, *METHODS)
    assert (result.exit_code, "the same pixels twice" in result.stderr) == (2, True)


def test_methods_are_scored_the_best_first(call, scan):
    result = call("score", scan, *METHODS)
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.splitlines()[1:4]]
    assert names == ["everyday", "gaussian", "input"]
    assert "everyday has the least error" in result.stdout


def test_scores_as_json_hold_the_noise_they_rest_on(call, scan):
    facts = json.loads(call("score", scan, *METHODS, "--json", "--gain", "1").stdout)
    assert [each["name"] for each in facts["scores"]] == ["everyday", "gaussian", "input"]
    assert facts["noise"]["gain"] == 1


def test_two_exposures_score_each_other(call, scan):
    one = json.loads(call("score", scan, *METHODS, "--json").stdout)
    two = json.loads(
        call("score", scan, *METHODS, "--json", "--against", scan.with_name("again.mrc")).stdout
    )
    mse = {each["name"]: each["mse"] for each in one["scores"]}
    pair = {each["name"]: each["mse"] for each in two["scores"]}
    assert pair["gaussian"] == pytest.approx(mse["gaussian"], rel=0.15)


def test_exposures_that_do_not_fit_end_in_a_sentence(call, scan, tmp_path):
    lowdose.write(tmp_path / "small.mrc", Micrograph(np.ones((64, 64), np.uint16)))
    result = call("score", scan, *METHODS, "--against", tmp_path / "small.mrc")
    assert result.exit_code == 2
    assert "alike" in result.stderr


def test_an_image_without_noise_cannot_be_scored(call, tmp_path):
    lowdose.write(tmp_path / "flat.mrc", Micrograph(np.ones((64, 64), np.uint16)))
    result = call("score", tmp_path / "flat.mrc", *METHODS)
    assert (result.exit_code, "flat.mrc" in result.stderr) == (2, True)


def test_reports_of_several_files_go_into_a_folder(call, scan, tmp_path):
    lowdose.write(tmp_path / "scan.tif", lowdose.read(scan))
    (tmp_path / "bad.mrc").write_bytes(b"nothing")
    files = scan, tmp_path / "scan.tif", tmp_path / "bad.mrc"
    result = call("report", *files, "-o", tmp_path / "pages")
    assert result.exit_code == 4
    assert "bad.mrc" in result.stderr
    pages = sorted(page.name for page in (tmp_path / "pages").iterdir())
    assert pages == ["scan.mrc_report.html", "scan.tif_report.html"]
    assert "of the squared error is gone" in result.stdout


def test_no_report_takes_the_place_of_another(call, scan, tmp_path):
    (tmp_path / "day2").mkdir()
    other = tmp_path / "day2" / scan.name
    lowdose.write(other, lowdose.read(scan))
    result = call("report", scan, other, "-o", tmp_path / "pages")
    assert result.exit_code == 2
    assert str(scan) in result.stderr
    assert str(other) in result.stderr
    assert not list(tmp_path.glob("pages/*"))


def test_one_page_is_not_for_many_files(call, scan, tmp_path):
    result = call("report", scan, scan.with_name("again.mrc"), "-o", tmp_path / "one.html")
    assert (result.exit_code, "folder" in result.stderr) == (2, True)


def test_denoising_writes_report_and_uncertainty_when_asked(call, scan):
    result = call("denoise", scan, "--report", "--uncertainty")
    assert result.exit_code == 0
    made = {path.name for path in scan.parent.iterdir()}
    assert {"scan_denoised.mrc", "scan_denoised_std.mrc", "scan_denoised_report.html"} <= made


def test_auto_says_which_network_it_took(call, scan):
    result = call("denoise", scan, "--model", "auto")
    assert result.exit_code == 0
    assert "  everyday  " in result.stdout or "  fast  " in result.stdout


def test_a_report_that_cannot_be_written_leaves_the_other_files_done(call, scan):
    blocked = scan.with_name("scan_denoised_report.html")
    blocked.write_text("mine")
    result = call("denoise", scan, scan.with_name("again.mrc"), "--report")
    assert result.exit_code == 4
    assert result.stderr.count("no report of lowdose") == 1
    assert blocked.read_text() == "mine"
    assert scan.with_name("again_denoised_report.html").exists()


def test_filled_pixels_are_reported_on_as_well(call, tmp_path):
    pixels = np.random.default_rng(0).poisson(30, (96, 96)).astype(np.float32)
    pixels[3, 4] = np.inf
    np.save(tmp_path / "holes.npy", pixels)
    result = call("denoise", tmp_path / "holes.npy", "--report", "--nonfinite", "fill")
    assert result.exit_code == 0
    assert (tmp_path / "holes_denoised_report.html").exists()


def test_what_was_done_before_says_that_it_has_no_report(call, scan):
    call("denoise", scan)
    result = call("denoise", scan, "--report")
    assert (result.exit_code, "--overwrite" in result.stderr) == (0, True)


def test_reports_of_files_of_one_stem_do_not_replace_each_other(call, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.mrc", "a.tif"):
        pixels = np.random.default_rng(len(name)).poisson(30.0, (72, 80)).astype(np.float32)
        lowdose.write(tmp_path / "in" / name, Micrograph(pixels))
    out = tmp_path / "out"
    for _ in "12":
        result = call("denoise", tmp_path / "in", "-o", out, "--model", "fast", "--report")
        assert (result.exit_code, result.stderr) == (0, "")
    pages = {"a_report.html": "a.mrc", "a.tif_report.html": "a.tif"}
    assert {page.name for page in out.glob("*.html")} == pages.keys()
    for page, source in pages.items():
        assert f"<title>{source}" in (out / page).read_text("utf-8")


@pytest.mark.parametrize("name", ["page.pdf", "page.mrc"])
def test_a_report_goes_into_no_file_of_another_kind(call, scan, tmp_path, name):
    result = call("report", scan, "-o", tmp_path / name)
    assert (result.exit_code, ".html" in result.stderr) == (2, True)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 2)])
def test_images_of_a_few_pixels_are_not_scored(call, tmp_path, shape):
    np.save(tmp_path / "small.npy", np.full(shape, 9, np.uint8))
    result = call("score", tmp_path / "small.npy", "--gain", "1", *METHODS)
    assert (result.exit_code, "too few" in result.stderr) == (2, True)


def test_weights_that_tell_no_uncertainty_lead_to_those_that_do(call, scan):
    result = call("denoise", scan, "--uncertainty", "--model", "atrous-narrow-low")
    assert result.exit_code == 2
    assert "use best or everyday" in result.stderr
    assert "--backend" not in result.stderr


def test_a_method_that_there_is_not_is_called_a_method(call, scan):
    result = call("score", scan, "--method", "nosuch")
    assert (result.exit_code, "there is no method 'nosuch'" in result.stderr) == (2, True)


def test_a_missing_folder_is_told_before_any_work(call, scan, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the work was done")

    monkeypatch.setattr("lowdose.report.files.review", never)
    result = call("report", scan, "-o", tmp_path / "none" / "page.html")
    assert (result.exit_code, "does not exist. Create" in result.stderr) == (5, True)


def test_a_gain_that_does_not_fit_is_refused_by_the_name_of_the_file(call, scan):
    result = call("score", scan, *METHODS, "--gain", "1e5")
    assert result.exit_code == 2
    assert f"{scan}: homogeneous parts vary" in result.stderr
