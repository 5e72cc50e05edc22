"""The command itself: quick to answer, and torch stays out of it."""

import pytest

import lowdose

COMMANDS = ("denoise", "info", "simulate", "demo", "evaluate", "models", "train")


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
