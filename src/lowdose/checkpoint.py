"""Weights on disk: safetensors beside a JSON record that holds all it takes to use them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lowdose.errors import ConfigError, WeightsError
from lowdose.io.guard import whole_file
from lowdose.models.catalog import build

# The one name a user need not know.
DEFAULT = "everyday"


@dataclass(frozen=True)
class Record:
    """What is known of a set of weights.

    Parameters
    ----------
    name : str
        By which it is found.
    network, options : str, mapping
        What to build, see `lowdose.models.catalog`.
    sha256 : str
        Of the weights file.
    summary : str
        One line for ``lowdose models``.
    training : mapping
        Steps, seed, dose law, duration, and the whole configuration.
    sources : sequence of mapping
        Repositories, commits and licences of the micrographs it was trained on.
    quality : mapping
        Figures measured with these weights, and the command that measures them.
    limits : sequence of str
        What it should not be used for, in sentences.
    """

    name: str
    network: str
    options: Mapping[str, Any]
    sha256: str = ""
    summary: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and the start of the hash, for headers and logs."""
        return f"{self.name}:{self.sha256[:12]}"


def shipped() -> dict[str, Path]:
    """Names and files of the weights inside the package."""
    folder = Path(str(resources.files("lowdose") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find(name: str) -> Path:
    """Path of weights given by name, or by the path of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If there are none.
    """
    known = shipped()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    raise WeightsError(
        f"there are no weights {name!r}: they are neither shipped ({', '.join(known) or 'none'}) "
        "nor a .safetensors file. See `lowdose models`."
    )


def load_record(name: str) -> Record:
    """Read the record of some weights; does not need torch's networks.

    Raises
    ------
    WeightsError
        If there is none, or it is not one.
    """
    path = find(name).with_suffix(".json")
    try:
        table = json.loads(path.read_text("utf-8"))
        return Record(**{**table, "sources": tuple(table.get("sources", ()))})
    except (OSError, ValueError, TypeError) as err:
        raise WeightsError(f"{path}: is no record of weights ({err}).") from err


def load_weights(name: str = DEFAULT) -> tuple[nn.Module, Record]:
    """Build a network and fill it with weights, after their hash is checked.

    Parameters
    ----------
    name : str
        Of shipped weights, or path of a ``.safetensors`` file with its ``.json`` beside it.

    Returns
    -------
    (Module, Record)
        The network in float32 on the CPU, in evaluation mode, and its record.

    Raises
    ------
    WeightsError
        If the weights are missing, were altered, or do not fit the network.
    """
    path, record = find(name), load_record(name)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise WeightsError(
            f"{path}: was altered: its SHA-256 is {found[:12]}…, its record says "
            f"{record.sha256[:12]}…. Install lowdose again, or copy the weights again."
        )
    try:
        network = build(record.network, record.options)
        tensors = {key: value.float() for key, value in load_tensors(content).items()}
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, ConfigError) as err:
        raise WeightsError(f"{path}: does not fit network {record.network!r} ({err}).") from err
    return network.eval(), record


def save_weights(
    path: Path, state: Mapping[str, Tensor], record: Record, *, dtype: torch.dtype = torch.float16
) -> Record:
    """Write weights and their record, each whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the record goes beside it as ``.json``.
    state : mapping of str to Tensor
        Of the network.
    record : Record
        Its hash is filled in.
    dtype : torch.dtype
        For storage. Half precision halves the file and moves a result by less than bf16 does.

    Returns
    -------
    Record
        With the hash of what was written.
    """
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    content = save_tensors(tensors)
    record = dataclasses.replace(record, sha256=hashlib.sha256(content).hexdigest())
    with whole_file(path) as part:
        part.write_bytes(content)
    with whole_file(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n", "utf-8")
    return record
