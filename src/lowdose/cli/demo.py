"""``lowdose demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli import options as opt
from lowdose.cli.lines import one_line
from lowdose.cli.output import made_folder
from lowdose.cli.progress import Bar
from lowdose.cli.table import table


def demo(
    folder: Annotated[Path, typer.Argument(help="Made if absent.")] = Path("lowdose-demo"),
    *,
    model: opt.Model = "everyday",
    dose: Annotated[float, typer.Option(help="Mean electrons a pixel.")] = 10.0,
    size: opt.Size = 384,
    seed: opt.Seed = 6,
    device: opt.Device = "auto",
) -> None:
    """Draw specimens, add noise, denoise them and compare with the truth.

    Writes KIND_noisy.mrc, KIND_denoised.mrc and KIND_truth.mrc of each kind, the three side by
    side as KIND.png, and all kinds on one page as demo.png.

    \b
    Examples:
      lowdose demo
      lowdose demo demo5 --dose 5 --seed 3
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.data.simulate import KINDS
    from lowdose.infer import Denoiser
    from lowdose.report.demo import run_demo
    from lowdose.report.picture import draw_rows, save_picture

    made_folder(folder)
    run = run_demo(folder, Denoiser(model, device=device), side=size, dose_e_per_px=dose, seed=seed)
    found = []
    with Bar() as bar:
        for specimen in run:
            found.append(specimen)
            bar(specimen.kind, len(found), len(KINDS))
    save_picture(folder / "demo.png", draw_rows([specimen.row() for specimen in found]))
    rows = [
        [s.kind, f"{s.noisy.clean.psnr:.1f}", f"{s.denoised.clean.psnr:.1f}",
         f"{s.noisy.clean.ssim:.3f}", f"{s.denoised.clean.ssim:.3f}", f"{1 / s.denoised.ratio:.1f}"]
        for s in found
    ]  # fmt: skip
    head = ["kind", "PSNR noisy", "denoised", "SSIM noisy", "denoised", "error divided by"]
    typer.echo(table(head, rows))
    typer.echo(one_line(f"see {folder / 'demo.png'}"))
