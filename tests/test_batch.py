"""Which files are meant, where results go, and what happens when a batch is repeated."""

import dataclasses
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import lowdose
from lowdose.batch import Batch, Engine, Input, NoiseChoice, Options, find_inputs, plan_jobs
from lowdose.batch import run as batch_run
from lowdose.errors import (
    ConfigError,
    InputError,
    NoiseModelError,
    OutputError,
    WeightsError,
)
from lowdose.micrograph import Axis, Micrograph
from lowdose.records import CHOICES

COUNTS = np.random.default_rng(0).poisson(30, (48, 40)).astype(np.uint16)
AXES = (Axis("y", 0.5, "nm"), Axis("x", 0.5, "nm"))


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    lowdose.write(path, Micrograph(COUNTS, AXES))
    return path


@pytest.fixture
def options(tiny_weights):
    return Options(str(tiny_weights()))


def run(names, output, options, **keywords):
    jobs = plan_jobs(find_inputs(map(str, names)), output and str(output))
    return list(Batch(jobs, options, Engine(device="cpu"), **keywords).run())


def targets(names, output):
    return [job.target() for job in plan_jobs(find_inputs(map(str, names)), output)]


# ---- inputs


def test_a_folder_is_searched_with_those_inside_it(tmp_path):
    inner, outer = put(tmp_path / "a" / "b" / "y.mrc"), put(tmp_path / "a" / "x.tif")
    (tmp_path / "a" / "notes.txt").write_text("no micrograph")
    put(tmp_path / "a" / "good.mrc").rename(tmp_path / "a" / "._hidden.mrc")
    put(tmp_path / "a" / ".trash" / "thrown-away.mrc")
    found = find_inputs([str(tmp_path / "a")])
    assert found == [Input(inner, tmp_path / "a"), Input(outer, tmp_path / "a")]


def test_a_pattern_that_no_shell_expanded_is_expanded(tmp_path):
    paths = [put(tmp_path / name) for name in ("a.mrc", "b.mrc", "c.tif")]
    assert [item.path for item in find_inputs([str(tmp_path / "*.mrc")])] == paths[:2]


def test_a_name_with_brackets_is_a_name_where_such_a_file_is(tmp_path):
    path = put(tmp_path / "a[1].mrc")
    assert [item.path for item in find_inputs([str(path)])] == [path]


def test_a_dash_stands_for_the_listed_lines(tmp_path):
    paths = [put(tmp_path / name) for name in ("a.mrc", "b.mrc")]
    found = find_inputs(["-"], listed=[f"{paths[0]}\n", "\n", f"{paths[1]}\n"])
    assert [item.path for item in found] == paths


@pytest.mark.parametrize(
    "lines", [["a.mrc\r\n", "\r\n", " b .mrc"], ["\ufeffa.mrc\n", " \n", " b .mrc\n"],
              ["a.mrc\0 b .mrc\0"]]
)  # fmt: skip
def test_listed_names_are_taken_exactly_whatever_ends_them(lines):
    assert [str(item.path) for item in find_inputs(["-"], listed=lines)] == ["a.mrc", " b .mrc"]


def test_a_file_named_twice_is_one_input(tmp_path):
    path = put(tmp_path / "a.mrc")
    assert len(find_inputs([str(path), str(tmp_path), str(tmp_path / "*.mrc")])) == 1


def test_an_empty_search_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file with a suffix"):
        find_inputs([str(tmp_path)])
    with pytest.raises(InputError, match="matches this pattern"):
        find_inputs([str(tmp_path / "*.mrc")])
    with pytest.raises(ConfigError, match="no input"):
        find_inputs(["-"], listed=[])


# ---- names of outputs


def test_without_an_output_results_lie_beside_their_inputs(tmp_path):
    path = put(tmp_path / "a.mrc")
    assert targets([path], None) == [tmp_path / "a_denoised.mrc"]


def test_one_input_goes_into_the_named_file_or_into_a_folder(tmp_path):
    path = put(tmp_path / "a.mrc")
    assert targets([path], "clean.tif") == [Path("clean.tif")]
    assert targets([path], "clean") == [Path("clean/a.mrc")]
    assert targets([path], "clean.d/") == [Path("clean.d/a.mrc")]
    assert targets([path], str(tmp_path)) == [tmp_path / "a.mrc"]


