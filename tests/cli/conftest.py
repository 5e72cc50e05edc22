import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lowdose
from lowdose.cli import app
from lowdose.micrograph import Axis, Micrograph


@pytest.fixture
def call() -> Callable:
    """Runs the command line in this process; gives exit_code, stdout and stderr."""

    def run(*words, **keywords):
        result = CliRunner().invoke(app, [str(word) for word in words], **keywords)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def spawn() -> Callable:
    """Starts the command line, or a few lines of Python, in a process of its own."""

    def start(*words, code: str = "", **keywords):
        target = ["-c", code] if code else ["-m", "lowdose"]
        command = [sys.executable, *target, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # Of a pytest started with `&` a child would inherit that SIGINT is ignored; what is
        # caught here is the default there.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(command, **(pipes | keywords))
        finally:
            signal.signal(signal.SIGINT, before)

    return start


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A ramp of counts with a pixel size, as MRC."""
    ramp = np.random.default_rng(0).poisson(np.linspace(10, 60, 96), (80, 96)).astype(np.uint16)
    path = tmp_path / "noisy.mrc"
    lowdose.write(path, Micrograph(ramp, (Axis("y", 0.5, "nm"), Axis("x", 0.5, "nm"))))
    return path
