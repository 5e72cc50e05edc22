"""Memory that a network works in stays with the process, instead of coming anew page by page."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import weakref
from typing import Any

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _DEFAULT_MMAPS, _TRIM_AGAIN_AT = 2**31 - 1, 65536, 1 << 26

# Taken again where the collector ends one owner while another is counted.
_lock = threading.RLock()
_owners = 0


def keep_heap(owner: object) -> None:
    """Keep freed memory in the process as long as an object lives, and give it back afterwards.

    The C library of Linux returns every large piece to the system the moment it is freed; a
    network that frees one after each layer then waits for the next to be mapped and zeroed, a
    third of its time on images of 3000 × 3000 pixels. Elsewhere, and where an environment variable
    of malloc says what is wanted, nothing happens.

    Parameters
    ----------
    owner : object
        With its last owner's end the memory goes back.
    """
    if _libc() is None:
        return
    _count(1)
    weakref.finalize(owner, _count, -1)


def _count(change: int) -> None:
    global _owners
    libc = _libc()
    if libc is None:
        return
    with _lock:
        before, _owners = _owners, _owners + change
        if not before:
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        elif not _owners:
            libc.mallopt(_MMAP_MAX, _DEFAULT_MMAPS)
            libc.mallopt(_TRIM_THRESHOLD, _TRIM_AGAIN_AT)
            libc.malloc_trim(0)


@functools.cache
def _libc() -> Any:
    """The C library where it is glibc and left to itself, else None."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
