"""Freed memory is kept while somebody works in it, and goes back afterwards."""

import gc
import os
import subprocess
import sys

import pytest

from lowdose import heap


class Owner:
    pass


class Libc:
    def __init__(self):
        self.calls = []

    def mallopt(self, *setting):
        self.calls.append(setting)

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def libc(monkeypatch):
    monkeypatch.setattr(heap, "_owners", 0)
    found = Libc()
    monkeypatch.setattr(heap, "_libc", lambda: found)
    return found


def test_memory_is_kept_from_the_first_owner_to_the_last(libc):
    first, second = Owner(), Owner()
    heap.keep_heap(first)
    kept = list(libc.calls)
    assert kept == [(-4, 0), (-1, 2**31 - 1)]
    heap.keep_heap(second)
    del first
    gc.collect()
    assert libc.calls == kept
    del second
    gc.collect()
    assert libc.calls[2:] == [(-4, 65536), (-1, 1 << 26), "trim"]


def test_where_there_is_no_such_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap, "_libc", lambda: None)
    heap.keep_heap(Owner())


SCRIPT = "from lowdose import heap; print(heap._libc() is None)"


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_the_environment_says_of_malloc_holds():
    for extra, expected in (({}, "False"), ({"MALLOC_ARENA_MAX": "4"}, "True")):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | extra
        out = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
        )
        assert out.stdout.strip() == expected
