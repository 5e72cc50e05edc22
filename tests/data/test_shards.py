import gc
import io
import itertools
import json
import os
import pickle
import tarfile
import threading
import tracemalloc
import warnings
from collections import Counter

import numpy as np
import pytest

from lowdose.data import shards as module
from lowdose.data.sets.build import build_dataset
from lowdose.data.sets.choices import Choices
from lowdose.data.shards import ShardSet, is_data_set, load_description
from lowdose.errors import ConfigError, InputError, MalformedFileError
from tests.data.fields import write_fields

FACTS = {"source": "a.npy", "frame": 0, "top": 0, "left": 0, "group": "g", "low": 0, "high": 15}


def npy(array=None, **options):
    stream = io.BytesIO()
    default = np.arange(16, dtype="<u2").reshape(4, 4)
    np.lib.format.write_array(stream, default if array is None else array, **options)
    return stream.getvalue()


def write_set(folder, members, *, crops=1, crop=4, **facts):
    """A data set of one hand-made shard; members are (name, content)."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "train-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    shard = {
        "name": "train-000000.tar",
        "crops": crops,
        "bytes": (folder / "train-000000.tar").stat().st_size,
        "sha256": "0" * 64,
    } | facts
    description = {"layout": 1, "crop": crop, "splits": {"train": {"shards": [shard]}}}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def pair(key="k", array=None, **facts):
    return [(f"{key}.npy", npy(array)), (f"{key}.json", json.dumps(FACTS | facts).encode())]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data set of 108 crops of 16 x 16 in 11 shards for training."""
    folder = tmp_path_factory.mktemp("shards")
    write_fields(folder / "raw", [f"s{n}__{m}.npy" for n in range(5) for m in range(2)], side=64)
    choices = Choices(crop=16, shard_crops=10, fractions=(0.6, 0.2, 0.2))
    build_dataset([folder / "raw"], folder / "set", choices)
    return folder / "set"


def test_a_crop_is_a_truth_with_its_extremes_and_specimen(tmp_path):
    truth = ShardSet(write_set(tmp_path / "set", pair())).truth(0)
    assert truth.pixels.tolist() == np.arange(16).reshape(4, 4).tolist()
    assert (truth.low, truth.high, truth.group) == (0, 15, "g")
    assert truth.name == "a.npy[0] 0,0"
    assert truth.crop(0, 0, 4, 4).max() == 1


