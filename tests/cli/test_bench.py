"""``lowdose bench``: one command from truths to a page; the same command again, the same bits."""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import lowdose
from lowdose.micrograph import Micrograph


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    y, x = np.mgrid[:64, :64]
    for k in (3, 4, 5):
        wave = (np.sin(x / k) * np.cos(y / 7)).astype(np.float32)
        lowdose.write(folder / f"wave__{k}.npy", Micrograph(wave))
    return folder


def words(clean, folder, *more):
    return ("bench", clean, "-o", folder, "--workers", "1", *more)


def lasting(folder):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix in (".csv", ".md", ".json", ".png") and "timing" not in path.name
    }


def test_the_same_command_gives_the_same_bits_and_computes_nothing_twice(call, clean, tmp_path):
    more = ("--method", "median", "--dose", "low", "--dose", "50")
    first = call(*words(clean, tmp_path / "a", *more))
    assert first.exit_code == 0
    assert first.stdout.splitlines()[0] == "12 results computed, 12 in all"
    kept = lasting(tmp_path / "a")
    again = call(*words(clean, tmp_path / "a", *more))
    assert again.stdout.splitlines()[0] == "0 results computed, 12 in all"
    assert call(*words(clean, tmp_path / "b", *more)).exit_code == 0
    assert lasting(tmp_path / "a") == lasting(tmp_path / "b") == kept
    assert {"bench.md", "bench-scores.csv", "bench-low-density.png", "bench-50-fourier.png"} <= set(
        kept
    )
    with open(tmp_path / "a" / "bench-timing.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 12


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of children here")
def test_a_killed_run_leaves_no_worker_and_ends_with_the_same_bits(call, spawn, clean, tmp_path):
    more = ("--method", "wavelet:tuned", "--method", "bregman", "--dose", "low", "--seed", "0",
            "--seed", "1", "--seed", "2", "--workers", "2")  # fmt: skip
    slow = tmp_path / "slow.py"
    slow.write_text("import time\n\ndef run(noisy):\n    time.sleep(0.5)\n    return noisy\n")
    command = (*words(clean, tmp_path / "cut"), *more, "--plugin", f"slow={slow}:run")
    process = spawn(*command)
    results = tmp_path / "cut" / "results.jsonl"
    while process.poll() is None and not (results.exists() and results.stat().st_size):
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "workers outlive the run"
        time.sleep(0.05)
    done = int(call(*command).stdout.split()[0])
    assert 0 < done < 36
    whole = (*words(clean, tmp_path / "whole"), *command[6:])
    assert call(*whole).stdout.startswith("36 results computed")
    assert lasting(tmp_path / "cut") == lasting(tmp_path / "whole")


def test_a_peer_needs_two_lines_and_no_code(call, clean, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def same(noisy):\n    return noisy\n")
    plugins = tmp_path / "peers.toml"
    plugins.write_text(f'[third]\ncallable = "{mine}:same"\n')
    code = "import shutil, sys; shutil.copy(*sys.argv[1:])"
    copy = f'"{sys.executable}" -c "{code}" {{input}} {{output}}'
    more = ("--dose", "20", "--plugin", f"first={mine}:same", "--command", f"second={copy}",
            "--plugins", plugins)  # fmt: skip
    result = call(*words(clean, tmp_path / "run", *more))
    assert result.exit_code == 0, result.stderr
    with open(tmp_path / "run" / "bench-scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("first", "second", "third"):
        ratios = [float(row["error_ratio"]) for row in rows if row["method"] == name]
        assert ratios == [1, 1, 1]


def test_pages_go_where_they_are_asked_for(call, clean, tmp_path, tiny_weights):
    names = tmp_path / "names.txt"
    names.write_text("wave__3.npy\nwave__4.npy\n")
    more = ("--preset", "quality", "--names", names, "--pages", tmp_path / "docs", "--method",
            tiny_weights(), "--dose", "low")  # fmt: skip
    assert call(*words(clean, tmp_path / "run", *more)).exit_code == 0
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"quality.md", "quality.json"}
    page = (tmp_path / "docs" / "quality.md").read_text("utf-8")
    for part in (
        "## 2 images, low dose",
        "## 3 images, low dose",
        "| 100000 | tiny |",
        "tiny:gain",
    ):
        assert part in page


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--method", "much"], "there is no method 'much'"),
        (["--dose", "much"], "dose is 'much'"),
        (["--plugin", "mine"], "expected NAME="),
        (["--method", "a=median", "--method", "a=wiener"], "two methods are called a"),
        (["--example", "none.png"], "names no truth"),
        (["--manifest", "none.csv"], "none.csv"),
    ],
)
def test_nonsense_is_told_before_the_work(more, problem, call, clean, tmp_path):
    result = call(*words(clean, tmp_path / "run", *more))
    assert result.exit_code == 2
    assert problem in result.stderr
    assert not list((tmp_path / "run").glob("*.csv"))


@pytest.mark.parametrize(("found", "expected"), [("cpu", 3), ("cuda", 1)])
def test_processes_are_as_asked_for_unless_there_is_a_gpu(found, expected, monkeypatch):
    from lowdose.cli.bench import _processes

    monkeypatch.setattr("lowdose.infer.pick_device", lambda name: torch.device(found))
    assert _processes(3, "auto") == expected


def test_methods_are_listed(call):
    text = call("bench", "--list-methods").stdout
    for name in ("nl-means", "bm3d", "everyday", "NAME:tuned", "PATH.safetensors"):
        assert f"\n{name} " in text
