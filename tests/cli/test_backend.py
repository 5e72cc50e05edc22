"""``lowdose denoise --backend``."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from lowdose.backends import missing_packages


@pytest.mark.parametrize("backend", ["auto", "torch", "openvino"])
def test_the_record_says_which_backend_computed_a_result(
    backend, call, noisy, tiny_weights, tmp_path
):
    if backend == "openvino" and missing_packages():
        pytest.skip("needs pip install lowdose[openvino]")
    words = ("--model", tiny_weights(), "--device", "cpu", "--backend", backend)
    assert call("denoise", noisy, "-o", tmp_path / "out.mrc", *words).exit_code == 0
    engine = json.loads((tmp_path / "out.mrc.json").read_text())["engine"]
    assert engine["backend"] == {"auto": "torch"}.get(backend, backend)


def test_a_backend_that_is_not_installed_stops_the_whole_batch_once(
    call, noisy, tiny_weights, tmp_path, monkeypatch
):
    def version(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("lowdose.backends.version", version)
    words = ("--model", tiny_weights(), "--device", "cpu", "--backend", "openvino")
    result = call("denoise", noisy, "-o", tmp_path / "out.mrc", *words)
    assert result.exit_code == 2
    assert "pip install 'lowdose[openvino]'" in result.stderr
    assert not (tmp_path / "out.mrc").exists()
