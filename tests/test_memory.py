"""What of a machine's memory can be had."""

import os

import pytest
import torch

from lowdose import memory

CPU = torch.device("cpu")
SYSTEM = "MemTotal:  8000000 kB\nMemFree:  1000 kB\nMemAvailable:  4000 kB\nHugePages_Total:  0\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes what a system and a container say of themselves."""

    def say(system="", **container):
        (tmp_path / "meminfo").write_text(system)
        for name, text in container.items():
            (tmp_path / f"memory.{name}").write_text(text)
        monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
        monkeypatch.setattr(memory, "_CONTAINER", tmp_path)

    return say


def test_files_that_the_system_keeps_count_as_free(machine):
    machine(SYSTEM)
    assert memory.free_memory(CPU) == 4000 << 10


def test_a_container_has_what_its_limit_leaves(machine):
    machine(SYSTEM, max="3000000\n", current="2500000\n", stat="anon 9\ninactive_file 200000\n")
    assert memory.free_memory(CPU) == 700_000
    machine(SYSTEM, max="9000000000\n")
    assert memory.free_memory(CPU) == 4000 << 10
    machine(SYSTEM, max="max\n")
    assert memory.free_memory(CPU) == 4000 << 10


@pytest.mark.parametrize("system", ["", "MemTotal:  8000000 kB\n", "nothing\n"])
def test_where_the_system_says_nothing_else_its_free_pages_count(machine, monkeypatch, system):
    machine(system)
    monkeypatch.setattr(os, "sysconf", lambda name: 3 if "PAGES" in name else 4096, raising=False)
    assert memory.free_memory(CPU) == 3 * 4096


def test_a_system_without_such_questions_has_two_gigabytes(machine, monkeypatch):
    machine("")
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert memory.free_memory(CPU) == 2 << 30