def test_every_epoch_has_each_crop_once_in_another_order(built):
    shards = ShardSet(built, seed=4, window=3)
    count = len(shards)
    assert count == 96
    epochs = [[shards.locate(epoch * count + n) for n in range(count)] for epoch in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    whole = {(s, p) for s, facts in enumerate(shards.shards) for p in range(facts.crops)}
    assert all(set(epoch) == whole for epoch in epochs)


def test_another_seed_is_another_order_and_the_same_seed_the_same(built):
    first, again, other = (
        [ShardSet(built, seed=seed).locate(n) for n in range(96)] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("processes", [1, 3])
def test_any_number_of_processes_draws_the_same_sequence(built, processes):
    expected = [ShardSet(built).truth(n).name for n in range(200)]
    found = [""] * 200
    for rank in range(processes):  # each with a set of its own, as after a restart
        own = ShardSet(built)
        for ordinal in range(rank, 200, processes):
            found[ordinal] = own.truth(ordinal).name
    assert found == expected
    assert len(set(expected[:96])) == 96


def test_shards_are_read_a_window_at_a_time_and_opened_once_an_epoch(built, monkeypatch):
    opened = []
    real = module.Shard
    monkeypatch.setattr(
        module, "Shard", lambda path, *rest: opened.append(path) or real(path, *rest)
    )
    shards = ShardSet(built, window=3)
    touched = [shards.locate(n)[0] for n in range(96)]
    for n in range(96):
        shards.truth(n)
    assert len(opened) == len(shards.shards) == 10
    for index in range(
        10
    ):  # from the first to the last crop of a shard no more than three are used
        first, last = touched.index(index), 95 - touched[::-1].index(index)
        assert len(set(touched[first : last + 1])) <= 3


def test_crops_of_a_window_are_mixed(built):
    touched = [ShardSet(built, window=5).locate(n)[0] for n in range(50)]
    changes = sum(one != other for one, other in itertools.pairwise(touched))
    assert changes > 30


def test_memory_does_not_grow_with_the_data(tmp_path):
    array = np.random.default_rng(0).random((128, 128))
    facts = {"low": array.min(), "high": array.max()}
    members = [member for n in range(64) for member in pair(f"k{n}", array, **facts)]
    shards = ShardSet(write_set(tmp_path / "set", members, crops=64, crop=128))
    tracemalloc.start()
    for n in range(128):
        shards.truth(n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * array.nbytes / 16


def test_files_are_closed_as_others_are_opened(built):
    shards = ShardSet(built, window=2)
    files = []
    for n in range(2 * 96):
        shards.truth(n)
        files.append(shards._open(shards.locate(n)[0])._file)
    gc.collect()
    assert len(set(map(id, files))) > 10
    assert len({id(file) for file in files if not file.closed}) <= 4


def test_a_hundred_million_crops_need_no_list_of_them(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    facts = json.loads((folder / "dataset.json").read_text())
    shard = facts["splits"]["train"]["shards"][0] | {"crops": 1000, "bytes": 1 << 29}
    names = (f"train-{n:06}.tar" for n in range(100_000))
    facts["splits"]["train"]["shards"] = [shard | {"name": name} for name in names]
    (folder / "dataset.json").write_text(json.dumps(facts))
    shards = ShardSet(folder)
    assert len(shards) == 10**8
    tracemalloc.start()
    assert shards.locate(3 * 10**8 + 12345) != shards.locate(12345)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_threads_that_read_at_once_get_what_one_gets(built):
    shards = ShardSet(built, window=2)
    expected = [ShardSet(built, window=2).truth(n).pixels.tobytes() for n in range(96)]
    found = {}

    def draw(rank):
        for n in range(rank, 96, 4):
            found[n] = shards.truth(n).pixels.tobytes()

    threads = [threading.Thread(target=draw, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(96)] == expected


def test_reading_works_where_the_system_has_no_pread(built, monkeypatch):
    expected = ShardSet(built).truth(5)
    monkeypatch.delattr(os, "pread", raising=False)
    assert np.array_equal(ShardSet(built).truth(5).pixels, expected.pixels)


def test_validation_sees_every_crop_in_order(built):
    shards = ShardSet(built, "val")
    names = [truth.name for truth in shards.in_order()]
    assert len(names) == len(set(names)) == len(shards) == 32
    assert names == [truth.name for truth in ShardSet(built, "val", seed=9).in_order()]
    assert len(Counter(truth.group for truth in shards.in_order())) == 1


def test_a_shard_is_closed_when_nobody_reads_it(built):
    shards = ShardSet(built)
    shards.truth(0)
    shard = shards._open(shards.locate(0)[0])
    file = shard._file
    del shard, shards
    gc.collect()
    assert file.closed


def test_a_split_without_crops_and_an_ordinal_below_zero_are_refused(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    with pytest.raises(ConfigError, match="the split 'val' has no crop; there are: train"):
        ShardSet(folder, "val")
    with pytest.raises(IndexError, match="ordinal -1"):
        ShardSet(folder).truth(-1)


def test_a_build_that_has_not_finished_is_no_data_set(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset.json: cannot be read .*writes this file last"):
        ShardSet(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/passwd"},
        {"name": "train-000000.tar/../x"},
        {"crops": 0},
        {"crops": 1 << 40},
        {"crops": True},
        {"bytes": -1},
        {"bytes": "10"},
    ],
    ids=str,
)
def test_a_description_that_makes_no_sense_is_refused(change, tmp_path):
    folder = write_set(tmp_path / "set", pair(), **change)
    with pytest.raises(MalformedFileError, match=r"dataset.json: is not what"):
        load_description(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 9999, '{"layout": 2}', '{"layout": 1, "crop": 4, "splits": []}']
)
def test_a_damaged_description_is_refused(text, tmp_path):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(MalformedFileError, match=r"dataset.json: (is not what|has layout 2)"):
        load_description(tmp_path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def object_array():
    content = io.BytesIO()
    head = {"descr": "|O", "fortran_order": False, "shape": (4, 4)}
    np.lib.format.write_array_header_1_0(content, head)
    return content.getvalue() + pickle.dumps([Bomb()] * 16)


def lying(shape, descr="<u2"):
    content = io.BytesIO()
    head = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, head)
    return content.getvalue() + bytes(32)


TYPES = ["|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]
NO_HEADER = "its header is none of an array of 4 x 4"
BAD_ARRAYS = {
    "pickled": (object_array(), NO_HEADER),
    "of absurd shape": (lying((1 << 30, 1 << 30)), NO_HEADER),
    "of negative shape": (lying((-4, -4)), NO_HEADER),
    "cut short": (lying((4, 4))[:-1], "it has 159 bytes; expected 160"),
    "cut in the header": (lying((4, 4))[:100], NO_HEADER),
    "too long": (npy() + b"more", "it has 164 bytes; expected 160"),
    "flat": (npy(np.arange(16, dtype="<u2")), NO_HEADER),
    "complex": (npy(np.ones((4, 4), "<c8")), NO_HEADER),
    "a record": (npy(np.ones((4, 4), [("a", "u2")])), NO_HEADER),
    "column by column": (npy(np.asfortranarray(np.eye(4))), NO_HEADER),
    "big-endian": (npy(np.eye(4, dtype=">u2")), NO_HEADER),
    "no npy": (b"x" * 160, NO_HEADER),
    "empty": (b"", NO_HEADER),
    "of version 2": (npy(version=(2, 0)), NO_HEADER),
    "of Python 2": (npy().replace(b"(4, 4), }  ", b"(4L, 4L), }"), NO_HEADER),
    "an open bracket": (npy().replace(b"(4, 4), }", b"(4, 4), ("), NO_HEADER),
    "constant": (npy(np.full((4, 4), 5, "<u2")), "its pixels are 5 to 5"),
    "of other extremes": (npy(np.eye(4, dtype="<f4")), "its pixels are 0 to 1"),
    "not a number": (npy(np.full((4, 4), np.nan)), "its pixels are nan to nan"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_array_is_refused_and_named(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = BAD_ARRAYS[case]
    folder = write_set(tmp_path / "set", [("k7.npy", content), pair("k7")[1]])
    named = rf"train-000000.tar: damaged: member k7.*{words}"
    with pytest.raises(MalformedFileError, match=named):
        ShardSet(folder).truth(0)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("descr", TYPES)
@pytest.mark.parametrize("crop", [16, 512, 65535])
def test_a_header_is_what_numpy_writes(descr, crop):
    stream = io.BytesIO()
    facts = {"descr": descr, "fortran_order": False, "shape": (crop, crop)}
    np.lib.format.write_array_header_1_0(stream, facts)
    assert module.npy_header(descr, crop) == stream.getvalue()


@pytest.mark.parametrize("descr", TYPES)
def test_every_type_of_pixel_is_read_back(descr, tmp_path):
    array = np.arange(16).reshape(4, 4).astype(descr)
    truth = ShardSet(write_set(tmp_path / "set", pair(array=array))).truth(0)
    assert np.array_equal(truth.pixels, array)
    assert truth.pixels.dtype == array.dtype.newbyteorder("=")


def test_a_flipped_bit_of_a_header_is_refused_or_changes_no_pixel(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    path = folder / "train-000000.tar"
    whole, expected = path.read_bytes(), ShardSet(folder).truth(0)
    for bit in range(8 * 512, 8 * (512 + 128)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = ShardSet(folder).truth(0)
        except MalformedFileError:
            continue
        assert np.array_equal(found.pixels, expected.pixels)


BAD_FACTS = {
    "no json": b"low",
    "no object": b"[1]",
    "nested": b"[" * 60_000,
    "without group": json.dumps({k: v for k, v in FACTS.items() if k != "group"}).encode(),
    "no text": json.dumps(FACTS | {"group": 3}).encode(),
    "no number": json.dumps(FACTS | {"top": "0"}).encode(),
    "beyond any float": json.dumps(FACTS | {"high": 10**400}).encode(),
    "infinite": json.dumps(FACTS | {"high": float("inf")}).encode(),
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_bad_facts_are_refused_and_named(case, tmp_path):
    folder = write_set(tmp_path / "set", [pair("k7")[0], ("k7.json", BAD_FACTS[case])])
    with pytest.raises(MalformedFileError, match=r"train-000000.tar: damaged: member k7"):
        ShardSet(folder).truth(0)


BAD_MEMBERS = {
    "swapped": pair()[::-1],
    "unpaired": [pair("a")[0], pair("b")[1]],
    "one too few": pair()[:1],
    "one too many": pair("a") + pair("b"),
    "huge facts": [pair()[0], ("k.json", b" " * 70_000)],
    "huge array": [("k.npy", bytes(10_000)), pair()[1]],
}


@pytest.mark.parametrize("case", BAD_MEMBERS)
def test_members_that_are_not_pairs_are_refused(case, tmp_path):
    folder = write_set(tmp_path / "set", BAD_MEMBERS[case])
    with pytest.raises(MalformedFileError, match=r"train-000000.tar: damaged: "):
        ShardSet(folder).truth(0)


def header(**changes):
    member = tarfile.TarInfo("k.npy")
    for name, value in changes.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "block",
    [
        header(size=1 << 40),
        header(size=200_000),
        header(size=-5),
        header(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        header(type=tarfile.DIRTYPE),
        bytes(512),
        b"x" * 512,
    ],
    ids=["a terabyte", "past the end", "negative", "a link", "a folder", "zeros", "no header"],
)
def test_a_tar_header_that_lies_is_refused(block, tmp_path):
    folder = write_set(tmp_path / "set", pair())
    with open(folder / "train-000000.tar", "rb+") as file:
        file.write(block)
    with pytest.raises(MalformedFileError, match=r"train-000000.tar: damaged: "):
        ShardSet(folder).truth(0)


def test_a_shard_cut_short_anywhere_is_refused(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    content = (folder / "train-000000.tar").read_bytes()
    facts = json.loads((folder / "dataset.json").read_text())
    for length in (1, 511, 512, 600, 1024, 1500, 2047):
        (folder / "train-000000.tar").write_bytes(content[:length])
        with pytest.raises(MalformedFileError, match=rf"has {length} bytes, 10240 were written"):
            ShardSet(folder).truth(0)
        facts["splits"]["train"]["shards"][0]["bytes"] = max(length, 512)
        (folder / "dataset.json").write_text(json.dumps(facts))
        if length >= 512:
            with pytest.raises(MalformedFileError, match="damaged: "):
                ShardSet(folder).truth(0)
        facts["splits"]["train"]["shards"][0]["bytes"] = len(content)
        (folder / "dataset.json").write_text(json.dumps(facts))


def test_a_shard_that_is_gone_is_named(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    (folder / "train-000000.tar").unlink()
    with pytest.raises(InputError, match=r"train-000000.tar: cannot be opened \(No such file"):
        ShardSet(folder).truth(0)


def test_a_data_set_is_known_by_its_folder_and_by_its_description(tmp_path):
    folder = write_set(tmp_path / "set", pair())
    assert is_data_set(folder)
    assert is_data_set(folder / "dataset.json")
    assert len(ShardSet(folder / "dataset.json")) == 1
    assert not is_data_set(tmp_path)
    assert not is_data_set(folder / "train-000000.tar")
    assert not is_data_set(tmp_path / "dataset.json")


def test_the_webdataset_library_reads_the_same_crops(built):
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, built.glob("train-*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files to the collector
        found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
        gc.collect()
    truths = list(ShardSet(built).in_order())
    assert len(found) == len(truths)
    for sample, truth in zip(found, truths, strict=True):
        assert np.array_equal(sample["npy"], truth.pixels)
        assert sample["json"]["group"] == truth.group
