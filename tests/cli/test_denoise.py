"""``lowdose denoise``: what it prints, how it ends, and that it leaves nothing half-written."""

import json
import os
import re
import signal
import time

import numpy as np
import pytest

import lowdose
from lowdose.cli.progress import Bar
from lowdose.micrograph import Micrograph
from tests.io.malformed_cases import CASES, NEED_EXTRA, mrc_bytes


@pytest.fixture
def denoise(call, tiny_weights):
    model = tiny_weights()
    return lambda *words, **keywords: call("denoise", "--model", model, *words, **keywords)


def test_one_file_gives_one_line(denoise, noisy):
    result = denoise(noisy)
    target = noisy.with_name("noisy_denoised.mrc")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{noisy} -> {target}  80 x 96  gain 1 (values are counts")
    assert result.stdout.count("\n") == 1
    assert lowdose.read(target).pixel_size_nm == pytest.approx((0.5, 0.5))


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_name_of_two_lines_is_printed_escaped(denoise, call, noisy):
    path = noisy.rename(noisy.with_name("two\nlines  \x1b[1m.mrc"))
    escaped = rf"{path.parent}/two\nlines  \x1b[1m"
    result = denoise(path)
    assert result.stdout.startswith(f"{escaped}.mrc -> {escaped}_denoised.mrc  ")
    assert (result.stdout.count("\n"), result.stderr) == (1, "")
    assert call("info", path).stdout.startswith(f"{escaped}.mrc\n")
    path.write_bytes(b"")
    for command in ("info", "denoise"):
        result = call(command, path)
        assert result.stderr.startswith(f"lowdose: {escaped}.mrc: is empty")
        assert result.stderr.count("\n") == 1


def test_quiet_prints_nothing(denoise, noisy):
    result = denoise(noisy, "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_a_list_comes_from_standard_input(denoise, noisy, tmp_path):
    result = denoise("-", "-o", tmp_path / "out/", input=f"{noisy}\n")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "noisy.mrc").exists()


def test_a_remark_about_the_noise_is_a_note(denoise, tmp_path):
    flat = tmp_path / "flat.npy"
    lowdose.write(flat, Micrograph(np.ones((32, 32), np.float32)))
    result = denoise(flat)
    assert result.stderr.startswith(f"note: {flat}: the image is too small or too flat")


def test_an_odd_file_is_noted_in_one_line(denoise, noisy):
    other = noisy.rename(noisy.with_suffix(".tif"))
    result = denoise(other, "-o", noisy.with_name("clean.mrc"))
    assert result.exit_code == 0
    assert (
        result.stderr == f"note: {other}: named like tiff, but its content is mrc; read as that.\n"
    )


def test_a_failure_among_several_exits_with_4(denoise, noisy):
    noisy.with_name("bad.mrc").write_bytes(mrc_bytes(np.zeros((4, 4), "f4"))[:900])
    result = denoise(noisy.parent)
    assert result.exit_code == 4
    assert result.stdout.endswith("1 denoised, 0 skipped, 1 failed\n")
    assert result.stderr.startswith(f"lowdose: {noisy.with_name('bad.mrc')}: ")


@pytest.mark.parametrize("bad", ["a.mrc", "z.mrc"])
def test_when_all_fail_an_input_at_fault_decides_whatever_the_order(bad, denoise, noisy, tmp_path):
    path = tmp_path / bad
    path.write_bytes(mrc_bytes(np.zeros((4, 4), "f4"))[:900])
    noisy.with_name("noisy_denoised.mrc").touch()  # by somebody else
    result = denoise(*sorted([path, noisy]))
    assert result.exit_code == 3
    assert result.stdout == "0 denoised, 0 skipped, 2 failed\n"
    assert denoise(noisy).exit_code == 5


def test_a_repeated_batch_says_what_it_skips(denoise, noisy):
    lowdose.write(noisy.with_name("other.mrc"), lowdose.read(noisy))
    denoise(noisy.parent)
    result = denoise(noisy.parent)
    assert result.exit_code == 0
    assert result.stdout.endswith("0 denoised, 2 skipped, 0 failed\n")


@pytest.mark.parametrize("dose", ["0.5/A2", "0.5 e/Å²", "0.5e-/a^2", "50/nm2", "12.5"])
def test_a_dose_may_be_per_square_angstrom(dose, denoise, noisy):
    clean = noisy.with_name("clean.mrc")
    assert denoise(noisy, "-o", clean, "--dose", dose).exit_code == 0  # pixels of 5 x 5 Å
    gain = json.loads(noisy.with_name("clean.mrc.json").read_text())["noise"]["gain"]
    assert gain == pytest.approx(lowdose.read(noisy).pixels.mean() / 12.5, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--gain", "1", "--dose", "3"], 2),
        (["--offset", "3"], 2),
        (["--gain", "-1"], 2),
        (["--dose", "-1"], 2),
        (["--dose", "40/m2"], 2),
        (["--dose", "0/A2"], 2),
        (["--dose", "nan"], 2),
        (["--dtype", "complex64"], 2),
        (["--device", "abacus"], 2),
        (["--model", "no such"], 2),
        (["--tile", "3"], 2),
        (["-o", "clean.xyz"], 5),
        (["-o", "no/such/folder/clean.mrc"], 5),
    ],
)
def test_each_kind_of_error_has_its_code_and_one_line(words, code, denoise, noisy):
    result = denoise(noisy, *words)
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(("lowdose: ", "Error: "))
    assert list(noisy.parent.glob("*.json")) == [noisy.with_name("tiny.json")]


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_file_ends_in_one_line_and_nothing_is_written(name, denoise, tmp_path):
    if name in NEED_EXTRA:
        pytest.importorskip("rsciio")
    folder = tmp_path / "in"
    folder.mkdir()
    path = CASES[name](folder)
    before = sorted(folder.rglob("*"))
    result = denoise(path)
    is_folder = name == "a folder"
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith(f"lowdose: {path}: ")
    assert result.stderr.count("\n") == 1 or is_folder
    assert sorted(folder.rglob("*")) == before


