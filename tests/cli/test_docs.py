"""The documentation against the program and against itself."""

import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowdose.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPED = {("bench", "speed"), ("dataset", "build"), ("dataset", "check")}


def commands(page):
    """Words after each `lowdose` of a page, in blocks and between backquotes."""
    prose, *rest = page.read_text("utf-8").split("```")
    lines = [line for block in rest[::2] for line in block.splitlines()]
    for text in [*lines, *re.findall(r"`([^`]*)`", "".join([prose, *rest[1::2]]))]:
        words = shlex.split(text, comments=True) if "lowdose " in text else []
        for place, (before, word) in enumerate(pairwise(["|", *words])):
            if word == "lowdose" and before in ("|", "-m"):
                yield words[place + 1 :]


@cache
def help_of(*command):
    return CliRunner().invoke(app, [*command, "--help"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_commands_are_those_of_the_program(page):
    for words in commands(page):
        is_plain = not words or words[0].startswith("-")
        command = [] if is_plain else words[: 2 if tuple(words[:2]) in GROUPED else 1]
        result = help_of(*command)
        assert result.exit_code == 0, shlex.join(words)
        options = [word for word in words if re.match("--?[a-z]", word)]
        listed = re.findall(r"^ +(?:-\w, )?-.*$", result.stdout, re.MULTILINE)
        known = {option for line in listed for option in re.findall(r"(?<=[\s,])--?[\w-]+", line)}
        assert set(options) <= known, shlex.join(words)


def test_figures_of_the_readme_are_those_measured():
    rows = {}
    for line in (ROOT / "docs/quality.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10 and cells[0] != "method":
            error, similarity, psnr = (cells[place].split(" ")[0] for place in (1, 3, 5))
            rows.setdefault(cells[0], []).append((error, similarity, f"{psnr} dB"))
    names = {"GAT + BM3D": "bm3d", "lowdose": "everyday"}
    doses = {}
    for line in (ROOT / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip("* ") for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[3].endswith("dB"):
            *dose, name = cells[0].replace("lowdose `", "`").replace("`", "").split(": ")
            doses |= {dose[0]: len(doses)} if dose else {}
            name = "none" if name == "noisy" else names.get(name, name)
            assert tuple(cells[1:]) == rows[name][len(doses) - 1], line
    assert len(doses) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_have_a_heading(page):
    """A blank line within a table makes the rest of it plain text."""
    lines = ["", *page.read_text("utf-8").splitlines(), ""]
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("|") and not before.startswith("|"):
            assert re.match(r"\|[-:| ]+\|$", after), line
