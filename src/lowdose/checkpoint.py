"""Weights on disk: safetensors beside a JSON record that holds all it takes to use them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lowdose.errors import ConfigError, WeightsError
from lowdose.io.guard import whole_file
from lowdose.models.catalog import build
from lowdose.records import DEFAULT, Record, find, load_record


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
        network.load_state_dict(load_tensors(content))  # copies, and so turns into float32
    except (SafetensorError, RuntimeError, ConfigError) as err:
        detail = " ".join(str(err).split())  # torch lists what differs in many lines
        raise WeightsError(f"{path}: does not fit network {record.network!r} ({detail}).") from err
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
    tensors = {
        # Counters, such as those of batch normalisation, stay whole numbers.
        key: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for key, value in state.items()
    }
    content = save_tensors(tensors)
    record = dataclasses.replace(record, sha256=hashlib.sha256(content).hexdigest())
    with whole_file(path) as part:
        part.write_bytes(content)
    with whole_file(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n", "utf-8")
    return record
