"""Memory that can be had, and pixels in a file where there is too little of it."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lowdose.errors import OutputError

if TYPE_CHECKING:
    import torch

_SYSTEM, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory(device: torch.device | None = None) -> int:
    """Bytes that can be had, on a device if one is named; 2 GiB where the system does not tell."""
    if device and device.type == "cuda":
        import torch  # takes a second, and whoever has a device has it already

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return _available()
    except (OSError, ValueError, KeyError):  # no Linux
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 << 30


def _available() -> int:
    """What Linux says can be had: files that it keeps in memory give way.

    Raises
    ------
    OSError, ValueError, KeyError
        If it does not say so.
    """
    system = _numbers(_SYSTEM)["MemAvailable:"] << 10
    try:
        most, used = (
            int((_CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current")
        )
        files = _numbers(_CONTAINER / "memory.stat")["inactive_file"]
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return system
    return max(0, min(system, most - used + files))


def _numbers(path: Path) -> dict[str, int]:
    """The first number behind each name in a file of the kernel."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}


def allocate(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Pixels in memory, or in a nameless file where they would take a third of it.

    Raises
    ------
    OutputError
        If there is no room for that file.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if size < free_memory() // 3:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            # Reserved now: a disk that fills up under a memory map kills the process.
            reserve = getattr(os, "posix_fallocate", None)  # macOS and Windows have none
            if reserve:
                reserve(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as err:
            folder = tempfile.gettempdir()
            raise OutputError(
                f"{folder}: no room for {size / 1e9:.1f} GB of temporary pixels ({err.strerror}). "
                "Point TMPDIR at a larger disk."
            ) from err
        return np.memmap(file, dtype, "r+", shape=shape)
