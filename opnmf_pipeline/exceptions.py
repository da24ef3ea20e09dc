"""Errors that a user can fix: each message says what is wrong, where, and what to do."""

from collections.abc import Sequence

__all__ = [
    "CohortError",
    "ConfigError",
    "ConvergenceWarning",
    "EngineError",
    "ImageError",
    "MissingColumnError",
    "OPNMFError",
    "OutputError",
    "SelectionError",
    "SelectionWarning",
]


class OPNMFError(ValueError):
    """Base of the errors that the command line shows without a traceback."""

    exit_code = 2


class ConfigError(OPNMFError):
    """A configuration file or an override has an unknown key or an invalid value."""


class CohortError(OPNMFError):
    """The subjects and their images cannot be matched one to one."""


class ImageError(OPNMFError):
    """An image cannot be read, or its grid or values do not fit the analysis."""


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
        Name of the class of each error. If all are errors that a user can fix, so is this one.
    """

    exit_code = 1

    def __init__(self, message: str, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        known = (globals().get(name) for name in causes)
        codes = {getattr(error, "exit_code", self.exit_code) for error in known}
        if len(codes) == 1:
            self.exit_code = codes.pop()


class ConvergenceWarning(UserWarning):
    """A fit reached ``max_iter`` before its change fell below ``tol``."""


class SelectionWarning(UserWarning):
    """None of the compared numbers of components is clearly better than the others."""