SEVERE = [
    "mrc with nsymbt largest.mrc", "mrc with sides of 400000.mrc", "bomb of 600 MiB.mrc.gz",
    "deflate bomb of 1 GiB.tif", "ome tiff of 10^8 planes.tif",
    "npy with sides of 10^6.npy", "noise.xyz",
]  # fmt: skip


# Its own: what the system tells of a child is at least the memory of the parent that started it.
TELLS_ITS_PEAK = """
import atexit, sys
place = sys.argv.pop(1)
def tell():
    lines = open("/proc/self/status").read().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    open(place, "w").write(peak)
atexit.register(tell)
from lowdose.cli import main
main()
"""


@pytest.mark.parametrize("name", SEVERE)
def test_a_bad_file_is_refused_before_torch_is_loaded(name, spawn, tiny_weights, tmp_path):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("memory is not accounted for here")
    folder, told = tmp_path / "in", tmp_path / "peak"
    folder.mkdir()
    path = CASES[name](folder)
    with spawn(told, "denoise", path, "--model", tiny_weights(), code=TELLS_ITS_PEAK) as process:
        out, err = process.communicate()
    peak = int(told.read_text()) << 10
    assert process.returncode == 3
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"lowdose: {path}: ")
    assert peak < 700e6
    assert list(folder.iterdir()) == [path]


def _until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.03])
def test_kill_leaves_the_old_output_or_the_new_one(delay, spawn, denoise, tiny_weights, tmp_path):
    source, target = tmp_path / "big.mrc", tmp_path / "out.mrc"
    pixels = np.random.default_rng(0).poisson(20, (1024, 1024)).astype(np.uint16)
    lowdose.write(source, Micrograph(pixels))
    denoise(source, "-o", target, "--gain", "2", "--device", "cpu", "--precision", "float32")
    old = target.read_bytes()
    words = ["denoise", source, "-o", target, "--overwrite", "--precision", "float32"]
    process = spawn(*words, "--model", tiny_weights())
    _until(lambda: list(tmp_path.glob(".out.mrc*.part")) or process.poll() is not None)
    time.sleep(delay)
    process.kill()
    process.communicate()
    found = target.read_bytes()
    assert len(found) == len(old)
    assert np.isfinite(lowdose.read(target).pixels).all()
    # Both hold the same header, but for the noise model that it names.
    assert found == old or b"gain 1" in found[:1024]


