"""``opnmf-pipeline compare``."""

from __future__ import annotations

import argparse

from rich.box import SIMPLE_HEAD
from rich.table import Table

from opnmf_pipeline.cli.display import Terminal
from opnmf_pipeline.cli.run import shown
from opnmf_pipeline.runs.comparison import compare, named_models
from opnmf_pipeline.selection.comparison import MEASURES

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> None:
    """Compare models, and print how each pair agrees."""
    console = Terminal(quiet=args.quiet)
    with shown(console, args.verbose) as display:
        done = compare(
            named_models(
                [model.absolute() for model in args.models], args.n_components, mask=args.mask
            ),
            args.output.absolute(),
            display,
            n_null=args.n_null,
            overwrite=args.overwrite,
        )
    table = Table("A", "B", *MEASURES, box=SIMPLE_HEAD, pad_edge=False)
    for row in done.agreement.to_dict("records"):
        values = [
            f"{row[name]:.2f}" + (f" ({row[null]:.2f})" if (null := f"{name}_null") in row else "")
            for name in MEASURES
        ]
        table.add_row(row["model_a"], row["model_b"], *values)
    console.print(table)
    if args.n_null:
        console.print("in parentheses: by chance")
    console.print(f"tables    {done.output.path('agreement').parent}", soft_wrap=True)
    console.print(f"report    {done.output.path('report')}", soft_wrap=True)
