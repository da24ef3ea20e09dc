"""Entry point: dispatch to a command, and turn errors into messages and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from opnmf_pipeline.cli.bids_parser import build_bids_parser
from opnmf_pipeline.cli.parser import build_parser
from opnmf_pipeline.exceptions import OPNMFError

__all__ = ["bids_main", "main"]

SYSTEM_ERROR = 1
INTERRUPTED = 130
TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of this process.

    Returns
    -------
    int
        Exit code: 0, or 2 for what the user can mend, 1 for what the system refused, 130 for an
        interruption.
    """
    args = build_parser().parse_args(argv)
    return _dispatch("opnmf-pipeline", args.command, args)


def bids_main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App; arguments and exit codes as in :func:`main`."""
    return _dispatch("opnmf-bids", "bids_app", build_bids_parser().parse_args(argv))


def _dispatch(program: str, module: str, args: argparse.Namespace) -> int:
    # A batch system ends a job with SIGTERM: as an exception it lets the run tidy up.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        command = importlib.import_module(f"opnmf_pipeline.cli.{module}")
        command.execute(args)
        sys.stdout.flush()
    except OPNMFError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SYSTEM_ERROR
    except OSError as error:
        print(f"{program}: system error: {error}", file=sys.stderr)
        return SYSTEM_ERROR
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
