"""The other commands: what they print and write."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import lowdose
from lowdose.data.simulate import KINDS
from lowdose.micrograph import Micrograph

# ---- info


def test_info_says_what_a_file_is(call, noisy):
    text = call("info", noisy).stdout
    for part in ("mrc", "80 x 96 uint16", "0.5 x 0.5 nm", "counts of step 1", "electrons", "e/Å²"):
        assert part in text


def test_info_keeps_long_names_apart_from_their_values(call, tmp_path):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).poisson(30, (64, 64)).astype(np.uint16)
    lowdose.write(path, Micrograph(pixels, metadata={"magnification": 188.0}))
    lines = call("info", path).stdout.splitlines()
    assert "  magnification  188.0" in lines
    assert "  format         tiff" in lines


def test_info_shows_the_labels_of_an_mrc_file(call, noisy):
    micrograph = lowdose.read(noisy)
    lowdose.write(noisy, micrograph.with_pixels(micrograph.pixels, "cut out", "filtered"))
    lines = [line.split(maxsplit=1) for line in call("info", noisy).stdout.splitlines()]
    assert [value for key, value in lines[1:] if key == "history"] == ["cut out", "filtered"]


def test_info_as_json_has_the_dose(call, noisy):
    (facts,) = json.loads(call("info", noisy, "--json").stdout)
    pixels = lowdose.read(noisy).pixels
    assert facts["pixels"]["mean"] == pytest.approx(pixels.mean())
    assert facts["electrons_per_pixel"] == pytest.approx(pixels.mean())
    assert facts["dose_e_per_a2"] == pytest.approx(pixels.mean() / 25)


def test_info_goes_on_after_a_failure(call, noisy, tmp_path):
    result = call("info", tmp_path / "missing.mrc", noisy)
    assert result.exit_code == 4
    assert result.stdout.startswith(str(noisy))
    assert call("info", tmp_path / "missing.mrc").exit_code == 3


def test_info_says_what_is_odd_about_an_image_and_what_to_do(call, tmp_path):
    rng = np.random.default_rng(0)
    striped = rng.poisson(30, (256, 256)) + np.rint(4 * rng.normal(size=(256, 1)))
    np.save(tmp_path / "a.npy", striped.astype(np.int16))
    (row,) = [
        line for line in call("info", tmp_path / "a.npy").stdout.splitlines() if "row noise" in line
    ]
    assert "warning: Whole rows" in row
    assert "destripe" in row


def test_info_is_silent_about_what_is_fine(call, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).poisson(30, (256, 256)).astype(np.int16))
    text = call("info", tmp_path / "a.npy").stdout
    assert "row noise" not in text
    assert "warning" not in text


# ---- simulate


def test_simulate_writes_counts_and_the_truth(call, tmp_path):
    words = ("simulate", "lattice", "--size", "64", "--dose", "30", "--seed", "5")
    assert call(*words, "-o", tmp_path / "a.tif").exit_code == 0
    noisy, truth = lowdose.read(tmp_path / "a.tif"), lowdose.read(tmp_path / "a_truth.tif")
    assert noisy.pixels.dtype == np.uint16
    assert truth.pixels.mean() == pytest.approx(30, rel=1e-5)
    assert noisy.pixels.mean() == pytest.approx(30, rel=0.02)
    assert noisy.pixel_size_nm == pytest.approx(truth.pixel_size_nm)
    call(*words, "-o", tmp_path / "b.mrc", "--truth", tmp_path / "c.npy")
    assert np.array_equal(lowdose.read(tmp_path / "b.mrc").pixels, noisy.pixels)
    assert (tmp_path / "c.npy").exists()


def test_simulate_replaces_no_file_unasked(call, tmp_path):
    words = ("simulate", "lattice", "--size", "64")
    mine = tmp_path / "mine_truth.mrc"
    mine.write_bytes(b"mine")
    result = call(*words, "-o", tmp_path / "mine.mrc")
    assert (result.exit_code, "--overwrite" in result.stderr) == (5, True)
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "mine.mrc").exists()
    assert call(*words, "-o", tmp_path / "mine.mrc", "--overwrite").exit_code == 0
    assert lowdose.read(mine).shape == (64, 64)


def test_simulate_lists_the_kinds(call):
    assert all(kind in call("simulate", "--list").stdout for kind in KINDS)


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["lattice", "--dose", "0"],
        ["lattice", "--size", "3"],
        ["lattice", "--size", "1000000"],  # terabytes
        ["lattice", "--readout=-1"],
    ],
)
def test_simulate_refuses_nonsense_and_writes_nothing(words, call, tmp_path):
    result = call("simulate", *words, "-o", tmp_path / "a.mrc")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(("lowdose: ", "Error: "))
    assert list(tmp_path.iterdir()) == []


# ---- evaluate


def test_evaluate_scores_a_pair_of_files(call, noisy, tmp_path):
    truth = tmp_path / "truth.npy"
    ramp = np.broadcast_to(np.linspace(10, 60, 96), (80, 96)).astype(np.float32)
    lowdose.write(truth, Micrograph(ramp.copy()))
    result = call("evaluate", "--truth", truth, "--noisy", noisy, "--denoised", truth)
    none, perfect = result.stdout.splitlines()[1:]
    assert none.startswith("none")
    assert perfect.split()[0] == "truth.npy"
    assert "inf" in perfect  # the PSNR of the truth itself
    assert result.stderr == ""


def test_evaluate_brings_a_scaled_truth_to_the_level_of_the_noisy_image(call, noisy, tmp_path):
    truth = tmp_path / "truth.npy"
    lowdose.write(truth, Micrograph(lowdose.read(noisy).pixels / np.float32(100)))
    result = call("evaluate", "--truth", truth, "--noisy", noisy, "--denoised", noisy)
    assert result.exit_code == 0
    assert (
        result.stderr == f"note: {truth}: multiplied by 100, to have the mean of the noisy image.\n"
    )


def test_evaluate_exposes_a_folder_and_writes_every_score(call, tiny_weights, tmp_path):
    folder, weights = tmp_path / "clean", tiny_weights()
    folder.mkdir()
    for name in "ab":
        call("simulate", "particles", "--size", "64", "-o", tmp_path / f"{name}.mrc",
             "--truth", folder / f"{name}.mrc")  # fmt: skip
    words = ["--truth", folder, "--dose", "low", "--model", weights, "--csv", tmp_path / "s.csv"]
    result = call("evaluate", *words, "--gain-known")
    assert result.exit_code == 0
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [row["method"] for row in rows[:3]] == ["none", "tiny", "tiny:gain-known"]
    assert {row["image"] for row in rows} == {"a.mrc", "b.mrc"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--dose", "low", "--noisy", "a.mrc"],
        ["--dose", "much"],
        ["--dose", "low", "--denoised", "a.mrc"],
        ["--noisy", "a.mrc", "--gain-known"],
        ["--noisy", "a.mrc", "--names", "a.txt"],
    ],
)
def test_evaluate_wants_one_task(words, call, noisy):
    result = call("evaluate", "--truth", noisy, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("lowdose: ")


def test_evaluate_looks_for_the_folder_of_its_table_before_the_work(call, noisy, tmp_path):
    words = ("--dose", "low", "--model", "no such", "--csv", tmp_path / "no" / "scores.csv")
    result = call("evaluate", "--truth", noisy, *words)
    assert result.exit_code == 5
    assert "folder does not exist" in result.stderr


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        (np.full((80, 96), 35, np.float32), "cannot be scored: data range is 0"),
        (np.full((80, 96), -3, np.float32), "expected both above 0"),
        (np.zeros((80, 96), np.float32), "expected both above 0"),
    ],
)
def test_evaluate_says_when_there_is_nothing_to_compare(pixels, problem, call, noisy, tmp_path):
    truth = tmp_path / "truth.npy"
    lowdose.write(truth, Micrograph(pixels))
    result = call("evaluate", "--truth", truth, "--noisy", noisy, "--denoised", noisy)
    assert result.exit_code == 3
    assert problem in result.stderr


def test_evaluate_says_when_images_are_too_small(call, tmp_path):
    small = tmp_path / "small.npy"
    lowdose.write(small, Micrograph(np.arange(20.0).reshape(4, 5)))
    result = call("evaluate", "--truth", small, "--noisy", small, "--denoised", small)
    assert result.exit_code == 3
    assert result.stderr.startswith("lowdose: small.npy: method 'none' cannot be scored")


# ---- demo, models, train


def test_demo_writes_its_files(call, tiny_weights, tmp_path):
    folder = tmp_path / "demo"
    result = call("demo", folder, "--size", "64", "--model", tiny_weights())
    assert result.exit_code == 0
    expected = {f"{kind}_{part}.mrc" for kind in KINDS for part in ("noisy", "denoised", "truth")}
    expected |= {f"{kind}.png" for kind in KINDS} | {"demo.png"}
    assert {path.name for path in folder.iterdir()} == expected
    with Image.open(folder / "demo.png") as page:
        assert page.width > 3 * 64


def test_models_lists_networks(call):
    assert {"unet", "atrous"} <= set(call("models", "--networks").stdout.split())


SOURCES = [
    {"repo": "a/one", "commit": "1", "licence": "MIT", "modality": "SEM", "crops": 1200},
    {"repo": "a/one", "commit": "1", "licence": "MIT", "modality": "TEM", "crops": 30},
    {"repo": "b/two", "commit": "2", "licence": "CC-BY-4.0", "modality": "TEM", "crops": 4},
]
VALIDATION = {"step": 20000, "mse_50": 0.00123, "psnr_50": 29.1, "gain_db_50": 8.5, "worst_50": 0.3}
TRAINING = {
    "steps": 20000, "hours": 13.25, "device": "2 CPU cores", "config": {}, "validation": VALIDATION
}  # fmt: skip


@pytest.fixture
def models(call, tiny_weights, monkeypatch):
    """Prints what `lowdose models` says of weights with such a record, each fact on one line."""

    def run(**facts):
        path = tiny_weights()
        record = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps(record | facts))
        monkeypatch.setattr("lowdose.records.shipped", lambda: {"tiny": path})
        result = call("models")
        assert result.exit_code == 0
        return result.stdout.replace("\n    ", " ").splitlines()

    return run


def test_models_shows_what_the_record_says(models):
    quality = {"low dose": "none", "counts": {"tiny": {"psnr_db": 31.23456, "worst": 0.5}}}
    lines = models(
        summary="For tests.", quality=quality, limits=["Not for real work."],
        training=TRAINING, sources=SOURCES,
    )  # fmt: skip
    assert lines[:2] == ["tiny", "  For tests."]
    assert " parameters, " in lines[2]
    assert lines[3:] == [
        "  trained on 1,234 crops of 2 repositories (licences CC-BY-4.0, MIT), 20,000 steps, "
        "13.25 hours on 2 CPU cores",
        "  validation: 50 e: MSE 0.00123, PSNR 29.10 dB (+8.50 to the input)",
        "  low dose: none",
        "  counts: tiny (psnr_db 31.23, worst 0.5)",
        "  limit: Not for real work.",
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, []),
        ({"training": None, "quality": None, "sources": None, "limits": None}, []),
        ({"training": {"validation": {}}, "sources": [{}]}, []),
        ({"training": {"validation": None, "steps": 0, "hours": None}}, []),
        ({"training": {"step": 7, "config": {}}}, []),
        ({"training": {"steps": 300, "hours": 2}}, ["  trained: 300 steps, 2 hours"]),
        ({"sources": SOURCES[:1]}, ["  trained on 1,200 crops of 1 repository (licences MIT)"]),
    ],
)
def test_models_leaves_out_what_the_record_does_not_say(facts, expected, models):
    assert models(**facts)[2:] == expected


CONFIG = """
[network]
options = { widths = [4, 8], depths = [1, 1] }
[data]
train = ["clean"]
validation = ["clean"]
patch = 32
validation_patch = 32
batch = 2
[optimiser]
steps = 4
[run]
log_every = 2
validate_every = 4
"""


def test_training_goes_on_where_it_stopped(call, tmp_path):
    (tmp_path / "clean").mkdir()
    call("simulate", "lattice", "--size", "64", "-o", tmp_path / "x.mrc",
         "--truth", tmp_path / "clean" / "a.mrc")  # fmt: skip
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    words = ("train", config, "--folder", tmp_path / "run", "--device", "cpu")
    first = call(*words, "--until", "2")
    assert first.stdout.startswith("step 2/2  loss ")
    second = call(*words)
    assert second.stdout.startswith("step 4/4  loss ")
    assert "to the input" in second.stdout
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_training_refuses_a_missing_configuration(call, tmp_path):
    result = call("train", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lowdose: {tmp_path / 'none.toml'}: cannot be read")


def test_info_says_that_the_noise_of_neighbours_correlates(call, tmp_path):
    noise = np.random.default_rng(0).normal(0, 10, (400, 400))
    np.save(tmp_path / "a.npy", np.float32(500 + ndimage.gaussian_filter(noise, 0.8)))
    text = call("info", tmp_path / "a.npy").stdout
    assert "noise correlated 0.6" in text
    assert "electrons a pixel" not in text
