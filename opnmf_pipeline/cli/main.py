"""Entry point: dispatch to a command, and turn errors into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from opnmf_pipeline.cli.parser import build_parser
from opnmf_pipeline.exceptions import OPNMFError

__all__ = ["main"]

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
    # A batch system ends a job with SIGTERM: as an exception it lets the run tidy up.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        command = importlib.import_module(f"opnmf_pipeline.cli.{args.command}")
        command.execute(args)
        sys.stdout.flush()
    except OPNMFError as error:
        print(f"opnmf-pipeline: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SYSTEM_ERROR
    except OSError as error:
        print(f"opnmf-pipeline: system error: {error}", file=sys.stderr)
        return SYSTEM_ERROR
    except KeyboardInterrupt:
        print("opnmf-pipeline: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