def test_several_inputs_do_not_fit_one_file(tmp_path):
    put(tmp_path / "a.mrc")
    put(tmp_path / "b.mrc")
    with pytest.raises(ConfigError, match="one file for 2 inputs"):
        targets([tmp_path], "clean.mrc")


def test_an_output_folder_keeps_the_folders_of_the_inputs(tmp_path):
    for name in ("day1/x.mrc", "day1/deep/x.mrc", "day2/x.mrc"):
        put(tmp_path / name)
    both = [tmp_path / "day1", tmp_path / "day2"]
    names = [Path("out/day1/deep/x.mrc"), Path("out/day1/x.mrc"), Path("out/day2/x.mrc")]
    assert targets(both, "out") == names
    assert targets(both[:1], "out") == [Path("out/deep/x.mrc"), Path("out/x.mrc")]


def test_equal_names_with_equal_results_keep_their_suffix(tmp_path):
    import gzip

    plain = put(tmp_path / "a.mrc")
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    tiff = put(tmp_path / "a.tif")
    names = [Path("out/a.mrc.mrc"), Path("out/a.mrc.gz.mrc"), Path("out/a.tif")]
    assert targets([plain, packed, tiff], "out") == names


# ---- doing it


def test_a_result_has_a_record_that_says_how_it_was_made(tmp_path, options):
    source, target = put(tmp_path / "a.mrc"), tmp_path / "clean.mrc"
    (outcome,) = run([source], target, options)
    record = json.loads((tmp_path / "clean.mrc.json").read_text())
    assert outcome.target == target
    assert record["lowdose"] == lowdose.__version__
    assert record["options"]["model"] == options.model
    assert len(record["model"]["sha256"]) == len(record["input"]["sha256"]) == 64
    assert record["input"]["path"] == str(source)
    assert record["input"]["format"] == "mrc"
    assert record["noise"]["gain"] == 1
    assert "counts" in record["noise"]["basis"]
    assert record["output"]["pixel_size_nm"] == pytest.approx([0.5, 0.5])
    assert record["engine"]["device"] == "cpu"
    assert record["seconds"] > 0
    assert record["output"]["bytes"] == target.stat().st_size


def test_a_record_keeps_what_the_format_of_the_result_cannot(tmp_path, options):
    axes = (Axis("t", 0.1, "s"), Axis("y", 0.2, "1/nm", -3.0), Axis("x", 0.2, "1/nm", -3.0))
    movie = Micrograph(np.stack([COUNTS, COUNTS]), axes, {"voltage_kv": 300.0, "detector": "K3"})
    lowdose.write(tmp_path / "a.tif", movie)
    run([tmp_path / "a.tif"], tmp_path / "b.npy", options)
    record = json.loads((tmp_path / "b.npy.json").read_text())
    assert record["input"]["metadata"] == movie.metadata
    assert [Axis(**axis) for axis in record["input"]["axes"]] == list(axes)


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_pixel_size_survives(suffix, tmp_path, options):
    run([put(tmp_path / f"a{suffix}")], tmp_path / f"b{suffix}", options)
    result = lowdose.read(tmp_path / f"b{suffix}")
    assert result.pixel_size_nm == pytest.approx((0.5, 0.5))
    assert result.pixels.dtype == np.float32


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text here")
def test_a_name_that_is_no_text_is_recorded(tmp_path, options):
    source = put(tmp_path / os.fsdecode(b"lat\xe9.mrc"))
    (outcome,) = run([source], tmp_path / "out", options)
    assert outcome.error is None
    record = json.loads(Path(f"{outcome.target}.json").read_text("utf-8"))
    assert record["input"]["path"] == str(source)
    assert run([source], tmp_path / "out", options)[0].is_skipped


@pytest.mark.parametrize("folder", ["x" * 300, "closed/x"])
def test_names_that_cannot_be_asked_for_end_in_a_sentence(folder, tmp_path, options):
    source, closed = put(tmp_path / "a.mrc"), tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        (bad,) = run([tmp_path / folder / "a.mrc"], None, options)
        (good,) = run([source], tmp_path / folder / "b.mrc", options)
    finally:
        closed.chmod(0o700)
    assert isinstance(bad.error, InputError)
    assert isinstance(good.error, OutputError)


