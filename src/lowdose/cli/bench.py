"""``lowdose bench``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowdose.cli import options as opt
from lowdose.cli.lines import one_line
from lowdose.cli.output import made_folder
from lowdose.cli.progress import Bar
from lowdose.cli.table import table
from lowdose.errors import ConfigError

if TYPE_CHECKING:
    from lowdose.bench.methods import Spec
    from lowdose.bench.outside import Kind
    from lowdose.bench.plan import Plan


def _list_methods(is_asked: bool) -> None:
    if is_asked:
        from lowdose.bench.methods import catalogue

        typer.echo(table(["method", "what"], list(catalogue().items())))
        raise typer.Exit


def bench(
    truths: Annotated[list[Path], typer.Argument(help="Noise-free files, or folders of them.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; resumed.")],
    method: Annotated[
        list[str] | None, typer.Option(help="[LABEL[@DOSE]=]METHOD, see --list-methods.")
    ] = None,
    dose: Annotated[
        list[str] | None,
        typer.Option(
            help="low, low-uniform, ordinary, counts at the brightest, series; or with noise that "
            "correlates: low-mtf, ordinary-mtf, low-binned."
        ),
    ] = None,
    preset: Annotated[
        Literal["paper", "classical", "quality"] | None,
        typer.Option(
            help="A set of methods and doses; --method adds to it, and a network of yours takes "
            "the place of the paper's."
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of the noise; may repeat.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="Text file: names of the truths to take, one a line.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV with columns file, modality, sigma_over_range.")
    ] = None,
    plugin: Annotated[
        list[str] | None, typer.Option(help="NAME=package.module:function, or NAME=file.py:...")
    ] = None,
    command: Annotated[
        list[str] | None, typer.Option(help="NAME=program {input} {output}; MRC files.")
    ] = None,
    plugins: Annotated[
        Path | None, typer.Option(help='TOML: [NAME], and callable = "..." or command = "...".')
    ] = None,
    example: Annotated[
        list[str] | None, typer.Option(help="Name of a truth to show; by default two.")
    ] = None,
    pages: Annotated[
        Path | None, typer.Option(help="Folder for the page and its figures; by default -o.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes; 0 takes one a core, with a GPU it is always one. Results do not "
            "depend on it.",
        ),
    ] = 0,
    device: opt.Device = "cpu",
    listing: Annotated[
        bool,
        typer.Option("--list-methods", callback=_list_methods, is_eager=True, help="List them."),
    ] = False,
) -> None:
    """Compare methods on truths with noise of fixed seeds, by the paper's protocol and a clean one.

    Results are kept as they come, so that a run goes on where it stopped, and another method or
    dose costs its own time only. Writes NAME-scores.csv, -summary.csv, -paired.csv, -timing.csv
    into the folder, and a page NAME.md with figures; NAME is the preset's, or bench. The
    presets: paper, nine methods of Ede (2018) and its network at both doses; classical, those
    filters also tuned without truth and behind the Anscombe transform, and BM3D; quality, one
    model against BM3D on --names, on all truths, and at high doses.

    \b
    Examples:
      lowdose bench clean/ -o run --method everyday --method bm3d --dose low --dose 1000
      lowdose bench clean/ -o run --preset paper --manifest manifest.csv
      lowdose bench clean/ -o run --preset paper --method net@low=a.safetensors \\
          --method net@ordinary=b.safetensors
      lowdose bench clean/ -o run --preset quality --names few.txt --pages docs
      lowdose bench clean/ -o run --dose series --plugin mine=package.module:function
      lowdose bench clean/ -o run --command "topaz=topaz denoise {input} -o {output}"
      lowdose bench speed --help
    """  # noqa: D301 - click keeps the lines of a paragraph that starts with \b
    from lowdose.bench import plan as plans
    from lowdose.bench.evaluate import select
    from lowdose.bench.run import Bench
    from lowdose.bench.store import Store
    from lowdose.bench.tables import write_page, write_tables
    from lowdose.data.truths import load_truths
    from lowdose.report.plots import draw_figures, need_matplotlib

    need_matplotlib()
    page = made_folder(pages or output)
    everything = load_truths(truths)
    few = select(everything, names)
    methods = _methods(method, plugin, command, plugins)
    choices = plans.Choices(everything, few, _laws(dose), methods)
    name = preset or "bench"
    plan = plans.Plan(
        name,
        plans.PRESETS[name](choices),
        tuple(dict.fromkeys(seed or [0])),
        plans.read_splits(manifest, everything) if manifest else {},
        _examples(example, [truth.name for truth in few]) or plans.spread_examples(few, 2),
    )
    with Store(made_folder(output)) as store, Bar() as bar:
        run = Bench(plan, store, device=device)
        count = run.run(
            workers=_processes(workers, device),
            progress=lambda label, done, total: bar(one_line(label), done, total),
        )
        write_tables(run, output)
        pictures = {picture.path.name: picture.caption for picture in draw_figures(run, page)}
        write_page(run, page, pictures)
    typer.echo(f"{count} results computed, {_total(plan)} in all")
    typer.echo(one_line(f"see {page / f'{name}.md'}"))


def _processes(workers: int, device: str) -> int:
    """Processes to use: an accelerator takes one."""
    from lowdose.infer import pick_device

    return (workers or os.cpu_count() or 1) if pick_device(device).type == "cpu" else 1


def _laws(doses: list[str] | None) -> list[str | float]:
    from lowdose.bench.doses import SERIES, parse_law

    laws: list[str | float] = []
    for text in doses or []:
        laws += SERIES if text == "series" else [parse_law(text)]
    return list(dict.fromkeys(laws))


def _methods(
    methods: list[str] | None,
    plugins: list[str] | None,
    commands: list[str] | None,
    file: Path | None,
) -> list[Spec]:
    from lowdose.bench.methods import Spec, parse_method
    from lowdose.bench.outside import CALLABLE, COMMAND, read_plugins

    specs = [parse_method(text) for text in methods or []]
    specs += [_outsider(CALLABLE, text) for text in plugins or []]
    specs += [_outsider(COMMAND, text) for text in commands or []]
    if file:
        tables = read_plugins(file)
        specs += [Spec(name, target, kind) for name, (kind, target) in tables.items()]
    return specs


def _outsider(kind: Kind, text: str) -> Spec:
    from lowdose.bench.methods import Spec
    from lowdose.bench.outside import named_target

    name, target = named_target(kind, text)
    return Spec(name, target, kind)


def _examples(names: list[str] | None, known: list[str]) -> list[str]:
    for name in names or []:
        if name not in known:
            raise ConfigError(f"--example {name!r} names no truth; such as {known[0]!r}")
    return list(names or [])


def _total(plan: Plan) -> int:
    return len(plan.seeds) * sum(
        len(section.subjects) * len(section.methods_at(law))
        for section in plan.sections
        for law in section.laws
    )
