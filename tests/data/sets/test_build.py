import csv
import dataclasses
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest

from lowdose.data.sets import build as module
from lowdose.data.sets import cut
from lowdose.data.sets.build import build_dataset
from lowdose.data.sets.choices import Choices
from lowdose.data.shards import load_description
from lowdose.errors import ConfigError, InputError, MalformedFileError, OutputError
from tests.data.fields import field, write_fields

NAMES = [f"s{group}__{number}.npy" for group in range(5) for number in range(2)]
SMALL = Choices(crop=32, shard_crops=20, fractions=(0.6, 0.2, 0.2))


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def manifest(folder):
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def crops(folder):
    """Every crop of a data set: its split, its JSON and its pixels."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                content = io.BytesIO(tar.extractfile(member).read())
                if member.name.endswith(".npy"):
                    pixels = np.load(content)
                else:
                    yield path.name.partition("-")[0], json.load(content), pixels


@pytest.fixture
def raw(tmp_path):
    write_fields(tmp_path / "raw", NAMES)
    return tmp_path / "raw"


def test_every_crop_is_its_part_of_its_source_and_comes_once(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    seen = set()
    for _, facts, pixels in crops(tmp_path / "set"):
        source = np.load(raw / facts["source"])
        top, left = facts["top"], facts["left"]
        assert pixels.dtype == source.dtype
        assert np.array_equal(pixels, source[top : top + 32, left : left + 32])
        assert (facts["low"], facts["high"]) == (pixels.min(), pixels.max())
        seen.add((facts["source"], top, left))
    assert len(seen) == 10 * 9


def test_no_specimen_is_in_two_splits(raw, tmp_path):
    built = build_dataset([raw], tmp_path / "set", SMALL)
    groups = {}
    for split, facts, _ in crops(tmp_path / "set"):
        groups.setdefault(facts["group"], set()).add(split)
    assert sorted(groups) == [f"s{n}" for n in range(5)]
    assert all(len(splits) == 1 for splits in groups.values())
    assert [part["crops"] for part in built.facts["splits"].values()] == [54, 18, 18]


def test_neighbours_in_a_shard_come_from_different_micrographs(tmp_path):
    write_fields(tmp_path / "raw", NAMES)
    build_dataset([tmp_path / "raw"], tmp_path / "set", Choices(crop=16, fractions=(1, 0, 0)))
    sources = [facts["source"] for _, facts, _ in crops(tmp_path / "set")]
    assert len(sources) == 360
    changes = sum(one != other for one, other in itertools.pairwise(sources))
    assert changes > 0.8 * len(sources)


def test_each_file_is_opened_once_or_where_it_reaches_into_the_next_shard_twice(
    raw, tmp_path, monkeypatch
):
    opened = []
    monkeypatch.setattr(cut, "read", lambda path, **kw: opened.append(path) or reader(path, **kw))
    reader = module.survey_file.__globals__["read"]
    build_dataset([raw], tmp_path / "set", SMALL)
    assert len(set(opened)) == 10
    assert len(opened) <= 10 + len(shards(tmp_path / "set"))


def test_memory_does_not_grow_with_the_data(tmp_path, monkeypatch):
    write_fields(tmp_path / "few", [f"s{n}__0.npy" for n in range(4)], side=512)
    write_fields(tmp_path / "many", [f"s{n}__0.npy" for n in range(24)], side=512)
    monkeypatch.setattr(cut, "_HELD_BYTES", 1 << 20)
    peaks = []
    for name in ("few", "many"):
        tracemalloc.start()
        build_dataset([tmp_path / name], tmp_path / f"{name}_set", Choices(crop=128))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = 20 * 512 * 512 * 2
    assert peaks[1] < peaks[0] + more / 20


def test_the_same_files_give_the_same_bytes_wherever_they_lie(raw, tmp_path):
    build_dataset([raw], tmp_path / "one", SMALL)
    shutil.copytree(raw, tmp_path / "elsewhere" / "copies")
    build_dataset([tmp_path / "elsewhere" / "copies"], tmp_path / "two", SMALL)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert load_description(tmp_path / "one").splits == load_description(tmp_path / "two").splits


def test_shards_tell_nothing_of_time_and_user(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    for path in (tmp_path / "set").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
                assert member.uname == member.gname == ""


KILLED = """
import os, signal, sys
from pathlib import Path
from lowdose.data.sets import {module} as module
from lowdose.data.sets.build import build_dataset
from lowdose.data.sets.choices import Choices

calls, real = 0, module.{function}
def counted(*args, **options):
    global calls
    calls += 1
    if calls == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