def test_integers_are_rounded_on_request_and_for_png(tmp_path, options):
    png = tmp_path / "a.png"
    lowdose.write(png, Micrograph(COUNTS.astype(np.uint8)))
    run([png], None, options)
    assert lowdose.read(tmp_path / "a_denoised.png").pixels.dtype == np.uint8
    asked = Options(options.model, dtype="input")
    run([put(tmp_path / "b.mrc")], None, asked)
    assert lowdose.read(tmp_path / "b_denoised.mrc").pixels.dtype == np.uint16


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("session/*.mrc", ["out/x.mrc"]),
        ("*/*.mrc", ["out/other/x.mrc", "out/session/x.mrc"]),
        ("**/*.mrc", ["out/other/x.mrc", "out/session/deep/x.mrc", "out/session/x.mrc"]),
        ("*/deep/*.mrc", ["out/session/deep/x.mrc"]),
        ("session/*/x.mrc", ["out/deep/x.mrc"]),
    ],
)
def test_results_of_a_pattern_lie_as_the_inputs_below_what_it_leaves_open(
    pattern, places, tmp_path, monkeypatch
):
    for name in ("session/x.mrc", "session/deep/x.mrc", "other/x.mrc"):
        put(tmp_path / name)
    assert targets([tmp_path / pattern], "out") == list(map(Path, places))
    monkeypatch.chdir(tmp_path)
    assert targets([pattern], "out") == list(map(Path, places))


def test_a_batch_goes_on_after_a_failure(tmp_path, options):
    put(tmp_path / "in" / "b.mrc")
    (tmp_path / "in" / "a.mrc").write_bytes(b"no micrograph" * 100)
    bad, good = run([tmp_path / "in"], tmp_path / "out", options)
    assert isinstance(bad.error, InputError)
    assert good.target is not None
    assert good.target.exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b.mrc", "b.mrc.json"]


def test_a_repeated_batch_does_only_what_is_missing(tmp_path, options):
    for name in "ab":
        put(tmp_path / f"{name}.mrc")
    run([tmp_path], None, options)
    (tmp_path / "b_denoised.mrc").unlink()
    before = (tmp_path / "a_denoised.mrc").stat().st_mtime_ns
    first, second = run([tmp_path], None, options)
    assert first.is_skipped
    assert not second.is_skipped
    assert (tmp_path / "a_denoised.mrc").stat().st_mtime_ns == before
    assert not any(outcome.is_skipped for outcome in run([tmp_path], None, options, overwrite=True))


def test_an_input_that_is_gone_in_the_meantime_fails_alone(tmp_path, options, monkeypatch):
    names = [put(tmp_path / "in" / f"{number}.mrc") for number in range(3)]
    read = batch_run.read

    def read_once(path, **keywords):
        micrograph = read(path, **keywords)
        if path == names[1]:
            path.unlink()
        return micrograph

    monkeypatch.setattr(batch_run, "read", read_once)
    first, gone, last = run(names, tmp_path / "out", options)
    assert (first.error, last.error) == (None, None)
    assert isinstance(gone.error, InputError)
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.mrc")) == ["0", "2"]


def test_a_result_whose_input_is_gone_stays(tmp_path, options):
    source = put(tmp_path / "a.mrc")
    run([source], tmp_path / "clean.mrc", options)
    source.unlink()
    (outcome,) = run([source], tmp_path / "clean.mrc", options)
    assert isinstance(outcome.error, InputError)
    assert (tmp_path / "clean.mrc").exists()


def test_a_record_without_an_input_is_none_of_ours(tmp_path, options):
    source, target = put(tmp_path / "a.mrc"), put(tmp_path / "clean.mrc")
    (tmp_path / "clean.mrc.json").write_text('{"lowdose": "0.1.0", "output": {}}', "utf-8")
    (outcome,) = run([source], target, options)
    assert "no record of writing it" in str(outcome.error)


