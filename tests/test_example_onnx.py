"""The example for Node.js gives what the package gives."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lowdose.export import export_onnx
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_denoise"

pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (EXAMPLE / "node_modules" / "onnxruntime-node").is_dir(),
    reason="needs Node.js, and `npm install` in examples/onnx_denoise",
)


@pytest.mark.parametrize(
    ("model", "noise"),
    [
        ("everyday", NoiseModel(1.0)),
        ("everyday", NoiseModel(2.5, offset=100.0, readout_std=3.0)),
        ("atrous-narrow-ordinary", NoiseModel(1.0)),
    ],
)
def test_the_example_gives_what_the_package_gives(model, noise, tmp_path, monkeypatch):
    monkeypatch.setattr(Denoiser, "_share", lambda *_: 1.0)  # the example leaves it out
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 400, 150) * np.ones((110, 1))
    image = noise.to_pixels(rng.poisson(ramp).astype("f4"))
    image += np.float32(noise.readout_std) * rng.standard_normal(image.shape, "f4")
    denoiser = Denoiser(model, device="cpu", precision="float32")
    expected = denoiser(Micrograph(image), noise=noise).micrograph.pixels
    network, source, target = (tmp_path / name for name in ("a.onnx", "a.f32", "b.f32"))
    export_onnx(model, network)
    image.astype("<f4").tofile(source)
    options = {
        "--width": 150, "--height": 110, "--gain": noise.gain, "--offset": noise.offset,
        "--readout": noise.readout_std,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    command = ["node", EXAMPLE / "denoise.mjs", network, source, target, *words]
    subprocess.run(command, check=True, timeout=120)
    result = np.fromfile(target, "<f4").reshape(image.shape)
    assert np.abs(expected - image).mean() > 2
    assert np.abs(result - expected).max() < 1e-3 * noise.gain
