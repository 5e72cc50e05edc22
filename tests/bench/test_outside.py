"""Methods of others: a function by its name, a program through files."""

import sys

import numpy as np
import pytest

from lowdose.bench import outside
from lowdose.errors import ConfigError, InputError

NOISY = np.random.default_rng(0).poisson(40, (20, 30)).astype(np.float32)
# A program that reads one file and writes another, doubled.
DOUBLE = (
    "import sys, lowdose; m = lowdose.read(sys.argv[1]); "
    "lowdose.write(sys.argv[2], m.with_pixels(2 * m.pixels))"
)


def line(code, *places):
    return f'"{sys.executable}" -c "{code}" {" ".join(places)}'


def test_a_function_is_found_in_a_file_and_in_a_module(callable_file):
    target = f"{callable_file}:halved"
    assert np.array_equal(outside.estimator("callable", target)(NOISY.copy()), NOISY / 2)
    assert np.array_equal(outside.estimator("callable", "numpy:sqrt")(NOISY), np.sqrt(NOISY))


def test_a_function_is_known_by_its_source_not_by_its_place(callable_file, tmp_path):
    first = outside.identity("callable", f"{callable_file}:halved")
    assert str(tmp_path) not in first
    callable_file.write_text(callable_file.read_text() + "# changed\n")
    assert outside.identity("callable", f"{callable_file}:halved") != first


@pytest.mark.parametrize("target", ["no_such_module:f", "numpy", "none.py:f", ":f", "a b:f"])
def test_a_missing_module_is_told(target):
    with pytest.raises(ConfigError, match="no such module"):
        outside.identity("callable", target)


def test_a_missing_function_is_told(callable_file):
    with pytest.raises(ConfigError, match="no function 'other'"):
        outside.estimator("callable", f"{callable_file}:other")


def test_a_file_may_hold_a_dataclass_and_the_name_of_a_module(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import KW_ONLY, dataclass\n"
        "from typing import get_type_hints\n"
        "@dataclass\nclass Options:\n    _: KW_ONLY\n    factor: float = 2.0\n"
        "get_type_hints(Options)\n"
        "def run(noisy):\n    return noisy * Options(factor=3.0).factor\n"
    )
    json = sys.modules["json"]
    assert np.array_equal(outside.estimator("callable", f"{path}:run")(NOISY), 3 * NOISY)
    assert sys.modules["json"] is json


def test_a_file_that_cannot_be_imported_says_why_and_leaves_nothing(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("raise KeyError('weights')\n")
    modules = set(sys.modules)
    with pytest.raises(ConfigError, match=r"mine\.py:run: cannot be imported \(KeyError"):
        outside.estimator("callable", f"{path}:run")
    assert set(sys.modules) == modules


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".tif", ".npy"])
def test_a_program_gets_the_counts_and_gives_its_estimate(suffix):
    command = line(DOUBLE, f"{{input{suffix}}}", f"{{output{suffix}}}")
    assert np.array_equal(outside.run_command(command, NOISY), 2 * NOISY)


COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"


def test_files_carry_counts_exactly():
    assert np.array_equal(outside.run_command(line(COPY, "{input}", "{output}"), NOISY), NOISY)


def test_a_program_runs_where_the_user_is_and_cannot_ask(tmp_path, monkeypatch):
    (tmp_path / "copy.py").write_text(COPY.replace("; ", "\n"))
    monkeypatch.chdir(tmp_path)
    command = f'"{sys.executable}" copy.py {{input}} {{output}}'
    assert np.array_equal(outside.run_command(command, NOISY), NOISY)
    with pytest.raises(ConfigError, match="EOFError"):
        outside.run_command(line("input()", "{input}", "{output}"), NOISY)


def test_a_program_that_makes_a_folder_of_its_output_is_understood():
    code = "import os, shutil, sys; os.mkdir(sys.argv[2]); shutil.copy(sys.argv[1], sys.argv[2])"
    assert np.array_equal(outside.run_command(line(code, "{input}", "{output}"), NOISY), NOISY)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import sys; sys.exit('no weights')", "ended with 1 and said: no weights"),
        ("pass", "left no files"),
        ("import sys, os; os.mkdir(sys.argv[2])", "left 0 files"),
    ],
)
def test_a_program_that_fails_says_why(code, problem):
    with pytest.raises(ConfigError, match=problem):
        outside.run_command(line(code, "{input}", "{output}"), NOISY)


def test_an_output_that_is_no_image_is_refused():
    code = "import sys; open(sys.argv[2], 'w').write('text')"
    with pytest.raises(InputError):
        outside.run_command(line(code, "{input}", "{output}"), NOISY)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("true {input}", "expected both {input} and {output}"),
        ("no-such-program {input} {output}", "no program 'no-such-program'"),
        ('"open {input} {output}', "cannot be split"),
    ],
)
def test_a_command_is_checked_before_the_work(command, problem):
    with pytest.raises(ConfigError, match=problem):
        outside.identity("command", command)


def test_two_lines_of_toml_are_a_method(tmp_path):
    path = tmp_path / "peers.toml"
    path.write_text('[mine]\ncallable = "a.b:c"\n[topaz]\ncommand = "topaz {input} {output}"\n')
    assert outside.read_plugins(path) == {
        "mine": ("callable", "a.b:c"),
        "topaz": ("command", "topaz {input} {output}"),
    }


@pytest.mark.parametrize("text", ["[a", 'a = "b"', "[a]", '[a]\nrun = "b"', "[a]\ncommand = 3"])
def test_other_toml_is_refused(text, tmp_path):
    path = tmp_path / "peers.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"peers\.toml"):
        outside.read_plugins(path)


@pytest.mark.parametrize("text", ["a", "=b", "a="])
def test_a_plugin_has_a_name_and_a_target(text):
    with pytest.raises(ConfigError, match="expected NAME="):
        outside.named_target("callable", text)
