import dataclasses
from collections import Counter

import numpy as np
import pytest

from lowdose.data.sets.choices import Choices
from lowdose.data.sets.decide import Label, assign_splits, decide, flaw, group_of
from lowdose.data.sets.survey import Frame, Surveyed
from lowdose.errors import ConfigError

GOOD = Frame(1024, 1024, "uint16", 10, 9000, 4000, 0.001, 0.01, 4000, (0.001,) * 4, b"")


def file(name, *frames, **options):
    return Surveyed(name, 1, 1, "0" * 64, frames or (GOOD,), len(frames) > 1, **options)


def reasons(*files, labels=None, **options):
    return [each.reason for each in decide(files, Choices(**options), labels).verdicts]


FLAWS = {
    "too small: 300 x 200 px, crops have 512 x 512 (--crop)": {
        "height": 300,
        "width": 200,
        "crops": (),
    },
    "constant: every pixel is 7": {"low": 7, "high": 7, "crops": (1.0,)},
    "saturated: 12.30% of the pixels are extreme, limit 5.00% (--most-saturated)": {
        "saturated": 0.123
    },
    "saturated: in every crop more than 5.00% of the pixels are extreme (--most-saturated)": {
        "crops": (0.2, 1.0)
    },
    "dim: 812 counts per pixel on average, limit 2500 (--least-counts)": {"counts": 812},
    "noisy: deviation 0.120 of the range, limit 0.06 (--most-noise)": {
        "counts": None,
        "noise": 0.12,
    },
}


@pytest.mark.parametrize("reason", FLAWS)
def test_every_flaw_is_said_with_figure_and_limit(reason):
    assert flaw(dataclasses.replace(GOOD, **FLAWS[reason]), Choices()) == reason
    assert flaw(GOOD, Choices()) == ""


def test_a_file_that_cannot_be_read_is_in_the_verdicts():
    bad = Surveyed("bad.mrc", 1, 1, error="is empty (0 bytes).")
    assert reasons(bad, file("a__1.mrc")) == ["unreadable: is empty (0 bytes).", ""]


def test_noise_counts_only_where_counts_are_unknown():
    noisy = dataclasses.replace(GOOD, noise=0.5)
    assert flaw(noisy, Choices()) == ""
    assert flaw(dataclasses.replace(noisy, counts=None), Choices()).startswith("noisy")


def test_a_known_gain_decides_whatever_was_found():
    assert flaw(GOOD, Choices(gain=2.0)).startswith("dim: 2000 counts")
    assert flaw(dataclasses.replace(GOOD, counts=None), Choices(gain=1.0, offset=2000)).startswith(
        "dim: 2000 counts"
    )
    assert flaw(dataclasses.replace(GOOD, counts=1), Choices(gain=1.0)) == ""


def test_no_least_count_takes_any():
    assert flaw(dataclasses.replace(GOOD, counts=0.1), Choices(least_counts=0)) == ""


def test_saturated_crops_are_left_out_of_a_good_frame():
    frame = dataclasses.replace(GOOD, crops=(0.001, 0.2, 0.05, 1.0))
    (only,) = decide([file("a.mrc", frame)], Choices()).verdicts
    assert only.crops == (0, 2)


def test_of_frames_alike_the_first_is_kept_and_named():
    rng = np.random.default_rng(0)
    prints = [rng.integers(-127, 128, 320).astype(np.int8).tobytes() for _ in range(2)]
    one, two = (dataclasses.replace(GOOD, fingerprint=each) for each in prints)
    found = reasons(file("a.mrc", two, one), file("b.mrc", one), file("c.mrc", two))
    assert found == ["", "", "near-duplicate of a.mrc[1]", "near-duplicate of a.mrc[0]"]


def test_a_rejected_frame_has_no_duplicates():
    alike = dataclasses.replace(GOOD, fingerprint=bytes(range(128)) * 2 + bytes(range(64)))
    dim = dataclasses.replace(alike, counts=1)
    assert reasons(file("a.mrc", dim), file("b.mrc", alike))[1] == ""


@pytest.mark.parametrize(
    ("split_by", "groups"),
    [
        ("specimen", ["gold", "gold", "day1", "."]),
        ("folder", ["day1", "day2", "day1", "."]),
        ("file", ["day1/gold__1.mrc", "day2/gold__2.mrc", "day1/single.mrc", "top.mrc"]),
    ],
)
def test_groups_are_by_specimen_folder_or_file(split_by, groups):
    names = ["day1/gold__1.mrc", "day2/gold__2.mrc", "day1/single.mrc", "top.mrc"]
    assert [group_of(name, split_by) for name in names] == groups