def test_a_result_of_another_input_of_the_same_name_is_not_taken_for_done(tmp_path, options):
    first, other = put(tmp_path / "day1" / "x.mrc"), tmp_path / "day2" / "x.mrc"
    other.parent.mkdir()
    run([first], tmp_path / "out", options)
    lowdose.write(other, Micrograph(COUNTS[::-1].copy(), AXES))
    os.utime(other, (1, 1))
    (outcome,) = run([other], tmp_path / "out", options)
    assert f"made from {first}" in str(outcome.error)
    other.write_bytes(first.read_bytes())  # moved or copied, it is the same
    os.utime(other, (1, 1))
    (outcome,) = run([other], tmp_path / "out", options)
    assert outcome.is_skipped


def test_a_result_of_other_weights_is_not_taken_for_done(tmp_path, tiny_weights):
    source, weights = put(tmp_path / "a.mrc"), tiny_weights()
    run([source], None, Options(str(weights)))
    record = json.loads(weights.with_suffix(".json").read_text("utf-8")) | {"sha256": "0" * 64}
    weights.with_suffix(".json").write_text(json.dumps(record), "utf-8")
    (outcome,) = run([source], None, Options(str(weights)))
    assert "other weights" in str(outcome.error)


def test_options_that_an_older_record_does_not_know_were_not_asked_for(tmp_path, options):
    source = put(tmp_path / "a.mrc")
    run([source], None, options)
    path = tmp_path / "a_denoised.mrc.json"
    record = json.loads(path.read_text("utf-8"))
    del record["options"]["ensemble"], record["options"]["noise"]["dose_per_a2"]
    path.write_text(json.dumps(record), "utf-8")
    assert run([source], None, options)[0].is_skipped
    (outcome,) = run([source], None, dataclasses.replace(options, ensemble=True))
    assert "other options" in str(outcome.error)


def test_a_changed_input_is_denoised_again(tmp_path, options):
    source = put(tmp_path / "a.mrc")
    run([source], None, options)
    os.utime(source, (1, 1))
    assert run([source], None, options)[0].is_skipped  # touched, but the same
    lowdose.write(source, Micrograph(COUNTS[::-1].copy(), AXES))
    os.utime(source, (1, 1))
    (outcome,) = run([source], None, options)
    assert not outcome.is_skipped
    assert outcome.error is None


def test_outcomes_keep_no_pixels(tmp_path, options):
    names = [put(tmp_path / "in" / f"{number}.mrc") for number in range(2)]
    for outcome in run(names, tmp_path / "out", dataclasses.replace(options, destripe=True)):
        assert not [v for v in vars(outcome).values() if isinstance(v, Micrograph | np.ndarray)]
        assert len(pickle.dumps(outcome)) < 5000


@pytest.mark.parametrize("part", [("input", "bytes"), ("output", "bytes"), ("model", "sha256")])
def test_a_record_that_lacks_what_is_asked_of_it_is_none_of_ours(part, tmp_path, options):
    source, path = put(tmp_path / "a.mrc"), tmp_path / "a_denoised.mrc.json"
    run([source], None, options)
    record = json.loads(path.read_text("utf-8"))
    del record[part[0]][part[1]]
    path.write_text(json.dumps(record), "utf-8")
    (outcome,) = run([source], None, options)
    assert "no record of writing it" in str(outcome.error)


def test_a_cut_output_is_made_again(tmp_path, options):
    source = put(tmp_path / "a.mrc")
    run([source], None, options)
    whole = (tmp_path / "a_denoised.mrc").read_bytes()
    (tmp_path / "a_denoised.mrc").write_bytes(whole[:2000])
    run([source], None, options)
    assert len((tmp_path / "a_denoised.mrc").read_bytes()) == len(whole)


def test_the_record_of_an_older_result_is_not_believed(tmp_path, options):
    source, record = put(tmp_path / "a.mrc"), tmp_path / "a_denoised.mrc.json"
    run([source], None, options)
    before = record.read_bytes()
    run([source], None, Options(options.model, NoiseChoice(gain=2.0)), overwrite=True)
    made = (tmp_path / "a_denoised.mrc").stat().st_mtime_ns
    record.write_bytes(before)  # as if killed before the new record took its name
    os.utime(record, ns=(made - 1, made - 1))
    (outcome,) = run([source], None, options)
    assert not outcome.is_skipped
    assert outcome.noise.gain == 1


