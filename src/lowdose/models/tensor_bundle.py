"""TensorFlow checkpoints of format V2, read without TensorFlow: nothing in them is executed.

``PREFIX.index`` is a sorted table of names; ``PREFIX.data-00000-of-00001`` and its fellows hold the
values. The table's values are protocol buffers of a few fields each [1]_.

References
----------
.. [1] TensorFlow, tensorflow/core/protobuf/tensor_bundle.proto and framework/types.proto.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import InputError, LimitError, MalformedFileError, UnsupportedContentError
from lowdose.models.crc32c import masked_crc32c
from lowdose.models.sstable import MAGIC, read_table, varint

# TensorFlow's number of a type -> ours. Others may be listed, but not read.
_DTYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype("<f4"), 9: np.dtype("<i8")}

# The published index has 30 kB; a hundred times its variables would still fit.
_MAX_INDEX_BYTES = 4 << 20
_MAX_SHARDS = 1000
_MAX_AXES = 8
_MAX_NUMBERS = 1 << 40  # in one variable; numpy counts their bytes in 63 bits
_MAX_LIST_BYTES = 64 << 10  # of the text file that says which is the latest
_FORMAT_VERSION = 1

_SLICE = b"\0"  # starts the key of a part of a partitioned variable

# Protocol buffers tag a field with how it is written.
_VARINT, _BYTES = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}

_PART = re.compile(r"(?<=.)\.(index|meta|data-\d{5}-of-\d{5})$")
_LISTED = re.compile(r'^\s*model_checkpoint_path\s*:\s*"([^"\n]*)"', re.MULTILINE)

_Fields = Mapping[int, list[int | bytes]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a variable lies and what it should be.

    Parameters
    ----------
    dtype : int
        TensorFlow's number of the type.
    shape : tuple of int
        Lengths of the axes, in TensorFlow's order.
    shard, offset, size : int
        Number of the data file, first byte and bytes therein.
    checksum : int
        Masked CRC-32C of those bytes.
    is_sliced : bool
        Whether it was partitioned: its bytes are then spread over other entries.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool

    @property
    def is_readable(self) -> bool:
        """Whether its type is known here and its bytes are in one piece."""
        return self.dtype in _DTYPES and not self.is_sliced

    @property
    def expected_size(self) -> int:
        """Bytes of its shape, where it is readable."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


class TensorBundle:
    """The variables of a checkpoint.

    Parameters
    ----------
    path : Path
        The prefix that its files share, one of these files, or the folder they are in.

    Attributes
    ----------
    prefix : Path
        What its files share.
    entries : dict of str to Entry
        By name, without the parts of partitioned ones. Each lies within its data file, overlaps
        none and, if it is of a type that can be read, has the size of its shape.
    files : tuple of Path
        The index and the data files.

    Raises
    ------
    InputError
        If there is no checkpoint, or one that is damaged, too large, or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.prefix = find_prefix(path)
        index = self.prefix.with_name(f"{self.prefix.name}.index")
        try:
            table = read_table(_content(index, _MAX_INDEX_BYTES))
            shards, is_big_endian = _header(table.pop(b"", b""))
            self.entries = {
                key.decode("utf-8", "surrogateescape"): _entry(value)
                for key, value in table.items()
                if not key.startswith(_SLICE)
            }
        except ValueError as err:
            raise MalformedFileError(
                index, f"is no sound index of a checkpoint: {err}. Copy it again from the source."
            ) from err
        if is_big_endian:
            raise UnsupportedContentError(
                index,
                "was written big-endian; load and save it with TensorFlow on another machine.",
            )
        names = (f"{self.prefix.name}.data-{k:05}-of-{shards:05}" for k in range(shards))
        self._shards = tuple(self.prefix.with_name(name) for name in names)
        self.files = (index, *self._shards)
        self._check_places()

    def read(self, name: str) -> NDArray[Any]:
        """Return a variable in TensorFlow's order of axes, once its checksum is right.

        Raises
        ------
        InputError
            If the bytes are not those that were written, or neither float32 nor int64.
        """
        entry = self.entries[name]
        if not entry.is_readable:
            kind = "in slices" if entry.is_sliced else f"as TensorFlow's type {entry.dtype}"
            raise UnsupportedContentError(
                self.files[0],
                f"{name} is stored {kind}; expected float32 or int64 in one piece. "
                "Load and save it with TensorFlow as such.",
            )
        shard, content = self._shards[entry.shard], bytearray(entry.size)
        with _opened(shard) as file:
            file.seek(entry.offset)
            file.readinto(content)
        if masked_crc32c(content) != entry.checksum:
            raise MalformedFileError(
                shard,
                f"the checksum of {name} is wrong: bytes {entry.offset} to "
                f"{entry.offset + entry.size} are not what was written. Copy it again.",
            )
        dtype = _DTYPES[entry.dtype]
        values = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
        return values.reshape(entry.shape)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file, by its name."""
        found = {}
        for path in self.files:
            with _opened(path) as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def _check_places(self) -> None:
        """Refuse data files that are missing, and entries that do not fit into theirs."""
        sizes = [_size(shard) for shard in self._shards]
        ends = [0] * len(sizes)
        for name, entry in sorted(self.entries.items(), key=_place):
            problem = ""
            if entry.shard >= len(sizes):
                problem = f"lies in data file {entry.shard} of {len(sizes)}"
            elif entry.offset + entry.size > sizes[entry.shard]:
                problem = (
                    f"would end at byte {entry.offset + entry.size} of "
                    f"{self._shards[entry.shard].name}, which has {sizes[entry.shard]}"
                )
            elif entry.offset < ends[entry.shard]:
                problem = "begins within the variable before it"
            elif entry.is_readable and entry.size != entry.expected_size:
                problem = f"has {entry.size} bytes and shape {entry.shape}"
            if problem:
                raise MalformedFileError(
                    self.files[0], f"variable {name} {problem}. Copy all files of it again."
                )
            ends[entry.shard] = entry.offset + entry.size


