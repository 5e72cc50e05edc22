import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lowdose.errors import InputError, LimitError, MalformedFileError, UnsupportedContentError
from lowdose.models.crc32c import crc32c
from lowdose.models.sstable import MAX_KEYS
from lowdose.models.tensor_bundle import TensorBundle, find_prefix
from tests.models.bundles import MAGIC, block, handle, masked, messages, table, varint, write_bundle

REAL = Path(__file__).with_name("ede2018_checkpoint")  # written by TensorFlow 2.21

RNG = np.random.default_rng(0)
VARIABLES = {
    "global_step": np.array(178227),
    "nn/Conv/biases": np.float32([1.5, -2]),
    "nn/Conv/weights": RNG.normal(size=(3, 3, 1, 2)).astype(np.float32),
    **{f"nn/BatchNorm_{k}/gamma": np.full(k, k, np.float32) for k in range(1, 30)},
}


@pytest.fixture
def prefix(tmp_path):
    return write_bundle(tmp_path / "model-7", VARIABLES)


def read_all(path):
    bundle = TensorBundle(path)
    return {name: bundle.read(name) for name in bundle.entries}


# The checksum.


@pytest.mark.parametrize(
    ("content", "expected"),  # RFC 3720, appendix B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_checksums_are_those_of_the_standard(content, expected):
    assert crc32c(content) == expected


def test_checksum_of_any_length_is_that_of_single_bits():
    for size in (*range(1, 20), 255, 256, 257, 1000):
        content = RNG.bytes(size)
        crc = crc32c(content)
        assert ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF == masked(content), size


# What was written is read.


@pytest.mark.parametrize("options", [{}, {"snappy": True}, {"per_block": 1}, {"per_block": 1000}])
def test_written_variables_are_read(tmp_path, options):
    found = read_all(write_bundle(tmp_path / "model", VARIABLES, **options))
    assert found.keys() == VARIABLES.keys()
    for name, values in VARIABLES.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        assert np.array_equal(found[name], values)


def test_variables_from_tensorflow_are_read():
    found = read_all(REAL)
    assert found["global_step"] == 1234
    assert found["nn/Conv/weights"].shape == (1, 1, 1, 4)
    assert found["beta1_power"] == 0.5


def test_empty_variable_is_read(tmp_path):
    found = read_all(
        write_bundle(
            tmp_path / "m",
            {
                "a": np.ones(2, np.float32),
                "b": np.ones((0, 3), np.float32),
                "c": np.ones(1, np.float32),
            },
        )
    )
    assert found["b"].shape == (0, 3)


def test_values_in_several_data_files_are_found(prefix):
    one = prefix.with_name("model-7.data-00000-of-00001").read_bytes()
    lies = {"": {1: 2}, "nn/Conv/weights": {3: 1, 4: 5}}
    write_bundle(prefix, VARIABLES, lies=lies)
    prefix.with_name("model-7.data-00000-of-00002").write_bytes(one)
    second = b"....." + VARIABLES["nn/Conv/weights"].tobytes()
    prefix.with_name("model-7.data-00001-of-00002").write_bytes(second)
    assert np.array_equal(read_all(prefix)["nn/Conv/weights"], VARIABLES["nn/Conv/weights"])


# A checkpoint is found by any name for it.


@pytest.mark.parametrize(
    "name", ["model-7", "model-7.index", "model-7.data-00000-of-00001", "model-7.meta", ""]
)
def test_any_name_leads_to_the_prefix(prefix, name):
    assert find_prefix(prefix.parent / name) == prefix


@pytest.mark.parametrize(
    "listed",
    ["model-7", "/home/someone/run/model-7", "//server/share/run/model-7", r"C:\\run\\model-7"],
)
def test_folder_says_which_is_the_latest(prefix, listed):
    write_bundle(prefix.with_name("model-8"), VARIABLES)
    text = f'model_checkpoint_path: "{listed}"\nall_model_checkpoint_paths: "model-8"\n'
    prefix.with_name("checkpoint").write_text(text)
    assert find_prefix(prefix.parent) == prefix


@pytest.mark.parametrize("listed", [None, "model-9", "../model-7/../x", ".."])
def test_folder_that_does_not_say_which_is_refused(prefix, listed):
    write_bundle(prefix.with_name("model-8"), VARIABLES)
    if listed:
        prefix.with_name("checkpoint").write_text(f'model_checkpoint_path: "{listed}"\n')
    with pytest.raises(InputError, match="or several without saying which is meant: model-7, m"):
        find_prefix(prefix.parent)


def test_other_kinds_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no such checkpoint: there is no model\.index either"):
        find_prefix(tmp_path / "model")
    old = tmp_path / "old.ckpt"
    old.write_bytes(bytes(100) + MAGIC)
    with pytest.raises(UnsupportedContentError, match=r"format V1, .* save it again"):
        find_prefix(old)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/run/old.ckpt"\n')
    with pytest.raises(UnsupportedContentError, match="format V1"):
        find_prefix(tmp_path)
    old.write_bytes(b"PK")
    with pytest.raises(UnsupportedContentError, match=r"has an index, old\.ckpt\.index, beside it"):
        find_prefix(old)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UnsupportedContentError, match=r"SavedModel.* give .*variables"):
        find_prefix(tmp_path)


