"""The export command line: `python -m export build|verify|inspect|module|wrap|tensorrt|bench`."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from export.report import raise_if_failed, report_table, write_record
from models.errors import BackendMissingError, ConfigError, RnnserveError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder: STORE/NAME/VERSION.")]
SetNames = Annotated[
    list[str] | None, typer.Option("--set", help="Graph set: fp32, int8, gpu-fp32 or gpu-fp16. Repeat for several.")
]


@app.callback()
def import_first(
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="A module that registers tasks or cells of yours; repeat."),
    ] = None,
) -> None:
    """Make verified ONNX graphs and TensorRT engines of trained recurrent models."""
    for module_name in modules or ():
        try:
            import_module(module_name)
        except ImportError as error:
            raise ConfigError(f"--import {module_name} fails: {error}. Name a module that Python finds.") from error


@app.command()
def build(bundle: BundlePath, sets: SetNames = None) -> None:
    """Build graph sets, verify each against PyTorch, and publish those that pass.

    Default: fp32 and int8, as far as models of the task have them.
    """
    from export.build import build_sets, bundle_at, default_sets

    console = Console(stderr=True)
    opened = bundle_at(bundle)
    for report in build_sets(opened, sets or default_sets(opened), lambda line: console.print(line)):
        Console().print(report_table(report))


@app.command()
def verify(
    bundle: BundlePath,
    sets: SetNames = None,
    backend: Annotated[str, typer.Option(help="What runs the graphs.")] = "onnxruntime-cpu",
    text: Annotated[
        Path | None, typer.Option("--text", help="A UTF-8 file to measure with, beside what the model writes itself.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--module", metavar="FILE:NAME", help="The code of a wrapped bundle.")
    ] = None,
) -> None:
    """Check published graph sets against PyTorch and against themselves; exit code 1 if any check fails."""
    from export.build import architecture_of, bundle_at, verify_set
    from export.parity.texts import texts_of_file
    from export.user_module.wrap.command import architecture_with_code

    opened = bundle_at(bundle)
    names = sets or list(opened.graph_sets)
    if not names:
        raise RnnserveError(f"{bundle} has no graph set. Build one: python -m export build {bundle}")
    texts = None if text is None else texts_of_file(text, opened)
    architecture = architecture_of(opened) if reference is None else architecture_with_code(opened, reference)
    reports = []
    for name in names:
        report = verify_set(opened, name, backend, texts, architecture)
        Console().print(report_table(report))
        Console().print(f"written to {write_record(opened, report)}", markup=False, highlight=False, soft_wrap=True)
        reports.append(report)
    raise_if_failed(reports)


@app.command()
def inspect(
    bundle: BundlePath,
    picture: Annotated[Path | None, typer.Option(help="Draw each graph's operators: a .png or .svg file.")] = None,
) -> None:
    """Show a bundle: architecture, state row, metrics, and each set's graphs, shapes, operators and sizes."""
    from export.build import bundle_at
    from export.inspection import bundle_tables
    from export.onnx.census_picture import check_picture, draw_census

    if picture is not None:
        check_picture(picture)
    opened = bundle_at(bundle)
    for table in bundle_tables(opened):
        Console().print(table)
    if picture is not None:
        draw_census(opened, picture)


@app.command()
def module(
    reference: Annotated[str, typer.Argument(metavar="FILE:NAME", help="A class or function that gives the module.")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", help="NAME:DTYPE[AXIS,...] for each argument of forward, in order; (INPUT,INPUT) for a tuple."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="The .onnx file to write.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="The module's weights: .safetensors, .pt, .pth or .ckpt.")
    ] = None,
    ranges: Annotated[list[str] | None, typer.Option("--range", help="NAME:LO..HI of an input or an axis.")] = None,
    names: Annotated[list[str] | None, typer.Option("--output-name", help="For each output, in order.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far from PyTorch an answer may be, relative to the largest number of its row.")
    ] = 1e-5,
) -> None:
    """Export any torch module of your own, say my_file:MyModel, to one ONNX file, checked against PyTorch."""
    from export.user_module.command import export_to_file

    console = Console(stderr=True)
    say = partial(console.print, markup=False)
    for table in export_to_file(reference, weights, inputs, output, ranges or (), names, tolerance, say):
        Console().print(table)


