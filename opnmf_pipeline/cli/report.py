"""``opnmf-pipeline report``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.engines.report import write_report
from opnmf_pipeline.outputs import OutputFolder

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> None:
    """Write the page about a finished run anew."""
    print(write_report(OutputFolder.of_run(args.folder)))