# A damaged one is refused.


def test_every_cut_of_the_index_is_refused(prefix):
    index = prefix.with_name("model-7.index")
    content = index.read_bytes()
    for size in range(len(content)):
        index.write_bytes(content[:size])
        with pytest.raises(MalformedFileError, match="is no sound index"):
            TensorBundle(prefix)


@pytest.mark.parametrize("snappy", [False, True])
def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path, snappy):
    few = dict(list(VARIABLES.items())[:9])
    prefix = write_bundle(tmp_path / "m", few, per_block=4, snappy=snappy)
    harmless = 0
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for at in range(len(content)):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                found = read_all(prefix)
            except InputError:
                continue
            assert all(np.array_equal(found[name], few[name]) for name in few)
            harmless += 1
        path.write_bytes(content)
    # Where the meta data lie is not looked at, nor they, nor the footer's padding.
    assert harmless < 60


def test_altered_blocks_with_right_checksums_are_read_or_refused(tmp_path):
    """What a malicious file would be; a checksum alone protects from accidents only."""
    prefix = tmp_path / "m"
    entries, content = messages(dict(list(VARIABLES.items())[:6]), {})
    (tmp_path / "m.data-00000-of-00001").write_bytes(content)
    sound = block(entries)[:-5]
    outcomes = {"read": 0, "refused": 0}
    for seed in range(500):
        rng = np.random.default_rng(seed)
        altered = bytearray(sound)
        for at in rng.integers(len(altered), size=rng.integers(1, 4)):
            altered[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        (tmp_path / "m.index").write_bytes(one_block(raw_block(bytes(altered))))
        try:
            read_all(prefix)
            outcomes["read"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def test_flipped_bytes_of_a_real_one_are_refused(tmp_path):
    content = (REAL / "-1234.index").read_bytes()
    shard = REAL / "-1234.data-00000-of-00001"
    (tmp_path / shard.name).symlink_to(shard)
    for at in range(0, len(content) - 100, 997):
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (tmp_path / "-1234.index").write_bytes(flipped)
        with pytest.raises(InputError):
            TensorBundle(tmp_path)


def test_altered_values_are_refused_with_their_name(prefix):
    shard = prefix.with_name("model-7.data-00000-of-00001")
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    bundle = TensorBundle(prefix)
    with pytest.raises(MalformedFileError, match="checksum of global_step is wrong: bytes 0 to 8"):
        bundle.read("global_step")
    assert bundle.read("nn/Conv/biases")[0] == 1.5


def test_missing_and_shortened_data_are_refused(prefix):
    shard = prefix.with_name("model-7.data-00000-of-00001")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(MalformedFileError, match="nn/Conv/weights would end at byte"):
        TensorBundle(prefix)
    shard.unlink()
    with pytest.raises(MalformedFileError, match="00000-of-00001: is missing"):
        TensorBundle(prefix)


HUGE = 1 << 60


@pytest.mark.parametrize(
    ("name", "lie", "problem"),
    [
        ("nn/Conv/weights", {5: HUGE}, "would end at byte"),
        ("nn/Conv/weights", {4: HUGE}, "would end at byte"),
        ("nn/Conv/weights", {4: (1 << 64) - 1, 5: 1}, "would end at byte"),
        ("nn/Conv/weights", {2: [{1: 3}, {1: 7}]}, r"has 72 bytes and shape \(3, 7\)"),
        ("nn/Conv/weights", {2: [{1: HUGE}] * 8}, "a variable of it has the shape"),
        ("nn/Conv/weights", {2: [{1: (1 << 64) - 1}]}, "a variable of it has the shape"),  # -1
        ("nn/Conv/weights", {2: [{1: 0}, {1: HUGE}], 5: 0}, "a variable of it has the shape"),
        ("nn/Conv/weights", {2: [{1: 2}] * 9}, "has 9 axes"),
        ("nn/Conv/weights", {4: 8}, "begins within the variable before it"),
        ("nn/Conv/weights", {3: 1}, "lies in data file 1 of 1"),
        ("nn/Conv/weights", {5: b"1234"}, "has 875770417 bytes|would end"),
        ("nn/Conv/weights", {5: {1: 1}}, "field 5 of a message in it is no number"),
        ("nn/Conv/weights", {2: 7}, "field 2 of a message in it is no message"),
        ("", {1: 10**9}, "claims 1000000000 data files"),
        ("", {1: 0}, "claims 0 data files"),
        ("", {3: {2: 2}}, "wants a reader of version 2"),
    ],
)
def test_absurd_claims_are_refused(tmp_path, name, lie, problem):
    prefix = write_bundle(tmp_path / "m", VARIABLES, lies={name: lie})
    with pytest.raises(MalformedFileError, match=problem):
        TensorBundle(prefix)


def test_what_is_no_float32_is_refused_when_it_is_read(tmp_path):
    variables = VARIABLES | {"double": np.ones(3), "sliced": np.ones(0, np.float32)}
    bundle = TensorBundle(write_bundle(tmp_path / "m", variables, lies={"sliced": {7: {1: 1}}}))
    with pytest.raises(UnsupportedContentError, match="double is stored as TensorFlow's type 2"):
        bundle.read("double")
    with pytest.raises(UnsupportedContentError, match="sliced is stored in slices"):
        bundle.read("sliced")
    assert bundle.read("global_step") == 178227


def test_big_endian_is_refused(tmp_path):
    with pytest.raises(UnsupportedContentError, match="big-endian"):
        TensorBundle(write_bundle(tmp_path / "m", VARIABLES, lies={"": {2: 1}}))


# Tables that would take memory or time.


def refused_table(tmp_path, content, problem):
    (tmp_path / "m.index").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(MalformedFileError, match=problem):
        TensorBundle(tmp_path / "m")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def one_block(stored, times=1):
    """A table whose index leads to the same block so many times."""
    index = block({varint(number): handle(b"", stored) for number in range(times)})
    return stored + index + (varint(0) * 2 + handle(stored, index)).ljust(40, b"\0") + MAGIC


def raw_block(content):
    content += b"\0"
    return content + masked(content).to_bytes(4, "little")


def test_too_many_keys_are_refused(tmp_path):
    entries = {f"{number:06}".encode(): b"" for number in range(MAX_KEYS + 1)}
    refused_table(tmp_path, table(entries, per_block=len(entries)), "more than 20000 keys")


def test_keys_that_grow_from_few_bytes_are_refused(tmp_path):
    entry = varint(0) + varint(1000) + varint(0) + bytes(1000)
    longer = b"".join(varint(1000 + k) + varint(1) + varint(0) + b"a" for k in range(1000))
    refused_table(tmp_path, one_block(raw_block(entry + longer + bytes(4))), "a key of it has 1025")


def test_one_block_read_again_and_again_is_refused(tmp_path):
    stored = block({})
    refused_table(tmp_path, one_block(stored, 2), "begins within the one before")


def test_keys_out_of_order_are_refused(tmp_path):
    stored = block({b"b": b"", b"a": b""})
    refused_table(tmp_path, one_block(stored), "its key b'a' is not after b'b'")


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (raw_block((1 << 31).to_bytes(4, "little")), "promises 2147483648 restarts"),
        (raw_block(b""), "has 0 bytes and promises 0 restarts"),
        (raw_block(varint(5) + varint(1) + varint(1) + b"ab" + bytes(4)), "longer than the block"),
        (raw_block(varint(0) + varint(1) + varint(HUGE) + b"a" + bytes(4)), "longer than the bl"),
        (raw_block(b"\xff" * 30 + bytes(4)), "more than 64 bits"),
        (raw_block(b"\x80" + b"\x80\x80\x80\x80"), "promises|cut short"),
    ],
)
def test_lying_blocks_are_refused(tmp_path, stored, problem):
    refused_table(tmp_path, one_block(stored), problem)


@pytest.mark.parametrize(
    ("compressed", "kind", "problem"),
    [
        (varint(1 << 31) + b"\0a", 1, "claims to decompress to 2147483648 bytes"),
        (varint(1 << 20) + b"\0a", 1, "cannot be decompressed"),
        (b"\xff\xff", 1, "cut short"),
        (b"abcd", 2, "has compression 2"),
    ],
)
def test_lying_compression_is_refused(tmp_path, compressed, kind, problem):
    content = compressed + bytes([kind])
    stored = content + masked(content).to_bytes(4, "little")
    refused_table(tmp_path, one_block(stored), problem)


def test_a_large_index_is_refused_unread(prefix):
    with prefix.with_name("model-7.index").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitError, match="has 1099511627776 bytes"):
        TensorBundle(prefix)
