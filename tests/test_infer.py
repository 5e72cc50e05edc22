from pathlib import Path

import numpy as np
import pytest
import torch

from lowdose import infer, memory
from lowdose.checkpoint import save_weights
from lowdose.errors import ConfigError, NoiseModelError, OutputError, WeightsError
from lowdose.infer import Denoiser, denoise, pick_device, pick_precision
from lowdose.micrograph import Axis, Micrograph
from lowdose.models.catalog import build
from lowdose.physics.dose import NoiseModel
from lowdose.records import Record

COUNTS = NoiseModel(1.0)


def micrograph(shape, mean=30.0, dtype="u2"):
    rng = np.random.default_rng(0)
    slope = np.linspace(0.5, 1.5, shape[-1])
    return Micrograph(rng.poisson(mean * slope, shape).astype(dtype))


@pytest.fixture
def tiny(tiny_weights):
    """Denoisers in float32 on the CPU that share one file of weights."""
    path = str(tiny_weights())
    return lambda **options: Denoiser(path, **{"device": "cpu", "precision": "float32"} | options)


def noise_units(found, expected, noise):
    """Largest difference in deviations of the noise."""
    difference = np.abs(np.float64(found) - np.float64(expected))
    return (difference / np.maximum(noise.noise_std(expected), noise.gain)).max()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (33, 17), (64, 64), (200, 333)])
@pytest.mark.parametrize("noise", [COUNTS, NoiseModel(7.3, offset=-50.0, readout_std=20.0)])
def test_tiled_equals_untiled(shape, noise, tiny):
    image = micrograph(shape)
    whole = tiny(tile=1024)(image, noise=noise).micrograph.pixels
    tiled = tiny(tile=64)(image, noise=noise).micrograph.pixels
    assert tiled.shape == shape
    assert noise_units(tiled, whole, noise) < 1e-4


def test_a_halo_too_small_would_show(tiny, monkeypatch):
    image = micrograph((200, 333))
    whole = tiny(tile=1024)(image, noise=COUNTS).micrograph.pixels
    denoiser = tiny(tile=64)
    monkeypatch.setattr(type(denoiser._network), "reach", 0)
    tiled = denoiser(image, noise=COUNTS).micrograph.pixels
    assert noise_units(tiled, whole, COUNTS) > 0.01


def test_the_network_of_these_tests_does_something(tiny):
    image = micrograph((64, 64))
    result = tiny()(image, noise=COUNTS).micrograph.pixels
    assert np.abs(result - image.pixels).mean() > 1


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8", ">f4", ">u2"])
def test_the_type_of_the_pixels_does_not_matter_and_the_result_is_float32(dtype, tiny):
    expected = tiny()(micrograph((40, 50)), noise=COUNTS).micrograph.pixels
    result = tiny()(micrograph((40, 50), dtype=dtype), noise=COUNTS).micrograph.pixels
    assert result.dtype == np.float32
    assert np.array_equal(result, expected)


def test_a_stack_is_its_frames_one_by_one(tiny):
    stack = micrograph((3, 40, 50))
    denoiser = tiny()
    together = denoiser(stack, noise=COUNTS).micrograph.pixels
    for frame, result in zip(stack.frames(), together, strict=True):
        alone = denoiser(Micrograph(frame), noise=COUNTS).micrograph.pixels
        assert np.array_equal(result, alone)


def test_a_stack_of_one_stays_a_stack(tiny):
    assert tiny()(micrograph((1, 20, 30)), noise=COUNTS).micrograph.shape == (1, 20, 30)


def test_frames_of_a_stack_share_one_estimate(tiny):
    stack = micrograph((3, 64, 64))
    assert tiny()(stack).noise.gain == 1


def test_the_input_is_never_written_to_even_through_a_map(tmp_path, tiny):
    path = tmp_path / "image.npy"
    np.save(path, micrograph((70, 90)).pixels)
    before = path.read_bytes()
    mapped = Micrograph(np.load(path, mmap_mode="r"))
    in_memory = Micrograph(np.load(path))
    in_memory.pixels.setflags(write=False)
    results = [
        tiny(tile=64)(image, noise=COUNTS).micrograph.pixels for image in (mapped, in_memory)
    ]
    assert np.array_equal(*results)
    assert not np.shares_memory(results[1], in_memory.pixels)
    assert path.read_bytes() == before


def test_a_view_with_strides_is_read_as_it_looks(tiny):
    pixels = micrograph((40, 60)).pixels
    turned = Micrograph(pixels[::-1, ::2])
    straight = Micrograph(turned.pixels.copy())
    results = [tiny()(image, noise=COUNTS).micrograph.pixels for image in (turned, straight)]
    assert np.array_equal(*results)