def test_a_group_is_in_one_split_and_the_fractions_are_kept():
    files = [file(f"s{group}__{n}.mrc") for group in range(100) for n in range(5)]
    found = decide(files, Choices(seed=3)).verdicts
    of_group = {}
    for each in found:
        of_group.setdefault(each.group, set()).add(each.split)
    assert all(len(splits) == 1 for splits in of_group.values())
    assert Counter(each.split for each in found) == {"train": 400, "val": 50, "test": 50}


def test_another_seed_splits_otherwise_and_the_same_one_alike():
    sizes = {f"s{n}": 10 for n in range(40)}
    first, again, other = (assign_splits(sizes, (0.8, 0.1, 0.1), seed=n) for n in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_very_different_size_leave_no_split_empty(seed):
    sizes = {"huge": 1000, "large": 100} | {f"s{n}": 2 for n in range(5)}
    splits = assign_splits(sizes, (0.8, 0.1, 0.1), seed=seed)
    assert set(splits.values()) == {"train", "val", "test"}
    assert splits["huge"] == "train"


def test_a_split_of_fraction_zero_stays_empty():
    splits = assign_splits({f"s{n}": 1 for n in range(10)}, (0.5, 0.5, 0), seed=0)
    assert Counter(splits.values()) == {"train": 5, "val": 5}


def test_one_specimen_alone_trains_and_says_that_nothing_validates():
    decisions = decide([file("a__1.mrc"), file("a__2.mrc")], Choices())
    assert {each.split for each in decisions.verdicts} == {"train"}
    assert "nothing is in val and test: there is only 1 group" in decisions.notes[0]


def test_two_specimens_train_and_validate():
    decisions = decide([file("a__1.mrc"), file("b__1.mrc")], Choices())
    assert {each.split for each in decisions.verdicts} == {"train", "val"}
    assert "nothing is in test" in decisions.notes[0]


def test_a_table_gives_groups_and_splits():
    labels = {
        "a.mrc": Label("gold", "val"),
        "b.mrc": Label("gold", "val"),
        "c.mrc": Label("x", "train"),
    }
    choices = Choices(table="t.csv", column="specimen", split_column="split")
    found = decide([file("a.mrc"), file("b.mrc"), file("c.mrc"), file("d.mrc")], choices, labels)
    assert [(v.group, v.split) for v in found.verdicts[:3]] == [
        ("gold", "val"), ("gold", "val"), ("x", "train"),
    ]  # fmt: skip
    assert found.verdicts[3].reason == "unlisted: the table has no row for it"


def test_a_table_that_gives_one_specimen_two_splits_is_refused():
    labels = {"a.mrc": Label("gold", "val"), "b.mrc": Label("gold", "train")}
    choices = Choices(table="t.csv", column="specimen", split_column="split")
    with pytest.raises(ConfigError, match="group 'gold' is in the splits train, val"):
        decide([file("a.mrc"), file("b.mrc")], choices, labels)


def test_folders_named_as_splits_are_kept():
    files = [file("train/a__1.mrc"), file("val/deep/b__1.mrc"), file("other/c__1.mrc")]
    found = decide(files, Choices(keep_splits=True)).verdicts
    assert [each.split for each in found] == ["train", "val", ""]
    assert found[2].reason == "unlisted: lies in none of the folders train, val, test"


def test_a_frame_shrunk_to_nothing_is_too_small_and_says_by_what():
    frame = dataclasses.replace(GOOD, height=0, width=0, crops=())
    assert flaw(frame, Choices(shrink=600)) == (
        "too small: 0 x 0 px after --shrink 600, crops have 512 x 512 (--crop)"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 8}, "--crop is 8; expected at least 16"),
        ({"fractions": (0.5, 0.1, 0.1)}, "add up to 1"),
        ({"most_saturated": 0.0}, "--most-saturated is 0.0"),
        ({"split_by": "moon"}, "--split-by is moon; expected specimen or folder or file"),
        ({"column": "specimen"}, "--groups goes with --column"),
        ({"table": "t.csv"}, "--groups goes with --column"),
        ({"gain": float("nan")}, "--gain is nan"),
    ],
)
def test_choices_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Choices(**options)


def test_the_offset_is_that_of_a_pixel_before_frames_are_shrunk():
    # 40 electrons a pixel of gain 2 above an offset of 1000, sixteen pixels summed.
    frame = dataclasses.replace(GOOD, mean=16 * (40 * 2 + 1000))
    choices = Choices(shrink=4, gain=2.0, offset=1000.0, least_counts=2500)
    assert "dim: 640 counts" in flaw(frame, choices)
