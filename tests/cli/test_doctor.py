"""``lowdose doctor`` tells what there is, and never fails on what there is not."""

import json
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch

import lowdose
from lowdose.infer import Denoiser
from lowdose.report import doctor


@pytest.fixture
def bare(monkeypatch):
    """An installation without any optional package."""

    def version(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("lowdose.report.doctor.version", version)
    monkeypatch.setattr("lowdose.backends.version", version)


def test_what_it_says_of_auto_is_what_a_denoiser_does(call):
    result = call("doctor", "--json")
    assert result.exit_code == 0
    auto = json.loads(result.stdout)["auto"]
    denoiser = Denoiser("atrous-narrow-low")
    assert auto["device"]["choice"] == str(denoiser.device)
    assert auto["precision"]["choice"] == str(denoiser.dtype).removeprefix("torch.")
    assert auto["backend"]["choice"]["networks that predict image"] == denoiser.backend


def test_text_and_json_tell_the_same(call):
    text, found = call("doctor").stdout, json.loads(call("doctor", "--json").stdout)
    assert (found["lowdose"], found["torch"]["version"]) == (lowdose.__version__, torch.__version__)
    for part in (
        lowdose.__version__, found["system"], found["processor"]["name"], torch.__version__,
        *(each["why"] for each in found["auto"].values()),
        *(option["package"] for option in found["options"]),
    ):  # fmt: skip
        assert part in text


def test_missing_packages_are_named_with_what_they_cost_and_how_to_get_them(call, bare):
    result = call("doctor")
    assert result.exit_code == 0
    for option in doctor.OPTIONS:
        line = f"{option.package} is missing: {option.without}. pip install '{option.install}'\n"
        assert line in result.stdout
    assert "networks that predict image torch" in result.stdout


def test_without_torch_it_still_tells_the_rest(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = call("doctor", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert "torch" in found["torch"]["problem"]
    assert found["options"]
    assert "auto" not in found


@pytest.mark.parametrize("built", ["12.8", None])
def test_it_says_whether_there_is_no_graphics_card_or_torch_cannot_use_one(
    built, call, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(sys, "platform", "linux")
    expected = "finds no graphics card" if built else "was built without CUDA"
    assert expected in call("doctor").stdout


def test_the_first_lines_need_no_torch(spawn):
    code = (
        "import sys; from lowdose.report.doctor import examine; parts = examine(); "
        "print([next(parts)[0] for _ in range(5)], 'torch' in sys.modules)"
    )
    out, _ = spawn(code=code).communicate(timeout=60)
    assert out == "['lowdose', 'python', 'system', 'processor', 'options'] False\n"