@app.command()
def wrap(
    reference: Annotated[str, typer.Argument(metavar="FILE:NAME", help="A class or function that gives the module.")],
    task: Annotated[str, typer.Option(help="A registered task, such as generation, translation or sentiment.")],
    to: Annotated[Path, typer.Option(metavar="STORE/NAME", help="Where the bundle goes, as its next version.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="The tokenizer.json that the model was trained with; not of --task sequence.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The module's weights: .safetensors, .pt, .pth or .ckpt.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Of a classifier: its classes in order, with commas.")] = "",
    source: Annotated[str | None, typer.Option(help="Of a translator: what it reads, such as en.")] = None,
    target: Annotated[str | None, typer.Option(help="Of a translator: what it writes, such as zh.")] = None,
    end_token: Annotated[str | None, typer.Option(help="What ends a text, where it is not <eos>.")] = None,
    start_token: Annotated[
        str | None, typer.Option(help="Of a translator: what its decoder reads first, if not the end token.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Of a sequence model: NAME:DTYPE[batch,time,...]; repeat.")
    ] = None,
    ranges: Annotated[
        list[str] | None, typer.Option("--range", help="Of a sequence model's inputs: NAME:LO..HI; repeat.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--output-name", help="Of a sequence model: for each output, in order.")
    ] = None,
    splitter: Annotated[
        str | None, typer.Option(help="Of a tagger: what its words are, words (default), characters or whitespace.")
    ] = None,
) -> None:
    """Make a bundle that the server takes of a model trained elsewhere, say my_file:MyLM; see docs/wrap.md."""
    from export.user_module.wrap.command import wrap_to_store

    console = Console(stderr=True)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    facts = {
        "source": source,
        "target": target,
        "end_token": end_token,
        "start_token": start_token,
        "splitter": splitter,
    }
    wrapped = wrap_to_store(
        reference,
        task,
        tokenizer,
        to,
        weights,
        {"labels": labels, **facts},
        say,
        inputs=inputs or (),
        ranges=ranges or (),
        outputs=names or (),
    )
    for report in wrapped.reports:
        Console().print(report_table(report))
    Console().print(str(wrapped.bundle.path), markup=False, highlight=False, soft_wrap=True)


@app.command()
def tensorrt(
    bundle: BundlePath,
    sets: SetNames = None,
    max_batch: Annotated[int, typer.Option("--max-batch", help="Rows together; the server's --max-rows.")] = 64,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", help="Longest source (default 1024) or text (default 8192), in tokens."),
    ] = None,
) -> None:
    """Build TensorRT engines of the gpu- sets into this machine's cache; exit code 3 without TensorRT or a GPU."""
    from export.build import bundle_at
    from export.tensorrt.command import build_for_tensorrt
    from export.tensorrt.progress_bar import progress_bar

    console = Console(stderr=True)
    with progress_bar(console) as on_progress:
        opened = bundle_at(bundle)
        for path in build_for_tensorrt(opened, sets, max_batch, max_length, say=console.print, on_progress=on_progress):
            Console().print(str(path), soft_wrap=True, highlight=False)


@app.command()
def bench(
    bundle: BundlePath,
    sets: SetNames = None,
    backends: Annotated[list[str] | None, typer.Option("--backend", help="What computes. Repeat for several.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed in each case.")] = 9,
    picture: Annotated[Path | None, typer.Option(help="A .png or .svg file; default beside the record.")] = None,
) -> None:
    """Time every backend and graph set that runs here, and record the fastest for the server."""
    from export.bench.command import bench as timed
    from export.bench.picture import draw
    from export.build import bundle_at

    console = Console(stderr=True)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    found = timed(bundle_at(bundle), backends, sets, rounds=rounds, say=say)
    Console().print(found.table())
    if sets or backends:
        say("not recorded: only what was asked for was timed")
    else:
        record = found.record()
        picture = picture or record.with_suffix(".png")
        graphs = ", ".join(f"{graph} {name}" for graph, name in found.choice.set_of_graphs(found.bundle.task).items())
        say(f"chosen: {found.choice} ({graphs}); recorded in {record}")
    if picture is not None:
        try:
            draw(found, picture)
            say(f"picture: {picture}")
        except BackendMissingError as error:
            say(str(error))


def main(arguments: Sequence[str] | None = None, program: str = "python -m export") -> None:
    """Run the command line; an error of ours is one sentence and exit code 1, or 3 for a backend that is not here.

    Args:
        arguments: by default those of the process.
        program: what messages call it.
    """
    # PyTorch's threads spin while they wait for each other: two beside a busy process are 4 times slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app(arguments, prog_name=program)
    except (RnnserveError, OSError) as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(3 if isinstance(error, BackendMissingError) else 1)


if __name__ == "__main__":
    main()
