"""Imports point one way: a module may import from those above it in the layout, never below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "lowdose"

# The order of docs/architecture.md; modules on one line do not know each other.
LAYERS = [
    ["errors", "heap", "work"],
    ["memory", "micrograph"],
    ["io", "physics", "metrics", "tiling"],
    ["data"],
    ["models", "records"],
    ["checkpoint"],
    ["export"],
    ["backends"],
    ["corrections", "frame"],
    ["infer"],
    ["trust"],
    ["batch"],
    ["train"],
    ["bench"],
    ["report", "viewer"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def part_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names = [node.module or ""]
            if node.module == "lowdose":
                names = [f"lowdose.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("lowdose.")}
    return parts - {"__version__"}


MODULES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_up(path):
    own = part_of(path)
    for part in imported_parts(path) - {own}:
        assert RANK[part] < RANK[own], f"{own} imports {part}, which lies beside or below it"


def test_every_part_has_a_rank():
    assert {part_of(path) for path in MODULES} <= RANK.keys()


def test_files_are_listed_and_refused_without_a_second_for_torch():
    code = "import sys, lowdose.batch, lowdose.report.facts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
