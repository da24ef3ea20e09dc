"""Errors that a user can fix: each message says what is wrong, where, and what to do."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from enum import IntEnum

__all__ = [
    "FIXABLE",
    "ClusterError",
    "CohortError",
    "ConfigError",
    "ConvergenceWarning",
    "DeviceError",
    "EngineError",
    "ExitCode",
    "FileError",
    "ImageError",
    "MissingColumnError",
    "ModelError",
    "NotConvergedError",
    "OPNMFError",
    "OrientationWarning",
    "OutputError",
    "SelectionError",
    "SelectionWarning",
    "TableError",
]


class ExitCode(IntEnum):
    """How a command ended; docs/reference/command-line.rst explains the codes to users."""

    SUCCESS = 0
    BUG = 1
    INPUT = 2
    NOT_CONVERGED = 3
    INTERRUPTED = 4


class OPNMFError(ValueError):
    """Base of the errors that the command line shows without a traceback."""

    exit_code = ExitCode.INPUT


FIXABLE = (OPNMFError, OSError, MemoryError)
"""Errors that are no faults in the program; the last two come from the machine."""


class ConfigError(OPNMFError):
    """A configuration file or an override has an unknown key or an invalid value."""


class CohortError(OPNMFError):
    """The subjects and their images cannot be matched one to one."""


class FileError(OPNMFError):
    """A file of a dataset cannot be read, or has other content than its name says."""


class ClusterError(OPNMFError):
    """The Dask scheduler or its workers are lost, or do not fit the fit."""


class DeviceError(OPNMFError):
    """A device cannot make the products of a fit: it does not exist, or is not precise enough."""


class TableError(CohortError):
    """A table cannot be read: a file without text or columns, or lines of unequal length."""


class ImageError(OPNMFError):
    """An image cannot be read, or its grid or values do not fit the analysis."""


class ModelError(OPNMFError):
    """A model cannot be read, or new images do not fit it."""


class OutputError(OPNMFError):
    """The output folder cannot be written, or it contains the results of another run."""


class SelectionError(OPNMFError):
    """The subjects cannot be split, or no number of components can be chosen, as requested."""


class MissingColumnError(SelectionError):
    """A table lacks the values of a column that a rule needs.

    Attributes
    ----------
    column : str
        Its name.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message, column)  # both, so that the error can pass between processes
        self.column = column

    def __str__(self) -> str:
        return str(self.args[0])


class EngineError(OPNMFError):
    """Part of a workflow failed. The results of the completed parts are kept.

    Parameters
    ----------
    message : str
        What failed, and why.
    causes : sequence of str
        Name of the class of each error. If a user can fix all of them, so can this one be fixed.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        kinds = [globals().get(name) or getattr(builtins, name, None) for name in causes]
        if kinds and all(isinstance(kind, type) and issubclass(kind, FIXABLE) for kind in kinds):
            self.exit_code = ExitCode.INPUT


class NotConvergedError(OPNMFError):
    """With ``--strict``: the results are written, but a fit has not converged."""

    exit_code = ExitCode.NOT_CONVERGED


class ConvergenceWarning(UserWarning):
    """A fit reached ``max_iter`` before its change fell below ``tol``."""


class SelectionWarning(UserWarning):
    """None of the compared numbers of components is clearly better than the others."""


class OrientationWarning(UserWarning):
    """The rows of a matrix look like subjects, where one row per voxel is expected."""