@pytest.fixture
def _in_the_background():
    """As a shell starts a command that ends in &."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_in_the_background")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_batch_leaves_nothing_behind(name, spawn, tiny_weights, tmp_path):
    source = tmp_path / "big.mrc"
    pixels = np.random.default_rng(0).poisson(20, (6, 1024, 1024)).astype(np.uint16)
    lowdose.write(source, Micrograph(pixels))
    folder = tmp_path / "out"
    process = spawn("denoise", source, "-o", folder, "--model", tiny_weights(), "--tile", "128")
    _until(lambda: folder.exists() or process.poll() is not None)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert out == ""
    assert "Traceback" not in err
    assert list(folder.iterdir()) == []


def test_a_lattice_that_was_set_aside_is_told_and_recorded(call, tmp_path):
    noisy = tmp_path / "lattice.mrc"
    call("simulate", "lattice", "-o", noisy, "--dose", "10", "--seed", "103", "--size", "384")
    result = call("denoise", "--model", "fast", "--device", "cpu", noisy)
    assert "  lattice set aside  looked at twice  " in result.stdout
    record = noisy.with_name("lattice_denoised.mrc.json")
    told = json.loads(record.read_text("utf-8"))
    assert told["lattice_set_aside"] is told["looked_at_twice"] is True
    shown = tmp_path / "shown.mrc"
    result = call("denoise", "--model", "fast", "--no-lattice", noisy, "-o", shown)
    assert "lattice set aside" not in result.stdout
    set_aside = lowdose.read(tmp_path / "lattice_denoised.mrc").pixels
    assert not np.array_equal(lowdose.read(shown).pixels, set_aside)


def test_pixels_that_were_repaired_are_told_and_recorded(call, tmp_path):
    pixels = np.random.default_rng(0).poisson(30.0, (128, 128)).astype(np.uint16)
    pixels[5, 7] = pixels[100, 0] = 9000
    lowdose.write(tmp_path / "hot.tif", Micrograph(pixels))
    how = ("denoise", "--model", "fast", "--device", "cpu", tmp_path / "hot.tif")
    assert "pixels repaired" not in call(*how, "-o", tmp_path / "as-it-is.tif").stdout
    assert "  pixels repaired: 2  " in call(*how, "--repair").stdout
    record = json.loads((tmp_path / "hot_denoised.tif.json").read_text("utf-8"))
    assert record["pixels_repaired"] == 2
    assert record["options"]["repair"] is True
    assert lowdose.read(tmp_path / "hot_denoised.tif").pixels.max() < 60


def test_stripes_that_were_taken_off_are_told_and_recorded(call, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.normal(500, 10, (256, 256)) + rng.normal(0, 10, (256, 1))
    lowdose.write(tmp_path / "scan.tif", Micrograph(pixels.astype(np.float32)))
    how = ("denoise", "--model", "fast", "--device", "cpu", tmp_path / "scan.tif", "--gain", "0.2")
    plain = call(*how, "-o", tmp_path / "as-it-is.tif")
    assert "taken off" not in plain.stdout
    assert "pass --destripe" in plain.stderr.replace("\n", " ")
    destriped = call(*how, "--destripe")
    assert " of the noise taken off  " in destriped.stdout
    assert not destriped.stderr
    record = json.loads((tmp_path / "scan_denoised.tif.json").read_text("utf-8"))
    assert record["stripes_taken_off"] == pytest.approx(1, rel=0.3)
    assert record["stripes_kept"] == 0
    assert record["options"]["destripe"] is True
    record = json.loads((tmp_path / "as-it-is.tif.json").read_text("utf-8"))
    assert record["stripes_kept"] == pytest.approx(1, rel=0.3)
    assert record["stripes_taken_off"] == 0
    rows = [
        lowdose.read(tmp_path / f"{name}.tif").pixels.mean(axis=1).std()
        for name in ("as-it-is", "scan_denoised")
    ]
    assert rows[1] < 0.5 * rows[0]


def test_rows_that_were_put_back_are_told_and_recorded(call, tmp_path):
    rng = np.random.default_rng(0)
    x = np.arange(256) + rng.normal(0, 1.5, (256, 1))
    pixels = rng.poisson(200 * (1 + 0.6 * np.sin(x / 4))).astype(np.float32)
    lowdose.write(tmp_path / "scan.tif", Micrograph(pixels))
    how = ("denoise", "--model", "fast", "--device", "cpu", tmp_path / "scan.tif", "--gain", "1")
    assert call(*how, "-o", tmp_path / "as-it-is.tif").exit_code == 0
    put_back = call(*how, "--dejitter")
    assert re.search(r"rows displaced by 1\.\d px put back  ", put_back.stdout)
    record = json.loads((tmp_path / "scan_denoised.tif.json").read_text("utf-8"))
    assert record["rows_put_back_px"] == pytest.approx(1.5, rel=0.3)
    assert record["options"]["dejitter"] is True
    record = json.loads((tmp_path / "as-it-is.tif.json").read_text("utf-8"))
    assert record["rows_put_back_px"] == 0
    ragged = [
        np.diff(lowdose.read(tmp_path / f"{name}.tif").pixels, axis=0).std()
        for name in ("as-it-is", "scan_denoised")
    ]
    assert ragged[1] < 0.5 * ragged[0]


def test_the_bar_counts_files_as_they_are_named(call, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(Bar, "__call__", lambda self, label, done, total: shown.append(label))
    (tmp_path / "in").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).poisson(30.0, (64, 64)).astype(np.uint16)
        lowdose.write(tmp_path / "in" / f"{number}.tif", Micrograph(pixels))
    call("denoise", "--model", "fast", "--device", "cpu", tmp_path / "in", "-o", tmp_path / "out")
    assert list(dict.fromkeys(shown)) == ["1/3 0.tif", "2/3 1.tif", "3/3 2.tif"]
