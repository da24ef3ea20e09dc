"""``opnmf-pipeline export``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.cli.display import Terminal
from opnmf_pipeline.cli.run import shown
from opnmf_pipeline.runs.export import Credits, export

__all__ = ["execute"]

NO_CREDITS_MSG = "not given: {missing}; others may use the model only if they know its licence"


def execute(args: argparse.Namespace) -> None:
    """Export models, and print the folder of each format."""
    console = Terminal(quiet=args.quiet)
    credit = Credits(args.name, args.license, args.authors, args.citation)
    with shown(console, args.verbose):
        done = export(
            args.model.absolute(),
            args.output.absolute(),
            credit,
            n_components=args.n_components,
            formats=args.formats,
            space=args.space,
            mask=args.mask,
        )
    console.print(f"k = {', '.join(map(str, done.ks))}")
    for name, folder in done.folders.items():
        console.print(f"{name:<12}{folder}", soft_wrap=True)
    credit = done.credit
    given = {
        "--license": credit.license,
        "--authors": credit.authors,
        "--citation": credit.citation,
    }
    if missing := [flag for flag, value in given.items() if not value]:
        console.print(NO_CREDITS_MSG.format(missing=", ".join(missing)), soft_wrap=True)