module.{function} = counted
build_dataset([Path(sys.argv[1])], Path(sys.argv[2]),
              Choices(crop=32, shard_crops=20, fractions=(0.6, 0.2, 0.2)))
"""


@pytest.mark.parametrize(
    ("place", "calls", "finished"),
    [
        ("build.survey_file", 7, 0),
        ("cut._add", 10, 0),
        ("cut._add", 50, 2),
        ("build._write_manifest", 1, 5),
    ],
)
def test_a_build_killed_anywhere_goes_on_to_the_same_bytes(place, calls, finished, raw, tmp_path):
    part, _, function = place.partition(".")
    code = KILLED.format(module=part, function=function, calls=calls)
    out, undisturbed = tmp_path / "set", tmp_path / "undisturbed"
    died = subprocess.run([sys.executable, "-c", code, raw, out], check=False)
    assert died.returncode == -signal.SIGKILL
    before = shards(out)
    assert len(before) == finished
    assert not (out / "dataset.json").exists()

    told = []
    built = build_dataset([raw], out, SMALL, progress=lambda label, *_: told.append(label))
    surveyed = [label for label in told if label.startswith("survey")]
    assert len(surveyed) == (4 if function == "survey_file" else 0)
    assert built.fresh == 5 - finished

    build_dataset([raw], undisturbed, SMALL)
    assert shards(out) == shards(undisturbed)
    for name in ("manifest.csv", "dataset.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not list(out.glob(".*"))


def test_a_finished_build_is_not_done_again(raw, tmp_path):
    first = build_dataset([raw], tmp_path / "set", SMALL)
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()}
    again = build_dataset([raw], tmp_path / "set", SMALL)
    assert (first.fresh, again.fresh) == (5, 0)
    assert again.facts == json.loads(json.dumps(first.facts))
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()} == times


def test_a_file_that_changed_after_a_kill_is_surveyed_and_cut_anew(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    (tmp_path / "set" / "dataset.json").unlink()  # as if killed just before
    np.save(raw / NAMES[0], field(99))
    build_dataset([raw], tmp_path / "set", SMALL)
    build_dataset([raw], tmp_path / "fresh", SMALL)
    assert shards(tmp_path / "set") == shards(tmp_path / "fresh")


def test_a_shard_that_is_gone_or_cut_short_is_written_again(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    whole = shards(tmp_path / "set")
    (tmp_path / "set" / "dataset.json").unlink()
    (tmp_path / "set" / "val-000000.tar").unlink()
    os.truncate(tmp_path / "set" / "train-000001.tar", 700)
    assert build_dataset([raw], tmp_path / "set", SMALL).fresh == 2
    assert shards(tmp_path / "set") == whole


def test_other_choices_are_refused_in_the_same_folder(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    with pytest.raises(
        ConfigError, match=r"other choices \(crop was 32, is 48; seed was 0, is 1\)"
    ):
        build_dataset([raw], tmp_path / "set", dataclasses.replace(SMALL, crop=48, seed=1))


def test_a_finished_set_whose_sources_changed_is_refused(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    np.save(raw / "new__1.npy", field(99))
    with pytest.raises(ConfigError, match="is a finished data set, and its sources"):
        build_dataset([raw], tmp_path / "set", SMALL)


def test_a_folder_with_other_files_is_refused(raw, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds thesis.tex, which is of no data set"):
        build_dataset([raw], tmp_path / "set", SMALL)
    with pytest.raises(OutputError, match="cannot be used as a folder"):
        build_dataset([raw], tmp_path / "set" / "thesis.tex", SMALL)


def test_a_source_that_changes_while_it_is_cut_is_refused(raw, tmp_path, monkeypatch):
    def decide(*args):
        for name in NAMES:
            os.utime(raw / name, ns=(1, 1))
        return decided(*args)

    decided = module.decide
    monkeypatch.setattr(module, "decide", decide)
    with pytest.raises(InputError, match=r"npy: has changed since it was surveyed"):
        build_dataset([raw], tmp_path / "set", SMALL)


def test_a_full_disk_is_said_and_leaves_no_shard(raw, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cut, "_add", full)
    with pytest.raises(OutputError, match=r"train-000000.tar: cannot be written \(No space left"):
        build_dataset([raw], tmp_path / "set", SMALL)
    assert not list((tmp_path / "set").glob("*.tar"))
    assert not list((tmp_path / "set").glob(".*.part"))


def test_a_build_that_rejects_everything_says_why_and_leaves_the_manifest(raw, tmp_path):
    np.save(raw / "b.npy", np.ones((96, 96), np.uint16))
    choices = dataclasses.replace(SMALL, least_counts=9000)
    words = (
        r"of 11: dim \(10\), constant \(1\). The first, b.npy: constant: every pixel is 1. "
        r".*manifest.csv has the reason of each"
    )
    with pytest.raises(ConfigError, match=words):
        build_dataset([raw], tmp_path / "set", choices)
    reasons = [row["reason"] for row in manifest(tmp_path / "set")]
    assert len(reasons) == 11
    assert reasons[1].endswith(" counts per pixel on average, limit 9000 (--least-counts)")
    assert not (tmp_path / "set" / "dataset.json").exists()


def test_a_finished_data_set_keeps_its_manifest_if_its_sources_become_useless(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", SMALL)
    before = (tmp_path / "set" / "manifest.csv").read_bytes()
    for name in NAMES:
        (raw / name).write_bytes(b"")
    with pytest.raises(ConfigError, match="is a finished data set, and its sources"):
        build_dataset([raw], tmp_path / "set", SMALL)
    assert (tmp_path / "set" / "manifest.csv").read_bytes() == before


def test_one_odd_file_and_frames_shrunk_to_nothing_do_not_end_a_build(raw, tmp_path):
    hollow = field(20).astype(np.float32)
    hollow[:8] = -np.finfo(np.float32).max
    np.save(raw / "hollow.npy", hollow)
    np.save(raw / "tiny.npy", np.arange(9.0).reshape(1, 9))
    build_dataset([raw], tmp_path / "set", dataclasses.replace(SMALL, shrink=2))
    found = {row["file"]: row["reason"] for row in manifest(tmp_path / "set")}
    assert found["hollow.npy"].startswith("unreadable: sums of 2 x 2 pixels pass")
    assert found["tiny.npy"].startswith("too small: 0 x 4 px after --shrink 2")
    assert found["s0__0.npy"] == ""


def test_a_finished_data_set_without_its_journals_is_known(raw, tmp_path):
    first = build_dataset([raw], tmp_path / "set", SMALL)
    for _ in range(2):  # also after one of other choices was refused
        for name in ("survey.jsonl", "shards.jsonl"):
            (tmp_path / "set" / name).unlink(missing_ok=True)
        again = build_dataset([raw], tmp_path / "set", SMALL)
        assert (again.fresh, again.facts) == (0, first.facts)
        (tmp_path / "set" / "survey.jsonl").unlink()
        with pytest.raises(ConfigError, match=r"other choices .*seed was 0, is 1"):
            build_dataset([raw], tmp_path / "set", dataclasses.replace(SMALL, seed=1))


def test_a_description_of_something_else_is_left_alone(raw, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text("[]")
    with pytest.raises(MalformedFileError, match=r"dataset.json: is not what"):
        build_dataset([raw], tmp_path / "set", SMALL)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["dataset.json"]


def test_a_folder_given_twice_gives_each_file_once(raw, tmp_path):
    build_dataset([raw, raw, raw / NAMES[0]], tmp_path / "set", SMALL)
    assert [row["file"] for row in manifest(tmp_path / "set")] == NAMES


def test_each_rejection_is_in_the_manifest_with_its_reason(raw, tmp_path):
    np.save(raw / "bad1.npy", np.full((96, 96), 7, np.uint16))
    np.save(raw / "bad2.npy", field(50)[:20])
    np.save(raw / "bad3.npy", field(51, counts=300))
    np.save(raw / "bad4.npy", np.random.default_rng(0).normal(size=(96, 96)))
    np.save(raw / "bad5.npy", field(53).clip(3500, 4500))
    np.save(raw / "bad6.npy", field(0).astype(np.float64) * 3)  # of s0__0.npy
    np.save(raw / "bad7.npy", np.where(np.eye(96) > 0, np.nan, field(54)))
    (raw / "bad8.npy").write_bytes(b"")
    build_dataset([raw], tmp_path / "set", SMALL)
    found = {row["file"]: row for row in manifest(tmp_path / "set")}
    starts = {
        "bad1.npy": "constant: every pixel is 7",
        "bad2.npy": "too small: 20 x 96 px",
        "bad3.npy": "dim: 299.84 counts",
        "bad4.npy": "noisy: deviation 0.",
        "bad5.npy": "saturated: ",
        "bad7.npy": "unreadable: 96 of 9216 pixels are NaN",
        "bad8.npy": "unreadable: is empty",
    }
    for name, start in starts.items():
        assert found[name]["verdict"] == "rejected"
        assert found[name]["reason"].startswith(start)
        assert found[name]["split"] == ""
    # Sorted by path, the copy comes first and is the one that is kept.
    assert found["bad6.npy"]["verdict"] == "kept"
    assert found["s0__0.npy"]["reason"] == "near-duplicate of bad6.npy"
    assert found["s1__0.npy"]["verdict"] == "kept"
    assert found["s1__0.npy"]["crops"] == "9"
    assert float(found["s1__0.npy"]["counts"]) == pytest.approx(4000, rel=0.01)


def test_each_frame_of_a_stack_has_a_row_and_its_crops(tmp_path):
    (tmp_path / "raw").mkdir()
    stack = np.stack([field(0), field(1), field(0), np.zeros((96, 96), np.uint16)])
    np.save(tmp_path / "raw" / "s__1.npy", stack)
    build_dataset([tmp_path / "raw"], tmp_path / "set", SMALL)
    rows = manifest(tmp_path / "set")
    assert [(row["frame"], row["verdict"]) for row in rows] == [
        ("0", "kept"), ("1", "kept"), ("2", "rejected"), ("3", "rejected"),
    ]  # fmt: skip
    assert rows[2]["reason"] == "near-duplicate of s__1.npy[0]"
    for _, facts, pixels in crops(tmp_path / "set"):
        top, left = facts["top"], facts["left"]
        assert np.array_equal(pixels, stack[facts["frame"], top : top + 32, left : left + 32])


def test_a_column_major_source_is_stored_row_by_row(tmp_path):
    write_fields(tmp_path / "raw", ["a__1.npy"])
    np.save(tmp_path / "raw" / "b__1.npy", np.asfortranarray(field(7)))
    build_dataset([tmp_path / "raw"], tmp_path / "set", SMALL)
    for _, facts, pixels in crops(tmp_path / "set"):
        top, left = facts["top"], facts["left"]
        source = np.load(tmp_path / "raw" / facts["source"])
        assert np.array_equal(pixels, source[top : top + 32, left : left + 32])


def test_shrinking_adds_up_counts_before_crops_are_cut(tmp_path):
    write_fields(tmp_path / "raw", ["a__1.npy", "b__1.npy"], side=140)
    build_dataset([tmp_path / "raw"], tmp_path / "set", Choices(crop=32, shrink=2))
    found = list(crops(tmp_path / "set"))
    assert len(found) == 8
    for _, facts, pixels in found:
        source = np.load(tmp_path / "raw" / facts["source"]).astype(int)
        sums = source.reshape(70, 2, 70, 2).sum(axis=(1, 3))
        top, left = facts["top"], facts["left"]
        assert np.array_equal(pixels, sums[top : top + 32, left : left + 32])


def test_a_table_gives_the_specimens(raw, tmp_path):
    (tmp_path / "t.csv").write_text(
        "file,sample\n" + "".join(f"{name},m{n % 5}\n" for n, name in enumerate(NAMES))
    )
    choices = Choices(crop=32, table=str(tmp_path / "t.csv"), column="sample")
    build_dataset([raw], tmp_path / "set", choices)
    assert [row["group"] for row in manifest(tmp_path / "set")] == [f"m{n % 5}" for n in range(10)]


def test_several_folders_are_named_below_the_one_they_share(tmp_path):
    write_fields(tmp_path / "raw", ["day1/x.npy", "day2/y.npy", "day3/z.npy"])
    inputs = [tmp_path / "raw" / "day1", tmp_path / "raw" / "day2" / "y.npy"]
    build_dataset(inputs, tmp_path / "set", Choices(crop=32, split_by="folder"))
    rows = manifest(tmp_path / "set")
    assert [(row["file"], row["group"]) for row in rows] == [
        ("day1/x.npy", "day1"), ("day2/y.npy", "day2"),
    ]  # fmt: skip


def test_a_name_that_is_no_text_is_kept_byte_by_byte(tmp_path):
    name = os.fsdecode(b"caf\xe9__1.npy")
    write_fields(tmp_path / "raw", ["a__1.npy", name])
    build_dataset([tmp_path / "raw"], tmp_path / "set", SMALL)
    with open(tmp_path / "set" / "manifest.csv", errors="surrogateescape", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["a__1.npy", name]
    assert {facts["source"] for _, facts, _ in crops(tmp_path / "set")} == {"a__1.npy", name}


def test_progress_is_told_from_start_to_end(raw, tmp_path):
    told = []
    build_dataset([raw], tmp_path / "set", SMALL, progress=lambda *each: told.append(each))
    assert told[0] == ("survey 1/10 s0__0.npy", 0, 10)
    assert told[-1][1:] == (90, 90)
    assert all(done <= total for _, done, total in told)


def test_sources_are_never_written_to(raw, tmp_path):
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    for path in raw.iterdir():
        path.chmod(0o444)
    build_dataset([raw], tmp_path / "set", SMALL)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before
