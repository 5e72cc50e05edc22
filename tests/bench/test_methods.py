"""Methods by name: what is asked for is what runs, and what it depends on is told."""

import numpy as np
import pytest

from lowdose.bench.methods import Spec, build, catalogue, identity, parse_method
from lowdose.errors import ConfigError, MissingExtraError
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel

NOISY = np.random.default_rng(0).poisson(40, (64, 64)).astype(np.float32)


def test_a_label_and_a_law_stand_before_the_method():
    assert parse_method("wavelet:tuned") == Spec("wavelet:tuned", "wavelet:tuned")
    assert parse_method("w=wavelet") == Spec("w", "wavelet")
    assert parse_method("w@1000=wavelet") == Spec("w", "wavelet", law=1000.0)
    assert parse_method("w@low=wavelet").runs_at("low")
    assert not parse_method("w@low=wavelet").runs_at("ordinary")
    assert parse_method("wavelet").runs_at("ordinary")


@pytest.mark.parametrize(
    "text", ["=wavelet", "w=", "w@much=wavelet", "wavelet:quick", "none:tuned"]
)
def test_nonsense_is_refused(text):
    with pytest.raises(ConfigError):
        parse_method(text)


def test_weights_are_known_by_their_hash_not_by_their_place(tiny_weights, tmp_path):
    path = tiny_weights()
    moved = tmp_path / "a=b" / path.name
    moved.parent.mkdir()
    for suffix in (".safetensors", ".json"):
        moved.with_suffix(suffix).write_bytes(path.with_suffix(suffix).read_bytes())
    specs = [parse_method(str(place)) for place in (path, moved)]
    assert [spec.label for spec in specs] == ["tiny", "tiny"]
    assert identity(specs[0], device="cpu") == identity(specs[1], device="cpu")
    assert str(tmp_path) not in identity(specs[0], device="cpu")
    told = parse_method(f"{path}:gain-known")
    assert told.label == "tiny:gain-known"
    assert identity(told, device="cpu") != identity(specs[0], device="cpu")


def test_a_network_is_run_as_users_run_it(tiny_weights):
    path, micrograph = tiny_weights(), Micrograph(NOISY)
    denoiser = Denoiser(str(path), device="cpu")
    blind = build(parse_method(str(path)), device="cpu").run(NOISY)
    told = build(parse_method(f"{path}:gain-known"), device="cpu").run(NOISY)
    assert np.array_equal(blind, denoiser(micrograph).micrograph.pixels)
    expected = denoiser(micrograph, noise=NoiseModel(1.0)).micrograph.pixels
    assert np.array_equal(told, expected)


def test_the_paper_clips_networks_alone(tiny_weights):
    assert build(parse_method(str(tiny_weights())), device="cpu").is_clipped
    assert not build(parse_method("wavelet")).is_clipped
    assert not build(parse_method("none")).is_clipped


def test_what_is_no_method_is_told_before_the_work():
    with pytest.raises(ConfigError, match="there is no method 'much'"):
        identity(parse_method("much"))


def test_a_package_that_is_missing_is_named(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("lowdose.bench.methods.version", absent)
    with pytest.raises(MissingExtraError, match=r"opencv.* pip install lowdose\[bench\]"):
        identity(parse_method("median"))
    with pytest.raises(MissingExtraError, match="non-commercial"):
        identity(parse_method("bm3d"))


def test_the_catalogue_names_every_filter():
    assert {"none", "gaussian", "nl-means", "bm3d", "everyday"} <= catalogue().keys()
