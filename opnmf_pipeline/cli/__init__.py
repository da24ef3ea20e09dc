"""The command line."""

from opnmf_pipeline.cli.main import main

__all__ = ["main"]
