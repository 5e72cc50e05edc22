import json
import os
import shutil

import numpy as np
import pytest

from lowdose.data.sets.build import build_dataset
from lowdose.data.sets.check import check_dataset
from lowdose.data.sets.choices import Choices
from lowdose.io.guard import sha256_of
from tests.data.fields import field, write_fields

CHOICES = Choices(crop=64, shard_crops=8, fractions=(0.6, 0.2, 0.2))


@pytest.fixture
def raw(tmp_path):
    names = [f"s{group}__{number}.npy" for group in range(5) for number in range(2)]
    write_fields(tmp_path / "raw", names, side=128)
    return tmp_path / "raw"


@pytest.fixture
def built(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", CHOICES)
    return tmp_path / "set"


def problems(folder, **options):
    return check_dataset(folder, **options).problems


def test_a_fresh_data_set_is_well(built):
    checked = check_dataset(built)
    assert checked.problems == []
    assert {split: part["crops"] for split, part in checked.splits.items()} == {
        "train": 24, "val": 8, "test": 8,
    }  # fmt: skip
    assert [part["groups"] for part in checked.splits.values()] == [3, 1, 1]


def test_a_flipped_bit_of_a_pixel_is_found(built):
    path = built / "val-000000.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    found = problems(built)
    assert "val-000000.tar: its SHA-256 is " in found[0]
    assert problems(built, is_quick=True) == []


def test_a_damaged_member_and_a_missing_shard_are_named_and_the_rest_is_checked(built):
    path = built / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[512:520] = b"no array"
    path.write_bytes(content)
    (built / "train-000001.tar").unlink()
    found = problems(built)
    assert len(found) == 3
    assert "train-000000.tar: its SHA-256" in found[0]
    assert "train-000000.tar: damaged: member train-000000-000000" in found[1]
    assert "train-000001.tar: cannot be opened" in found[2]


def spoil(path, count, crop=64):
    """Break the array header of the first crops of a shard of 16-bit pixels."""
    content = bytearray(path.read_bytes())
    for index in range(count):
        start = index * (512 + -(-(128 + 2 * crop * crop) // 512) * 512 + 1024) + 512
        assert content[start : start + 6] == b"\x93NUMPY"
        content[start] = 0
    path.write_bytes(content)


def test_every_damaged_crop_is_named_and_those_between_are_searched_for_leaks(built):
    plant(built, "train-000000.tar", "val-000000.tar")
    spoil(built / "val-000000.tar", 2)
    found = problems(built)
    damaged = [each for each in found if "val-000000.tar: damaged: member" in each]
    assert [each.split("member ")[1].split()[0] for each in damaged] == [
        "train-000000-000000", "train-000000-000001",
    ]  # fmt: skip
    assert sum(each.startswith("a crop is there twice: ") for each in found) == 6


def test_many_damaged_crops_of_a_shard_are_counted_but_not_all_named(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", Choices(crop=16, shard_crops=128))
    spoil(tmp_path / "set" / "train-000000.tar", 50, crop=16)
    found = [each for each in problems(tmp_path / "set") if "SHA-256" not in each]
    assert sum("damaged: member" in each for each in found) == 20
    assert found[-1] == "... and 30 more like that"
    assert len(found) == 21


def test_a_name_that_is_no_text_is_checked_like_any(tmp_path):
    write_fields(tmp_path / "raw", ["a__1.npy", os.fsdecode(b"caf\xe9__1.npy")], side=128)
    build_dataset([tmp_path / "raw"], tmp_path / "set", CHOICES)
    assert problems(tmp_path / "set") == []


def test_a_shard_cut_short_is_found_even_quickly(built):
    path = built / "test-000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    assert "test-000000.tar: has " in problems(built, is_quick=True)[0]


def plant(built, source, target):
    """Put one shard's content in another's place, with a description that agrees."""
    shutil.copy(built / source, built / target)
    facts = json.loads((built / "dataset.json").read_text())
    for part in facts["splits"].values():
        for shard in part["shards"]:
            if shard["name"] == target:
                shard |= {
                    "bytes": (built / target).stat().st_size,
                    "sha256": sha256_of(built / target),
                }
    (built / "dataset.json").write_text(json.dumps(facts))


def test_a_specimen_in_two_splits_is_found(built):
    plant(built, "train-000000.tar", "val-000000.tar")
    found = problems(built)
    assert any("is in train and val: its specimen leaks" in each for each in found)
    assert any(each.startswith("a crop is there twice: ") for each in found)


def test_a_crop_that_is_there_twice_in_one_split_is_found(built):
    plant(built, "train-000000.tar", "train-000001.tar")
    found = problems(built)
    assert sum(each.startswith("a crop is there twice: ") for each in found) == 8
    assert not any("leaks" in each for each in found)


def test_a_copy_of_another_name_and_contrast_is_found_across_splits(raw, tmp_path, monkeypatch):
    """The build would not let it pass; a data set made by other means might hold it."""
    copy = np.float32(np.sqrt(field(4, 128)) * 0.3 + 5)
    np.save(raw / "other__1.npy", copy)
    monkeypatch.setattr("lowdose.data.sets.decide.copies_of", lambda prints: np.arange(len(prints)))
    monkeypatch.setattr(
        "lowdose.data.sets.decide.assign_splits",
        lambda sizes, *a, **k: {name: "val" if name == "other" else "train" for name in sizes},
    )
    choices = Choices(crop=64, most_noise=1)
    build_dataset([raw], tmp_path / "leaky", choices)
    found = problems(tmp_path / "leaky")
    assert len(found) == 4
    assert all("looks like" in each and "other__1.npy" in each for each in found)
    assert "s2__0.npy" in found[0]


def test_many_problems_of_a_kind_are_cut_short(raw, tmp_path):
    build_dataset([raw], tmp_path / "set", Choices(crop=16, shard_crops=128))
    plant(tmp_path / "set", "train-000000.tar", "train-000001.tar")
    found = problems(tmp_path / "set")
    twice = [each for each in found if each.startswith("a crop is there twice")]
    assert len(twice) == 20
    assert any("more like that" in each for each in found)