@pytest.mark.parametrize("image", [Micrograph(np.full((50, 40), 7, "i4")), micrograph((5, 6))])
def test_an_image_without_measurable_noise_is_returned_as_it_is(image, tiny):
    result = tiny()(image)
    assert result.noise.is_noise_free
    assert result.micrograph.pixels.dtype == np.float32
    assert np.array_equal(result.micrograph.pixels, image.pixels)
    assert not np.shares_memory(result.micrograph.pixels, image.pixels)


def test_gain_and_offset_are_taken_off_and_put_back(tiny):
    image = micrograph((40, 50))
    scaled = Micrograph(4.0 * image.pixels + 1000)
    plain = tiny()(image, noise=COUNTS).micrograph.pixels
    result = tiny()(scaled, noise=NoiseModel(4.0, offset=1000.0)).micrograph.pixels
    np.testing.assert_allclose(result, 4 * plain + 1000, rtol=1e-6)


def test_counts_never_become_negative(tiny):
    image = micrograph((64, 64), mean=0.2)
    assert tiny()(image, noise=COUNTS).micrograph.pixels.min() >= 0


def test_calibration_stays_and_history_says_what_was_done(tiny):
    image = Micrograph(
        micrograph((64, 64)).pixels,
        axes=(Axis("y", 0.1, "nm"), Axis("x", 0.2, "nm")),
        metadata={"voltage_kv": 300},
        history=("acquired",),
    )
    denoiser = tiny()
    result = denoiser(image).micrograph
    assert (result.axes, result.metadata) == (image.axes, image.metadata)
    assert result.history[0] == "acquired"
    (note,) = result.history[1:]
    assert note.startswith("lowdose ")
    assert denoiser.record.label in note
    assert note.endswith("gain 1")


def test_progress_counts_every_pixel_once(tiny):
    told = []
    stack = micrograph((2, 70, 40))
    tiny(tile=64)(stack, noise=COUNTS, progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [stack.pixels.size] * len(told)
    done = [done for done, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == stack.pixels.size
    assert len(told) == 2 * 2 * 1


@pytest.mark.parametrize("system", ["Linux", "macOS"])
def test_a_result_too_large_for_memory_lies_in_a_nameless_file(tiny, monkeypatch, tmp_path, system):
    image = micrograph((64, 80))
    expected = tiny(tile=64)(image, noise=COUNTS).micrograph.pixels
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    if system == "macOS":
        monkeypatch.delattr("os.posix_fallocate", raising=False)
    result = tiny(tile=64)(image, noise=COUNTS).micrograph.pixels
    assert isinstance(result, np.memmap)
    assert np.array_equal(result, expected)
    assert not list((tmp_path / "scratch").iterdir())


def test_no_room_for_the_result_is_said_before_the_work(tiny, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match="TMPDIR"):
        tiny()(micrograph((64, 64)), noise=COUNTS)


def test_little_memory_means_small_tiles_and_the_same_result(tiny, monkeypatch):
    image = micrograph((300, 300))
    expected = tiny()(image, noise=COUNTS).micrograph.pixels
    calls = []
    monkeypatch.setattr(infer, "free_memory", lambda device: 1 << 21)
    denoiser = tiny()
    result = denoiser(image, noise=COUNTS, progress=lambda *_: calls.append(1)).micrograph.pixels
    assert len(calls) == 4
    assert noise_units(result, expected, COUNTS) < 1e-4


def test_bf16_is_close_to_float32(tiny):
    image = micrograph((64, 64))
    exact = tiny()(image, noise=COUNTS).micrograph.pixels
    rough = tiny(precision="bf16")(image, noise=COUNTS).micrograph.pixels
    taken_off = np.sqrt(np.mean((exact - image.pixels) ** 2))
    assert np.sqrt(np.mean((rough - exact) ** 2)) < 0.02 * taken_off


def test_the_same_image_gives_the_same_result_again(tiny):
    denoiser, image = tiny(), micrograph((64, 64))
    first, again = (denoiser(image, noise=COUNTS).micrograph.pixels for _ in "12")
    assert np.array_equal(first, again)


def test_one_hot_pixel_stays_one_hot_pixel(tiny):
    image = micrograph((128, 128), mean=100)
    hot = image.pixels.astype("f4")
    hot[60, 60] = 1e5
    plain, marked = (
        tiny()(Micrograph(pixels), noise=COUNTS).micrograph.pixels for pixels in (image.pixels, hot)
    )
    assert marked[60, 60] == pytest.approx(1e5, rel=0.05)
    reach = 32
    far = np.ones((128, 128), bool)
    far[60 - reach : 61 + reach, 60 - reach : 61 + reach] = False
    assert noise_units(marked[far], plain[far], COUNTS) < 0.1


@pytest.mark.parametrize("noise", [None, COUNTS])
def test_a_nan_is_refused_rather_than_spread(noise, tiny):
    pixels = micrograph((64, 64), dtype="f4").pixels
    pixels[3, 4] = np.nan
    with pytest.raises(NoiseModelError, match="NaN"):
        tiny()(Micrograph(pixels), noise=noise)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "most"), [("float32", 0.01), ("bf16", 0.2)])
