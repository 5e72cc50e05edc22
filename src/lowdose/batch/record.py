"""The record beside a result: OUT.json says how OUT was made, and so whether it is finished."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowdose import __version__
from lowdose.batch.choices import Options
from lowdose.errors import InputError
from lowdose.io.guard import sha256_of
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel

if TYPE_CHECKING:
    from lowdose.infer import Denoiser


# What is asked of a record later.
_FACTS = {"input": {"path", "bytes", "sha256"}, "output": {"bytes"}, "model": {"sha256"}}


def record_path(target: Path) -> Path:
    """Where the record of a result lies."""
    return target.with_name(f"{target.name}.json")


def record_of(path: Path) -> dict[str, Any] | None:
    """Record of a result of lowdose; None for any other file."""
    try:
        record = json.loads(record_path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or "lowdose" not in record:
        return None
    for part, facts in _FACTS.items():
        if not isinstance(record.get(part), dict) or not facts <= record[part].keys():
            return None
    return record


def provenance(options: Options, noise: NoiseModel, denoiser: Denoiser) -> dict[str, Any]:
    """Part of a record that tells what was done."""
    return {
        "lowdose": __version__,
        "options": as_json(options),
        "model": {"name": denoiser.record.name, "sha256": denoiser.record.sha256},
        "noise": dataclasses.asdict(noise),
        "engine": {
            "device": str(denoiser.device),
            "precision": str(denoiser.dtype).removeprefix("torch."),
            "tile": denoiser.tile,
            "backend": denoiser.backend,
        },
    }


def file_facts(path: Path, micrograph: Micrograph) -> dict[str, Any]:
    """Part of a record that tells what a file is."""
    return {
        "path": os.path.abspath(path),
        "bytes": path.stat().st_size,
        "shape": micrograph.shape,
        "dtype": str(micrograph.pixels.dtype),
        "pixel_size_nm": micrograph.pixel_size_nm,
    }


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of an input that is gone into an InputError."""
    try:
        yield
    except OSError as err:
        raise InputError(path, f"cannot be read ({err.strerror}).") from err


def write_record(part: Path, record: dict[str, Any], *, started: datetime, seconds: float) -> None:
    """Write a record as JSON to exactly this path."""
    record = record | {"started": started.isoformat(), "seconds": round(seconds, 3)}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    # Bytes of a file name that are no UTF-8 become what JSON escapes them as.
    part.write_text(text, "utf-8", errors="backslashreplace")


def as_json(options: Options) -> Any:
    """Options as they come back from a record."""
    return json.loads(json.dumps(dataclasses.asdict(options)))


def are_same_options(record: dict[str, Any], options: Options) -> bool:
    """Whether a result was made with these; what its lowdose did not know of was not asked for."""
    made_with, unasked = record.get("options"), as_json(Options())
    if not isinstance(made_with, dict):
        return False
    noise = unasked["noise"] | made_with.get("noise", {})
    return bool(unasked | made_with | {"noise": noise} == as_json(options))


def is_same_input(record: dict[str, Any], source: Path) -> bool:
    """Whether a result was made from this file as it is now, or from one of its content.

    Raises
    ------
    InputError
        If there is no such input any more.
    """
    was = record["input"]
    with reading(source):
        now = source.stat()
        here = os.path.abspath(source), now.st_size, now.st_mtime_ns
        is_untouched = (was["path"], was["bytes"], was.get("mtime_ns")) == here
        return bool(is_untouched or was["sha256"] == sha256_of(source))


def is_whole(record: dict[str, Any], target: Path) -> bool:
    """Whether a result is whole, and the one recorded."""
    made = target.stat()
    # A run killed between the names of the two leaves a new result beside the record of the old.
    is_its_own = record_path(target).stat().st_mtime_ns >= made.st_mtime_ns
    return bool(is_its_own and record["output"]["bytes"] == made.st_size)
