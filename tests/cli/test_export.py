"""``lowdose export``."""

import sys

import pytest


def test_export_writes_a_file_and_says_how_to_run_it(call, tiny_weights, tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "tiny.onnx"
    result = call("export", tiny_weights(), "-o", path)
    assert result.exit_code == 0
    assert path.stat().st_size > 1000
    facts = dict(
        line.split(maxsplit=1) for line in result.stdout.splitlines()[1:] if line.split()[1:]
    )
    assert facts["predicts"] == "noise"
    assert facts["inputs"] == "image, level"
    again = call("export", tiny_weights(), "-o", path)
    assert (again.exit_code, "--overwrite" in again.stderr) == (5, True)
    assert call("export", tiny_weights(), "-o", path, "--overwrite").exit_code == 0


def test_a_name_that_is_no_onnx_file_is_refused(call, tiny_weights, tmp_path):
    result = call("export", tiny_weights(), "-o", tmp_path / "tiny.pt")
    assert result.exit_code == 2
    assert "ends in .onnx" in result.stderr


def test_without_onnx_it_ends_in_a_sentence(call, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = call("export", tiny_weights(), "-o", tmp_path / "tiny.onnx")
    assert result.exit_code == 3
    assert "pip install 'lowdose[onnx]'" in result.stderr
    assert not (tmp_path / "tiny.onnx").exists()
