"""``opnmf-pipeline run``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from opnmf_pipeline.cli.display import TerminalDisplay
from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.engines.run import Summary, run

__all__ = ["execute", "run_and_print", "shown"]

SHOWN = {
    "n_components": ("k", "{:.0f}"),
    "reconstruction_error": ("reconstruction\nerror", "{:.5g}"),
    "explained_variance": ("explained\nvariance", "{:.1%}"),
    "n_iter": ("iterations", "{:.0f}"),
    "inner_product": ("inner product\nof halves", "{:.3f}"),
    "label_ari": ("ARI of\nhalves", "{:.3f}"),
    "planted_ari": ("ARI with\nplanted", "{:.3f}"),
}


def execute(args: argparse.Namespace) -> None:
    """Run the pipeline and print what it found."""
    config = load_config(args.config, overrides(args))
    run_and_print(config, quiet=args.quiet, verbose=args.verbose)


def run_and_print(config: PipelineConfig, *, quiet: bool, verbose: bool) -> None:
    """Run the pipeline with progress in the terminal, and print what it found."""
    console = Console(quiet=quiet)
    with shown(console, verbose) as display:
        summary = run(config, display)
    _print(summary, console)


@contextmanager
def shown(console: Console, verbose: bool) -> Iterator[TerminalDisplay]:
    """Show progress, and the messages of the package: with ``verbose`` all, else warnings."""
    level = logging.DEBUG if verbose else logging.WARNING
    handler = RichHandler(level, console=console, show_time=False, show_path=False)
    logger = logging.getLogger("opnmf_pipeline")
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        with TerminalDisplay(console) as display:
            yield display
    finally:
        logger.removeHandler(handler)


def _print(summary: Summary, console: Console) -> None:
    output = summary.outputs
    console.print(f"\n{summary.n_subjects} subjects, {summary.n_voxels} voxels")
    columns = [name for name in SHOWN if name in summary.metrics]
    table = Table(*(SHOWN[name][0] for name in columns), box=SIMPLE_HEAD)
    for row in summary.metrics.to_dict("records"):
        cells = [SHOWN[name][1].format(row[name]) for name in columns]
        table.add_row(*cells)
    console.print(table)
    open_ended = summary.metrics.loc[~summary.metrics["converged"], "n_components"].tolist()
    if open_ended:
        console.print(
            f"not converged: k = {', '.join(map(str, open_ended))}; "
            "raise decomposition.max_iter or decomposition.tol"
        )
    if not summary.computed:
        console.print("nothing was computed: every result was there from an earlier run")
    places = {
        "maps": output.path("mask").parent,
        "pictures": output.path("montage").parent,
        "report": output.path("report"),
    }
    for title, path in places.items():
        if path.exists():
            console.print(f"{title:9} {path}", soft_wrap=True, highlight=False)