def find_prefix(path: Path) -> Path:
    """Return what the files of a checkpoint share, from any way to name it.

    Parameters
    ----------
    path : Path
        The prefix itself, one of its files, or a folder with a file ``checkpoint`` that says which
        is the latest, or with one index.

    Raises
    ------
    InputError
        If there is no such checkpoint, or it is of another kind; says what to do.
    """
    if os.path.isdir(path):
        return _prefix_in(path)
    prefix = path.with_name(_PART.sub("", path.name))
    if os.path.isfile(f"{prefix}.index"):
        return prefix
    if not os.path.isfile(path):
        raise InputError(path, f"no such checkpoint: there is no {prefix.name}.index either.")
    with _opened(path) as file:
        file.seek(max(0, _size(path) - len(MAGIC)))
        is_table = file.read(len(MAGIC)) == MAGIC
    if is_table and path == prefix:
        raise UnsupportedContentError(
            path,
            "is a checkpoint of format V1, which is one file. Load it with TensorFlow and save it "
            "again: tf.compat.v1.train.Saver writes V2.",
        )
    raise UnsupportedContentError(
        path, f"is no checkpoint of format V2: that has an index, {prefix.name}.index, beside it."
    )


def _prefix_in(folder: Path) -> Path:
    if os.path.isfile(folder / "saved_model.pb") or os.path.isfile(folder / "saved_model.pbtxt"):
        raise UnsupportedContentError(
            folder,
            "is a SavedModel, most of which is a graph. Its variables are a checkpoint: "
            f"give {folder / 'variables' / 'variables'}.",
        )
    listed = folder / "checkpoint"
    if os.path.isfile(listed):
        match = _LISTED.search(_content(listed, _MAX_LIST_BYTES).decode("utf-8", "replace"))
        # It names the path on the machine that trained; the files were moved since.
        latest = re.split(r"[/\\]", match[1])[-1] if match else ""
        if any(os.path.isfile(folder / name) for name in (latest, f"{latest}.index")):
            return find_prefix(folder / latest)
    found = [path.stem for path in sorted(folder.glob("*.index"))]
    if len(found) != 1:
        names = ", ".join(found[:5]) or "none"
        raise InputError(
            folder, f"holds no checkpoint, or several without saying which is meant: {names}."
        )
    return folder / found[0]


def _content(path: Path, most: int) -> bytes:
    if _size(path) > most:
        raise LimitError(path, f"has {_size(path)} bytes; a checkpoint's has {most} at most.")
    with _opened(path) as file:
        return file.read(most)


def _size(path: Path) -> int:
    # A pipe or a device would block, so what is no file counts as missing.
    if not os.path.isfile(path):
        raise MalformedFileError(path, "is missing. Copy all files of the checkpoint.")
    return path.stat().st_size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as err:
        raise InputError(path, f"cannot be read ({err.strerror or err}).") from err


def _place(item: tuple[str, Entry]) -> tuple[int, int, int]:
    _, entry = item
    return entry.shard, entry.offset, entry.size


# ---- protocol buffers


def _header(message: bytes) -> tuple[int, bool]:
    """Return the number of data files, and whether they are big-endian."""
    fields = _fields(message)
    shards, is_big_endian = _number(fields, 1), bool(_number(fields, 2))
    if not 1 <= shards <= _MAX_SHARDS:
        raise ValueError(f"it claims {shards} data files; 1 to {_MAX_SHARDS} are read")
    for version in _messages(fields, 3):
        if (least := _number(version, 2)) > _FORMAT_VERSION:
            raise ValueError(f"it wants a reader of version {least}; this one is of 1")
    return shards, is_big_endian


def _entry(message: bytes) -> Entry:
    fields = _fields(message)
    axes = [axis for shape in _messages(fields, 2) for axis in _messages(shape, 2)]
    if len(axes) > _MAX_AXES:
        raise ValueError(f"a variable of it has {len(axes)} axes; {_MAX_AXES} are allowed")
    shape = tuple(_number(axis, 1) for axis in axes)
    if math.prod(length or 1 for length in shape) > _MAX_NUMBERS:  # even where one axis is empty
        raise ValueError(f"a variable of it has the shape {shape}")
    return Entry(
        dtype=_number(fields, 1),
        shape=shape,
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
        is_sliced=7 in fields,
    )


def _fields(message: bytes) -> _Fields:
    """Return the fields of a message: number -> its values, in their order."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        value: int | bytes
        if tag & 7 == _VARINT:
            value, at = varint(message, at)
        else:
            size = _FIXED_BYTES.get(tag & 7)
            if tag & 7 == _BYTES:
                size, at = varint(message, at)
            if size is None or at + size > len(message):
                raise ValueError("a message in it is cut short, or none")
            value = message[at : at + size]
            if tag & 7 != _BYTES:
                value = int.from_bytes(value, "little")
            at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: _Fields, key: int) -> int:
    """Return a number, 0 where it is left out."""
    value = fields.get(key, [0])[-1]
    if isinstance(value, bytes):
        raise ValueError(f"field {key} of a message in it is no number")
    return value


def _messages(fields: _Fields, key: int) -> list[_Fields]:
    """Return messages within a message."""
    found = []
    for value in fields.get(key, []):
        if isinstance(value, int):
            raise ValueError(f"field {key} of a message in it is no message")
        found.append(_fields(value))
    return found
