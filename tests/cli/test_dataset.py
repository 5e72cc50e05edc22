import csv
import json

import numpy as np
import pytest

from tests.data.fields import field, write_fields


@pytest.fixture
def raw(tmp_path):
    write_fields(tmp_path / "raw", [f"s{n}__{m}.npy" for n in range(4) for m in range(2)])
    return tmp_path / "raw"


def test_build_prints_what_it_made_and_why_files_are_left_out(call, raw, tmp_path):
    np.save(raw / "flat.npy", np.ones((96, 96), np.uint16))
    np.save(raw / "dark.npy", field(9, counts=50))
    np.save(raw / "zopy__1.npy", field(0) * 2)
    result = call("dataset", "build", raw, "-o", tmp_path / "set", "--crop", "32")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["split", "groups", "crops", "shards", "size"]
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["train", "2", "36", "1"], ["val", "1", "18", "1"], ["test", "1", "18", "1"],
    ]  # fmt: skip
    assert lines[4] == "8 frames kept, 3 rejected: 1 dim, 1 constant, 1 near-duplicate"


def test_build_and_check_agree_that_all_is_well(call, raw, tmp_path):
    call("dataset", "build", raw, "-o", tmp_path / "set", "--crop", "32", "-q")
    result = call("dataset", "check", tmp_path / "set")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "all is well"
    quick = call("dataset", "check", tmp_path / "set", "--quick")
    assert (quick.exit_code, quick.stderr) == (0, "")


def test_check_leaves_with_4_and_a_sentence_each(call, raw, tmp_path):
    call("dataset", "build", raw, "-o", tmp_path / "set", "--crop", "32", "-q")
    (tmp_path / "set" / "val-000000.tar").unlink()
    result = call("dataset", "check", tmp_path / "set")
    assert result.exit_code == 4
    assert result.stderr.startswith("lowdose: ")
    assert "val-000000.tar: cannot be opened" in result.stderr
    assert result.stdout.splitlines()[-1] == "1 problem"


def test_check_of_no_data_set_leaves_with_2(call, tmp_path):
    result = call("dataset", "check", tmp_path)
    assert result.exit_code == 2
    assert "Name the folder of a finished data set" in result.stderr


def test_every_option_arrives(call, raw, tmp_path):
    (tmp_path / "t.csv").write_text(
        "file,sample,part\n" + "".join(f"s{n}__{m}.npy,m{n},val\n" for n in range(4) for m in "01")
    )
    words = [
        "--crop",
        "16",
        "--shrink",
        "2",
        "--split-by",
        "file",
        "--column",
        "sample",
        "--split-column",
        "part",
        "--fractions",
        "0.5",
        "0.25",
        "0.25",
        "--least-counts",
        "10",
        "--most-noise",
        "0.3",
        "--most-saturated",
        "0.2",
        "--gain",
        "2",
        "--offset",
        "3",
        "--shard-crops",
        "7",
        "--seed",
        "5",
    ]
    result = call(
        "dataset", "build", raw, "-o", tmp_path / "set", "--groups", tmp_path / "t.csv", *words
    )
    assert result.exit_code == 0
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["choices"] == {
        "crop": 16, "shrink": 2, "split_by": "file", "table": str(tmp_path / "t.csv"),
        "column": "sample", "split_column": "part", "keep_splits": False,
        "fractions": [0.5, 0.25, 0.25], "least_counts": 10.0, "most_noise": 0.3,
        "most_saturated": 0.2, "gain": 2.0, "offset": 3.0, "shard_crops": 7, "seed": 5,
    }  # fmt: skip
    with open(tmp_path / "set" / "manifest.csv", newline="") as file:
        assert {(row["group"], row["split"]) for row in csv.DictReader(file)} == {
            (f"m{n}", "val") for n in range(4)
        }
    assert result.stderr == "note: nothing is in train and test.\n"


def test_a_single_specimen_is_noted(call, tmp_path):
    write_fields(tmp_path / "raw", ["a.npy", "b.npy"])
    result = call("dataset", "build", tmp_path / "raw", "-o", tmp_path / "set", "--crop", "32")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: nothing is in val and test: there is only 1 group.")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fractions", "1", "1", "1"], "expected shares that add up to 1"),
        (["--column", "x"], "--groups goes with --column"),
        (["--least-counts", "1e9"], "no frame is left to cut crops from"),
        (["--split-by", "moon"], "moon"),
    ],
)
def test_what_makes_no_sense_is_said(words, sentence, call, raw, tmp_path):
    result = call("dataset", "build", raw, "-o", tmp_path / "set", "--crop", "32", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_neither_command_loads_torch(spawn, raw, tmp_path):
    code = (
        "import sys; from lowdose.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    for words in (
        ("build", raw, "-o", tmp_path / "set", "--crop", 32),
        ("check", tmp_path / "set"),
    ):
        process = spawn("dataset", *words, code=code)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("command", ["build", "check"])
def test_help_has_an_example(command, call):
    text = call("dataset", command, "--help").stdout
    assert f"  lowdose dataset {command} " in text
    assert "Parameters" not in text
