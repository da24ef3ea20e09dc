"""Entry points: run a command, and convert errors to messages and exit codes."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import select
import sys
from collections.abc import Sequence

from opnmf_pipeline.cli.bids_parser import build_bids_parser
from opnmf_pipeline.cli.interruption import interrupted, interruptible
from opnmf_pipeline.cli.parser import build_parser
from opnmf_pipeline.exceptions import ExitCode, OPNMFError

__all__ = ["bids_main", "main"]

MEMORY_MSG = (
    "{program}: error: not enough memory{reason}; use fewer processes (--nprocs), or a computer "
    "with more memory, and run the same command again"
)
BUG_MSG = (
    "{program}: {kind}: {error}\n"
    "This is a fault in the program. Please report it (SECURITY.md of the project says how), and "
    "send the file {path}, which contains the versions, the settings and the traceback, but no "
    "image data and no values of participants"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of this process.

    Returns
    -------
    int
        One of :class:`opnmf_pipeline.exceptions.ExitCode`.
    """
    args = build_parser().parse_args(argv)
    return _dispatch("opnmf-pipeline", args.command, args)


def bids_main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App; arguments and exit codes as in :func:`main`."""
    return _dispatch("opnmf-bids", "bids_app", build_bids_parser().parse_args(argv))


def _dispatch(program: str, module: str, args: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal cannot show is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    stopped = interrupted(program, module)
    try:
        with interruptible(stopped):
            command = importlib.import_module(f"opnmf_pipeline.cli.{module}")
            command.execute(args)
            if sys.stdout is not None:
                sys.stdout.flush()
    except OPNMFError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError as error:
        if not _reader_is_gone():
            return _system_error(program, error)
    except OSError as error:
        return _system_error(program, error)
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        print(MEMORY_MSG.format(program=program, reason=reason), file=sys.stderr)
        return ExitCode.INPUT
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _bug(program, error, args)
    return ExitCode.SUCCESS


def _reader_is_gone() -> bool:
    """Return whether the reader of the output, such as `head`, has ended; then print no more."""
    output = select.poll()
    output.register(sys.stdout, 0)  # errors are always reported
    gone = bool(output.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _system_error(program: str, error: OSError) -> int:
    print(f"{program}: system error: {error}", file=sys.stderr)
    return ExitCode.INPUT


def _bug(program: str, error: Exception, args: argparse.Namespace) -> int:
    from opnmf_pipeline.cli.crash import write_crash_file

    path = write_crash_file(error, args)
    kind = type(error).__name__
    print(BUG_MSG.format(program=program, kind=kind, error=error, path=path), file=sys.stderr)
    return ExitCode.BUG
