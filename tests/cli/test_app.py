"""The command itself: quick to answer, and torch stays out of it."""

import os
from pathlib import Path

import pytest

import lowdose

COMMANDS = (
    "denoise", "info", "simulate", "demo", "evaluate", "bench", "models", "train",
    "export", "convert-ede2018", "dataset", "doctor",
)  # fmt: skip


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_answers_with_an_example(command, call):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "  lowdose " in result.stdout
    assert "Parameters" not in result.stdout


def test_help_lists_every_command_and_exit_code(call):
    text = call("--help").stdout
    assert all(f"\n  {name}" in text for name in COMMANDS)
    assert "Exit codes" in text


def test_version(call):
    assert call("--version").stdout == f"lowdose {lowdose.__version__}\n"


def test_usage_errors_exit_with_2(call):
    assert call("denoise").exit_code == 2
    assert call("no-such-command").exit_code == 2
    assert call("denoise", "a.mrc", "--gain", "much").exit_code == 2


HEAVY = "import sys; sys.exit(' '.join({'torch', 'numpy', 'rich.console'} & sys.modules.keys()))"


@pytest.mark.parametrize(
    "code",
    [
        "import lowdose",
        "import lowdose.cli",
        "from typer.testing import CliRunner as R; from lowdose.cli import app; "
        "R().invoke(app, ['--help'])",
    ],
)
def test_neither_import_nor_help_loads_anything_heavy(code, spawn):
    process = spawn(code=f"{code}; {HEAVY}")
    _, found = process.communicate(timeout=60)
    assert found.strip() == ""


def test_info_and_models_do_not_load_torch(spawn, noisy):
    code = (
        "import sys; from typer.testing import CliRunner as R; from lowdose.cli import app; "
        "r = [R().invoke(app, a) for a in (['info', sys.argv[1]], ['models'])]; "
        "print([x.exit_code for x in r], 'torch' in sys.modules)"
    )
    out, _ = spawn(noisy, code=code).communicate(timeout=60)
    assert out.split() == ["[0,", "0]", "False"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_the_output_ends_in_one_line(spawn, noisy):
    with open("/dev/full", "w") as full:
        process = spawn("info", noisy, stdout=full)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert err == "lowdose: output: No space left on device\n"


def test_a_terminal_without_a_letter_is_told_its_number(spawn, noisy):
    path = noisy.rename(noisy.with_name("ω.mrc"))
    process = spawn(
        "info", path, encoding="latin-1", env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\\u03c9.mrc\n" in out


def test_a_folder_that_is_a_file_ends_in_one_line(call, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text("data = { simulated = 1, patch = 32, validation_patch = 32 }\n")
    result = call("train", config, "--folder", config, "--device", "cpu")
    assert result.exit_code == 5
    assert result.stderr == f"lowdose: {config}: File exists\n"
