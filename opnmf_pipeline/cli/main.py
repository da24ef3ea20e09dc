"""Entry points: run a command, and convert errors to messages and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from opnmf_pipeline.cli.bids_parser import build_bids_parser
from opnmf_pipeline.cli.interruption import INTERRUPTED, INTERRUPTED_MSG, interruptible
from opnmf_pipeline.cli.parser import build_parser
from opnmf_pipeline.exceptions import OPNMFError

__all__ = ["bids_main", "main"]

SYSTEM_ERROR = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of this process.

    Returns
    -------
    int
        Exit code: 0: success; 2: an error that the user can fix; 1: a system error; 4: the run
        was interrupted.
    """
    args = build_parser().parse_args(argv)
    return _dispatch("opnmf-pipeline", args.command, args)


def bids_main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App; arguments and exit codes as in :func:`main`."""
    return _dispatch("opnmf-bids", "bids_app", build_bids_parser().parse_args(argv))


def _dispatch(program: str, module: str, args: argparse.Namespace) -> int:
    try:
        with interruptible(program):
            command = importlib.import_module(f"opnmf_pipeline.cli.{module}")
            command.execute(args)
            sys.stdout.flush()
    except OPNMFError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SYSTEM_ERROR
    except OSError as error:
        print(f"{program}: system error: {error}", file=sys.stderr)
        return SYSTEM_ERROR
    except KeyboardInterrupt:
        print(INTERRUPTED_MSG.format(program=program), file=sys.stderr)
        return INTERRUPTED
    return 0
