"""``opnmf-pipeline report``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.runs.page import write_report

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> None:
    """Rewrite the report of a finished run."""
    print(write_report(OutputFolder.of_run(args.folder)))
