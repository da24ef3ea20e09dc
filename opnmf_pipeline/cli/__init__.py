"""The command line."""

from opnmf_pipeline.cli.main import bids_main, main

__all__ = ["bids_main", "main"]