def test_cuda_equals_cpu(precision, most, tiny):
    image = micrograph((200, 333))
    expected = tiny()(image, noise=COUNTS).micrograph.pixels
    denoiser = tiny(device="cuda", precision=precision, tile=64)
    result = denoiser(image, noise=COUNTS).micrograph.pixels
    assert noise_units(result, expected, COUNTS) < most


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cuda:-1", "meta", ""])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="device"):
        pick_device(name)


def test_auto_is_always_there():
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    assert pick_precision("auto", pick_device("auto")) in {torch.bfloat16, torch.float32}


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_auto_takes_bf16_only_where_a_graphics_card_has_it_natively(
    capability, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert pick_precision("auto", torch.device("cuda")) == expected


def test_a_precision_that_does_not_exist_is_refused(tiny):
    with pytest.raises(ConfigError, match="precision"):
        tiny(precision="float16")


@pytest.mark.parametrize("tile", [63, 0, -64])
def test_a_tile_smaller_than_64_pixels_is_refused(tile, tiny):
    with pytest.raises(ConfigError, match="tile side"):
        tiny(tile=tile)


def test_unknown_weights_are_refused():
    with pytest.raises(WeightsError, match="neither shipped"):
        denoise(micrograph((8, 8)), model="unheard-of")


def test_a_network_that_takes_texture_for_noise_is_held_back_at_high_dose(tiny):
    """The untrained tiny network subtracts whatever; its share must not make things worse."""
    rng = np.random.default_rng(0)
    truth = 40_000 * (0.1 + rng.random((256, 256)))
    noisy = rng.poisson(truth).astype(np.float32)
    result = tiny()(Micrograph(noisy), noise=COUNTS).micrograph.pixels
    assert np.square(result - truth).mean() <= 1.02 * np.square(noisy - truth).mean()


@pytest.mark.parametrize("what", [np.ones((8, 8)), "scan.mrc"])
def test_a_bare_array_or_path_is_refused_with_what_to_pass(what, tiny):
    with pytest.raises(TypeError, match=r"lowdose\.Micrograph\(pixels\)"):
        tiny()(what)


# Networks that map images to images: the paper's, as narrow as it gets.


@pytest.fixture
def narrow(tmp_path):
    """Denoisers with the paper's network that share one file of random weights."""
    torch.manual_seed(0)
    network = build("atrous", {"width": 1 / 64})
    for _ in range(3):  # moments, so that something of the image arrives
        network(torch.rand(1, 1, 64, 64))
    record = Record("narrow", "atrous", {"width": 1 / 64})
    path = str(tmp_path / "narrow.safetensors")
    save_weights(Path(path), network.state_dict(), record, dtype=torch.float32)
    return lambda **options: Denoiser(path, **{"device": "cpu", "precision": "float32"} | options)


def test_an_image_of_the_papers_size_passes_in_one_window(narrow):
    image = micrograph((512, 512))
    denoiser = narrow()
    seen = []
    denoiser._network.register_forward_hook(lambda module, given, made: seen.append(given[0].shape))
    denoiser(image, noise=COUNTS)
    assert seen == [(1, 1, 512, 512)]


def test_it_is_shown_the_image_between_its_extremes_and_brought_back_to_them(narrow):
    image = micrograph((64, 64))
    denoiser = narrow()
    low, high = float(image.pixels.min()), float(image.pixels.max())
    seen = torch.from_numpy(image.pixels.astype("f4") - low)[None, None] / (high - low)
    with torch.inference_mode():
        expected = low + (high - low) * denoiser._network(seen).clamp(0, 1)[0, 0].numpy()
    result = denoiser(image, noise=COUNTS).micrograph.pixels
    assert np.ptp(result) > 0.3
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


def test_units_of_the_pixels_do_not_matter_to_it(narrow):
    image = micrograph((64, 64))
    other = Micrograph(3.5 * image.pixels - 200)
    plain = narrow()(image, noise=COUNTS).micrograph.pixels
    result = narrow()(other, noise=NoiseModel(3.5, offset=-200.0)).micrograph.pixels
    np.testing.assert_allclose(result, 3.5 * plain - 200, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (33, 17), (500, 530), (700, 1100)])
