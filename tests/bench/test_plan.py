"""Plans: presets, splits, and names that do not clash."""

import pytest

from lowdose.bench.methods import Spec, parse_method
from lowdose.bench.plan import (
    PRESETS,
    Choices,
    Subject,
    read_splits,
    spread_examples,
)
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError


def labels(section):
    return [spec.label for spec in section.methods]


def test_the_papers_table_has_ten_methods_at_two_doses(truths):
    network = [parse_method("network@low=everyday"), parse_method("network@ordinary=everyday")]
    (section,) = PRESETS["paper"](Choices(truths, truths, methods=network))
    assert section.laws == ("low", "ordinary")
    for law in section.laws:
        assert [spec.label for spec in section.methods_at(law)] == [
            "none", "gaussian", "bilateral", "median", "wiener", "wavelet", "chambolle", "bregman",
            "nl-means", "network",
        ]  # fmt: skip


def at(section, law):
    return {spec.label: spec.target for spec in section.methods_at(law)}


def test_the_papers_network_serves_both_low_doses(truths):
    (section,) = PRESETS["paper"](Choices(truths, truths, laws=("low", "low-uniform", 50.0)))
    assert at(section, "low")["network"] == "atrous-narrow-low"
    assert at(section, "low-uniform")["network"] == "atrous-narrow-low"
    assert "network" not in at(section, 50.0)


def test_only_a_network_takes_the_place_of_the_papers(truths):
    def at_low(*methods):
        (section,) = PRESETS["paper"](Choices(truths, truths, ("low",), methods))
        return list(at(section, "low").items())[9:]

    shipped, peer = ("network", "atrous-narrow-low"), Spec("mine", "a:b", "callable")
    assert at_low(peer) == [shipped, ("mine", "a:b")]
    assert at_low(parse_method("bm3d")) == [shipped, ("bm3d", "bm3d")]
    assert at_low(parse_method("everyday")) == [("everyday", "everyday")]
    assert at_low(Spec("network", "a:b", "callable")) == [("network", "a:b")]


def test_a_network_takes_the_place_of_the_papers_at_its_own_dose_alone(truths):
    mine = parse_method("network@ordinary=everyday")
    (section,) = PRESETS["paper"](Choices(truths, truths, methods=[mine]))
    assert at(section, "low")["network"] == "atrous-narrow-low"
    assert at(section, "ordinary")["network"] == "everyday"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_method_that_runs_at_no_dose_asked_for_is_refused(preset, truths):
    methods = [parse_method("net@low=everyday")]
    with pytest.raises(ConfigError, match="'net' runs at dose low alone, but the doses are 50"):
        PRESETS[preset](Choices(truths, truths, (50.0,), methods))
    both = [*methods, parse_method("net@ordinary=everyday")]  # a row that is there at one of them
    assert PRESETS[preset](Choices(truths, truths, ("low",), both))


def test_only_a_network_that_can_be_told_is_measured_told(truths, monkeypatch):
    monkeypatch.setattr("lowdose.bench.plan.has_bm3d", lambda: False)

    def few(*methods):
        return labels(PRESETS["quality"](Choices(truths, truths[:2], methods=methods))[0])

    assert few(parse_method("median")) == ["none", "median"]
    assert few(Spec("mine", "a:b", "callable")) == ["none", "mine"]
    told = parse_method("everyday:gain-known")
    assert few(told) == ["none", "everyday:gain-known"]
    assert few(parse_method("everyday"), told) == ["none", "everyday", "everyday:gain-known"]


def test_a_network_for_each_dose_is_told_at_that_dose(truths):
    methods = [parse_method("net@low=a.safetensors"), parse_method("net@ordinary=b.safetensors")]
    sections = PRESETS["quality"](Choices(truths, truths[:2], methods=methods))
    assert len(sections) == 2  # neither runs at high doses
    for law, weights in (("low", "a.safetensors"), ("ordinary", "b.safetensors")):
        found = at(sections[1], law)
        assert found == {"none": "none", "net": weights, "net:gain-known": f"{weights}:gain-known"}


def test_quality_compares_with_bm3d_on_few_and_looks_at_high_doses_on_all(truths, monkeypatch):
    monkeypatch.setattr("lowdose.bench.plan.has_bm3d", lambda: True)
    few, every, high = PRESETS["quality"](Choices(truths, truths[:2]))
    assert labels(few) == ["none", "everyday", "everyday:gain-known", "bm3d"]
    assert labels(every) == ["none", "everyday", "everyday:gain-known"]
    assert labels(high) == ["none", "everyday"]
    assert (len(few.subjects), len(every.subjects), len(high.subjects)) == (2, 4, 4)
    assert min(high.laws) == 1000


def test_classical_filters_come_in_three_kinds(truths):
    (section,) = PRESETS["classical"](Choices(truths, truths))
    assert {"wavelet", "wavelet:tuned", "wavelet:anscombe:tuned"} <= set(labels(section))


def test_two_methods_of_one_name_are_refused(truths):
    twice = [parse_method("a=median"), parse_method("a=wiener")]
    with pytest.raises(ConfigError, match="two methods are called a at dose low"):
        PRESETS["bench"](Choices(truths, truths, methods=twice))
    apart = [parse_method("a@low=median"), parse_method("a@ordinary=wiener")]
    assert PRESETS["bench"](Choices(truths, truths, methods=apart))


def test_the_noisy_image_is_always_there_and_once(truths):
    (section,) = PRESETS["bench"](Choices(truths, truths, methods=[parse_method("none")]))
    assert labels(section) == ["none"]


def test_a_truth_is_known_by_its_pixels(truths):
    first = Subject(truths[0]).sha256
    assert Subject(truths[0]).sha256 == first
    assert Subject(truths[1]).sha256 != first
    flat = Truth(truths[0].pixels.reshape(32, 128), 0.0, 255.0, "a", "b")
    assert Subject(flat).sha256 != first


def test_a_manifest_splits_truths(truths, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(
        "file,modality,sigma_over_range\n"
        "test/sem__0.png,sem,0.01\ntest/sem__1.png,sem,0.03\n"
        "test/tem__2.png,tem,0.019\ntest/tem__3.png,tem,\n"
    )
    splits = read_splits(path, truths)
    assert splits["modality sem"] == {"sem__0.png", "sem__1.png"}
    assert splits["sigma/range < 0.02"] == {"sem__0.png", "tem__2.png"}
    assert splits["group tem"] == {"tem__2.png", "tem__3.png"}


def test_a_manifest_may_begin_with_a_byte_order_mark(truths, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("file\nsem__0.png\nsem__1.png\n", encoding="utf-8-sig")
    assert read_splits(path, truths) == {"group sem": {"sem__0.png", "sem__1.png"}}


@pytest.mark.parametrize("text", ["", "name\na\n", "file\nother.png\n"])
def test_a_manifest_that_fits_no_truth_is_refused(text, truths, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.csv"):
        read_splits(path, truths)
    with pytest.raises(ConfigError, match=r"none\.csv"):
        read_splits(tmp_path / "none.csv", truths)


def test_examples_are_spread(truths):
    assert spread_examples(truths, 2) == ["sem__0.png", "tem__2.png"]
    assert len(spread_examples(truths, 9)) == 4
