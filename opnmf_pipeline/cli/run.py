"""``opnmf-pipeline run``."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.logging import RichHandler
from rich.table import Table

from opnmf_pipeline.cli.display import Terminal, TerminalDisplay
from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.exceptions import ConfigError, NotConvergedError
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.runs.run import Summary, run, run_share

__all__ = ["execute", "run_and_print", "shown"]

SHOWN = {
    "n_components": ("k", "{:.0f}"),
    "reconstruction_error": ("error", "{:.5g}"),
    "explained_variance": ("R² about\nmean", "{:.1%}"),
    "out_of_sample_explained_variance": ("R² out\nof\nsample", "{:.1%}"),
    "n_iter": ("iterations", "{:.0f}"),
    "inner_product": ("inner product\nof halves", "{:.3f}"),
    "label_ari": ("ARI of\nhalves", "{:.3f}"),
    "start_label_ari": ("ARI of\nstarts", "{:.3f}"),
    "planted_ari": ("planted\nARI", "{:.3f}"),
}

NOT_CONVERGED_MSG = "not converged: k = {ks}; raise decomposition.max_iter or decomposition.tol"
SHARE_MSG = (
    "--share: the engine {engine} already submits each fit as a job; remove --share, or set "
    "--engine local"
)


def execute(args: argparse.Namespace) -> None:
    """Run the pipeline and print the results."""
    config = load_config(args.config, overrides(args))
    if args.share is None:
        summary = run_and_print(config, quiet=args.quiet, verbose=args.verbose)
        require_convergence(summary, strict=args.strict)
    elif config.execution.engine != "local":
        raise ConfigError(SHARE_MSG.format(engine=config.execution.engine))
    else:
        number, n_shares = args.share
        with shown(Terminal(quiet=args.quiet), args.verbose) as display:
            computed = run_share(config, number, n_shares, display)
            found = counted(len(computed), "stage")
            display.note(f"share {number} of {n_shares}: computed {found}")


def run_and_print(config: PipelineConfig, *, quiet: bool, verbose: bool) -> Summary:
    """Run the pipeline with progress in the terminal, and print the results."""
    console = Terminal(quiet=quiet)
    with shown(console, verbose) as display:
        summary = run(config, display)
    _print(summary, console)
    return summary


def require_convergence(summary: Summary, *, strict: bool) -> None:
    """With ``strict``, require that all fits have converged.

    Raises
    ------
    NotConvergedError
        Fits have not converged. Their results are written.
    """
    if strict and (ks := _open_ended(summary)):
        raise NotConvergedError(NOT_CONVERGED_MSG.format(ks=ks))


def _open_ended(summary: Summary) -> str:
    converged = summary.metrics["converged"]
    return ", ".join(map(str, summary.metrics.loc[~converged, "n_components"]))


@contextmanager
def shown(console: Terminal, verbose: bool) -> Iterator[TerminalDisplay]:
    """Show progress and messages: all messages if ``verbose``, otherwise only warnings."""
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


def _table(summary: Summary) -> Table:
    """Return one row of measures per number of components; mean ± SD if there are splits."""
    metrics, choice = summary.metrics, summary.choice
    columns = [name for name in SHOWN if name in metrics]
    if choice is not None:
        columns.remove("n_iter")
    table = Table(
        *(SHOWN[name][0] for name in columns),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    if choice is not None:
        table.caption = (
            "* by convention   + within the noise of the best"
            if choice.get("flat")
            else "* chosen   + also good"
        )
    for row in metrics.to_dict("records"):
        cells = [_cell(row, name) for name in columns]
        chosen = choice is not None and row["n_components"] == choice["k"]
        if choice is not None:
            good = row["n_components"] in choice["good"]
            cells[0] += " *" if chosen else " +" if good else "  "
        table.add_row(*cells, style="bold" if chosen else None)
    return table


def _cell(row: dict[Hashable, Any], name: str) -> str:
    if math.isnan(row[name]):  # such as R² of images that are all equal
        return "n/a"
    form, sd = SHOWN[name][1], row.get(f"{name}_sd", math.nan)
    text = form.format(row[name])
    return text if math.isnan(sd) or "%" in form else f"{text} ± {form.format(sd)}"


def _print(summary: Summary, console: Terminal) -> None:
    output = summary.outputs
    size = f"{summary.n_subjects} {summary.what}, {summary.n_voxels} {summary.elements}"
    console.print(f"\n{size}: {summary.mask}")
    console.print(_table(summary))
    if (choice := summary.choice) is not None:
        console.print(f"{choice['reason']}\n")
    if ks := _open_ended(summary):
        console.print(NOT_CONVERGED_MSG.format(ks=ks))
    if not summary.computed:
        console.print("nothing was computed: all results come from an earlier run")
    places = {
        "maps" if output.ks else "tables": output.path("mask").parent,
        "pictures": output.path("montage").parent,
        "report": output.path("report"),
    }
    for title, path in places.items():
        if path.exists():
            console.print(f"{title:9} {path}", soft_wrap=True)