@pytest.mark.parametrize(
    "other",
    [{"noise": NoiseChoice(gain=2.0)}, {"dtype": "input"}, {"ensemble": True}, {"destripe": True}],
)
def test_a_result_of_other_options_is_not_taken_for_done(other, tmp_path, options):
    source = put(tmp_path / "a.mrc")
    run([source], None, options)
    (outcome,) = run([source], None, Options(options.model, **other))
    assert isinstance(outcome.error, OutputError)
    assert "other options" in str(outcome.error)


def test_a_file_of_the_user_is_never_replaced_unasked(tmp_path, options):
    source, other = put(tmp_path / "a.mrc"), put(tmp_path / "mine.mrc")
    before = other.read_bytes()
    (outcome,) = run([source], other, options)
    assert "no record of writing it" in str(outcome.error)
    assert other.read_bytes() == before


@pytest.mark.parametrize("link", [False, True])
def test_an_input_is_never_replaced(link, tmp_path, options):
    source, target = put(tmp_path / "a.mrc"), tmp_path / "b.mrc"
    before = source.read_bytes()
    if link:
        target.symlink_to(source)
    (outcome,) = run([source], target if link else source, options, overwrite=True)
    assert "is an input" in str(outcome.error)
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["clean.xyz", "clean.mrc.gz", "no/such/folder/clean.mrc"])
def test_an_impossible_output_is_refused_before_the_work(name, tmp_path, options):
    (outcome,) = run([put(tmp_path / "a.mrc")], tmp_path / name, options)
    assert isinstance(outcome.error, OutputError)
    assert [p.name for p in tmp_path.glob("*.mrc*")] == ["a.mrc"]