def test_it_takes_any_size(shape, narrow):
    result = narrow()(micrograph(shape), noise=COUNTS).micrograph.pixels
    assert result.shape == shape
    assert np.isfinite(result).all()


def test_its_windows_are_as_large_as_the_crops_it_is_trained_on(narrow):
    denoiser = narrow()
    seen = []
    denoiser._network.register_forward_hook(lambda module, given, made: seen.append(given[0].shape))
    denoiser(micrograph((700, 1100)), noise=COUNTS)
    assert seen == 6 * [(1, 1, 512, 512)]


def test_an_ensemble_says_the_same_of_a_turned_image(tiny):
    noise = NoiseModel(gain=1.0)
    denoiser = tiny(ensemble=True)
    counts = np.random.default_rng(0).poisson(30, (64, 64)).astype("f4")
    result, turned = (
        denoiser(Micrograph(np.ascontiguousarray(image)), noise=noise)
        for image in (counts, counts.T)
    )
    np.testing.assert_allclose(
        result.micrograph.pixels, turned.micrograph.pixels.T, rtol=1e-4, atol=1e-3
    )


def test_a_network_that_takes_it_is_told_of_correlated_noise(tmp_path):
    torch.manual_seed(0)
    options = {"widths": [4, 8], "depths": [1, 1], "correlated": True}
    network = build("unet", options)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    path = tmp_path / "told.safetensors"
    save_weights(path, network.state_dict(), Record("told", "unet", options))
    denoiser = Denoiser(str(path), device="cpu", precision="float32", backend="torch")
    image = Micrograph(np.random.default_rng(0).poisson(30, (64, 64)).astype("f4"))
    white, blurred = (
        denoiser(image, noise=NoiseModel(1.0, correlation=pair)).micrograph.pixels
        for pair in ((0.0, 0.0), (0.5, 0.0))
    )
    assert np.abs(white - blurred).max() > 0.01


# ---- uncertainty


@pytest.fixture
def doubting(tiny_weights):
    """As `tiny`, of weights that tell their errors."""
    path = str(tiny_weights("doubting", spread=3))
    return lambda **options: Denoiser(path, **{"device": "cpu", "precision": "float32"} | options)


def test_tiled_deviations_equal_untiled_ones_and_leave_the_result_alone(doubting):
    image, noise = micrograph((200, 333)), NoiseModel(7.3, offset=-50.0, readout_std=20.0)
    whole = doubting(tile=1024)(image, noise=noise, uncertainty=True)
    tiled = doubting(tile=64)(image, noise=noise, uncertainty=True)
    plain = doubting(tile=1024)(image, noise=noise)
    assert np.array_equal(plain.micrograph.pixels, whole.micrograph.pixels)
    assert plain.uncertainty is None
    pairs = tiled.uncertainty.pixels, whole.uncertainty.pixels
    np.testing.assert_allclose(*pairs, rtol=1e-4)
    assert (pairs[0] > 0).all()


def test_deviations_are_in_pixel_units_and_keep_the_calibration(doubting):
    counts = micrograph((64, 64))
    axes = (Axis("y", 0.5, "nm"), Axis("x", 0.5, "nm"))
    scaled = Micrograph(counts.pixels * np.float32(8) + 100, axes)
    one = doubting()(counts, noise=COUNTS, uncertainty=True).uncertainty
    other = doubting()(scaled, noise=NoiseModel(8.0, 100.0), uncertainty=True).uncertainty
    np.testing.assert_allclose(other.pixels, 8 * one.pixels, rtol=1e-4)
    assert other.axes == axes
    assert "standard deviation" in other.history[-1]


def test_a_stack_has_deviations_for_each_frame(doubting):
    image = micrograph((3, 64, 48))
    found = doubting()(image, noise=COUNTS, uncertainty=True).uncertainty
    assert found.shape == image.shape
    assert (found.pixels > 0).all()


def test_without_noise_nothing_is_uncertain(doubting):
    found = doubting()(micrograph((64, 64)), noise=NoiseModel(0.0), uncertainty=True)
    assert not found.uncertainty.pixels.any()


def test_weights_that_tell_no_errors_are_refused_before_the_work(tiny):
    with pytest.raises(ConfigError, match="do not tell"):
        tiny()(micrograph((64, 64)), uncertainty=True)