def test_a_failed_write_leaves_no_record(tmp_path, options):
    source = tmp_path / "a.npy"
    lowdose.write(source, Micrograph(np.stack([COUNTS, COUNTS])))
    (outcome,) = run([source], tmp_path / "b.png", options)
    assert "PNG holds" in str(outcome.error)
    assert sorted(p.name for p in tmp_path.iterdir() if "tiny" not in p.name) == ["a.npy"]


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (COUNTS.astype("f4"), "these are float32"),
        (np.stack([COUNTS, COUNTS]).astype("u2"), "stack of 2"),
        (COUNTS.astype("i8"), "TIFF cannot hold int64"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_the_work(
    tmp_path, options, pixels, said, monkeypatch
):
    source = tmp_path / "a.npy"
    lowdose.write(source, Micrograph(pixels))
    monkeypatch.setattr(Batch, "loaded", None)
    target = tmp_path / ("b.tif" if "TIFF" in said else "b.png")
    (outcome,) = run([source], target, dataclasses.replace(options, dtype="input"))
    assert said in str(outcome.error)
    assert not target.exists()


def test_progress_reaches_the_number_of_pixels(tmp_path, options):
    calls = []
    jobs = plan_jobs(find_inputs([str(put(tmp_path / "a.mrc"))]), None)
    list(Batch(jobs, options).run(lambda path, done, total: calls.append((path.name, done, total))))
    assert calls[-1] == ("a.mrc", COUNTS.size, COUNTS.size)


# ---- noise


def test_noise_is_what_the_user_says():
    assert NoiseChoice().model_for(Micrograph(COUNTS)) is None
    assert NoiseChoice(gain=2.5).model_for(Micrograph(COUNTS)).offset == 0
    dosed = NoiseChoice(dose=10.0, offset=5.0).model_for(Micrograph(COUNTS))
    assert dosed.gain == pytest.approx((COUNTS.mean() - 5) / 10)
    assert "times less" in dosed.remark
    ramp = np.random.default_rng(0).poisson(np.linspace(10, 200, 256), (256, 256))
    fitted = NoiseChoice(gain="fit").model_for(Micrograph(2.0 * ramp))
    assert fitted.gain == pytest.approx(2, rel=0.2)


def test_a_dose_per_area_goes_by_the_pixel_size():
    axes = Axis("y", 0.5, "Å"), Axis("x", 0.8, "Å")
    choice = NoiseChoice(dose_per_a2=25.0, offset=5.0)
    gain = choice.model_for(Micrograph(COUNTS, axes)).gain
    assert gain == pytest.approx((COUNTS.mean() - 5) / 10)
    with pytest.raises(NoiseModelError, match="pixel size"):
        choice.model_for(Micrograph(COUNTS))


@pytest.mark.parametrize("said", [{"gain": 4.0}, {"dose": 60.0}])
def test_of_a_known_gain_blur_leaves_a_part_to_single_pixels(said):
    electrons = np.random.default_rng(0).poisson(np.linspace(20, 100, 256), (300, 256))
    white = 4.0 * electrons + 7
    choice = NoiseChoice(**said, offset=7.0)
    gain = choice.model_for(Micrograph(white)).gain
    assert gain == pytest.approx(4, rel=1e-2)
    blurred = (white[:, 1:] + white[:, :-1]) / 2
    model = choice.model_for(Micrograph(blurred))
    assert model.gain == pytest.approx(gain / 2, rel=0.15)  # the variance of a mean of two
    assert model.correlation == pytest.approx((0, 0.5), abs=0.1)
    assert f"as {gain:.4g}; blur leaves" in model.basis
    read_out = white + 10 * np.random.default_rng(1).normal(size=white.shape)
    noisier = NoiseChoice(**said, offset=7.0, readout=10.0)
    model = noisier.model_for(Micrograph((read_out[:, 1:] + read_out[:, :-1]) / 2))
    assert model.readout_std == pytest.approx(10 / 2**0.5, rel=0.1)


@pytest.mark.parametrize(
    "said",
    [
        {"gain": 1.0, "dose": 10.0},
        {"dose": 1.0, "dose_per_a2": 10.0},
        {"offset": 3.0},
        {"readout": 3.0},
        {"gain": "fit", "offset": 3.0},
        {"gain": 0.0, "readout": 3.0},
    ],
)
def test_noise_settings_that_contradict_each_other_are_refused(said):
    with pytest.raises(ConfigError):
        NoiseChoice(**said)


def test_impossible_settings_are_refused_before_any_file_is_read(tiny_weights):
    with pytest.raises(NoiseModelError):
        NoiseChoice(gain=-1.0)
    with pytest.raises(ConfigError, match="dtype"):
        Options(str(tiny_weights()), dtype="complex64")
    with pytest.raises(WeightsError, match="no weights"):
        Options("no such model")


@pytest.mark.parametrize("scale", [{"dose": 10.0}, {"gain": 1.0}, {"gain": 1.0, "readout": 5.0}])
def test_noise_that_contradicts_an_image_fails_for_that_image(scale, tmp_path, options):
    said = Options(options.model, NoiseChoice(**scale, offset=COUNTS.mean() + 10))
    (outcome,) = run([put(tmp_path / "a.mrc")], None, said)
    assert isinstance(outcome.error, NoiseModelError)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_file_too_large_for_memory_fails_alone(error, tmp_path, options, monkeypatch):
    def give_up(*_, **__):
        raise error

    monkeypatch.setattr("lowdose.infer.Denoiser.__call__", give_up)
    (outcome,) = run([put(tmp_path / "a.mrc")], None, options)
    assert isinstance(outcome.error, InputError)
    assert "--tile" in str(outcome.error)


# ---- uncertainty and choice


@pytest.fixture
def doubting(tiny_weights):
    return Options(str(tiny_weights(spread=3)), uncertainty=True)


def test_deviations_lie_beside_the_result_in_its_format_and_calibration(tmp_path, doubting):
    source = put(tmp_path / "in" / "a.mrc")
    (outcome,) = run([source], tmp_path / "out", doubting)
    assert outcome.error is None
    result, deviation = (lowdose.read(tmp_path / "out" / f"a{end}.mrc") for end in ("", "_std"))
    assert deviation.pixels.shape == result.pixels.shape
    assert deviation.pixels.dtype == np.float32
    assert (deviation.pixels > 0).all()
    assert deviation.pixel_size_nm == pytest.approx(result.pixel_size_nm)
    record = json.loads((tmp_path / "out" / "a.mrc.json").read_text())
    assert record["uncertainty"]["factor"] > 0


def test_deviations_of_a_png_are_floats_in_a_tiff(tmp_path, doubting):
    source = put(tmp_path / "in" / "a.png")
    run([source], tmp_path / "out", doubting)
    assert lowdose.read(tmp_path / "out" / "a_std.tif").pixels.dtype == np.float32


def test_deviations_that_are_missing_are_made_and_never_denoised_themselves(tmp_path, doubting):
    source = put(tmp_path / "in" / "a.mrc")
    run([source], tmp_path / "in" / "out", doubting)
    (again,) = run([source], tmp_path / "in" / "out", doubting)
    assert again.is_skipped
    (tmp_path / "in" / "out" / "a_std.mrc").unlink()
    (missing,) = run([source], tmp_path / "in" / "out", doubting)
    assert missing.error is None
    assert not missing.is_skipped
    assert [each.path.name for each in find_inputs([str(tmp_path / "in")])] == ["a.mrc"]


def test_a_repeated_batch_refuses_the_same_outputs_again(tmp_path, doubting):
    names = [put(tmp_path / "in" / name) for name in ("a.mrc", "a_std.mrc")]
    for _ in "12":
        of_a, of_deviation = run(names, tmp_path / "out", doubting)
        assert of_a.error is None
        assert "output of another input" in str(of_deviation.error)


def test_weights_without_uncertainty_end_a_batch_that_asks_for_it(tmp_path, options):
    source = put(tmp_path / "in" / "a.mrc")
    with pytest.raises(ConfigError, match="do not tell"):
        run([source], tmp_path / "out", dataclasses.replace(options, uncertainty=True))


def test_auto_takes_the_better_network_and_says_why(tmp_path):
    y, x = np.mgrid[:128, :128]
    clean = 20 * (1.5 + np.sin(y / 9) * np.cos(x / 7))
    counts = np.random.default_rng(0).poisson(clean).astype(np.uint16)
    lowdose.write(tmp_path / "a.mrc", Micrograph(counts, AXES))
    (outcome,) = run([tmp_path / "a.mrc"], tmp_path / "out", Options("auto"))
    record = json.loads((tmp_path / "out" / "a.mrc.json").read_text())
    scores = [each["name"] for each in record["scores"]]
    assert sorted(scores) == ["best", "everyday", "fast", "input"]
    assert outcome.model == record["model"]["name"] == scores[0]


def test_auto_leaves_alone_what_no_network_makes_better(tmp_path, monkeypatch):
    import lowdose.trust.auto

    def spoil(*_):
        return {name: lambda electrons, noise: 2 * electrons for name in CHOICES}

    monkeypatch.setattr(lowdose.trust.auto, "networks", spoil)
    counts = np.random.default_rng(0).poisson(50, (128, 128)).astype(np.float32)
    lowdose.write(tmp_path / "a.mrc", Micrograph(counts, AXES))
    (outcome,) = run([tmp_path / "a.mrc"], tmp_path / "out", Options("auto"))
    result = lowdose.read(tmp_path / "out" / "a.mrc").pixels
    record = json.loads((tmp_path / "out" / "a.mrc.json").read_text())
    assert record["scores"][0]["name"] == "input"
    assert outcome.noise.is_noise_free
    np.testing.assert_array_equal(result, counts)


def test_outcomes_come_in_order_though_one_is_written_while_the_next_is_made(tmp_path, options):
    names = [put(tmp_path / "in" / f"{number}.mrc") for number in range(4)]
    names.insert(2, tmp_path / "in" / "bad.mrc")
    names[2].write_bytes(b"nothing")
    outcomes = run(names, tmp_path / "out", options)
    assert [outcome.source for outcome in outcomes] == names
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, True, True]
    assert all(outcome.target.exists() for outcome in outcomes if outcome.target)


def test_what_was_made_is_written_before_a_run_that_cannot_go_on_ends(
    tmp_path, options, monkeypatch
):
    names = [put(tmp_path / "in" / f"{number}.mrc") for number in range(2)]
    loaded, calls = Batch.loaded, []

    def fail_later(self, name):
        calls.append(name)
        if len(calls) > 1:
            raise WeightsError("gone")
        return loaded(self, name)

    monkeypatch.setattr(Batch, "loaded", fail_later)
    jobs = plan_jobs(find_inputs(map(str, names)), str(tmp_path / "out"))
    batch = Batch(jobs, options, Engine(device="cpu")).run()
    assert next(batch).target.exists()
    with pytest.raises(WeightsError):
        next(batch)
