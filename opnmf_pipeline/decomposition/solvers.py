"""The solvers of `OPNMF`: everything that the rest of the package knows about each of them.

A new solver is a module with its function, and one entry here. The choices of the settings, their
descriptions, the methods section, the report and the documentation are made from the entry.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from opnmf_pipeline.decomposition import accelerated, adaptive, orthonormal
from opnmf_pipeline.decomposition.multiplicative import multiplicative
from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.progress import CHANGE, Criterion, Progress

CITATION = re.compile(r"\[([a-z0-9, ]+)\]")


@dataclass(frozen=True, kw_only=True)
class Solver:
    """One way to find W.

    Attributes
    ----------
    run : callable
        ``run(X, W, progress, **settings)`` improves the start W, which it may overwrite, until
        ``progress`` says stop, and returns the last W. X is `RowBlocks`; ``settings`` are the
        parameters of the estimator that the attribute of this name lists.
    refine : callable
        ``refine(X, W, progress)`` improves a W of this solver further, without another search; it
        may overwrite W. Fits with missing values continue with it after every fill, and fits of
        many columns after a search on compressed data.
    label : str
        Two or three words for figures and tables.
    summary : str
        What it finds, for the description of the setting ``solver``.
    methods : str
        Sentences for the methods section of a paper. A setting of the decomposition is written
        ``{tol:g}``, the words for the start ``{init}``, the name of a row of X ``{element}`` or
        ``{elements}``, and a citation ``[key]``, with a key of
        `opnmf_pipeline.reporting.references.REFERENCES`.
    criterion : Criterion
        The measure that has to become small.
    compressible : bool
        Whether X with many columns is compressed for ``run``, see
        `opnmf_pipeline.decomposition.compression`; ``refine`` then ends the fit on X.
    settings : mapping of str to str
        Parameters that it takes beside those of every solver (the start, ``tol`` and
        ``max_iter``), and what each means to it.
    """

    run: Callable[..., Array]
    refine: Callable[[RowBlocks, Array, Progress], Array]
    label: str
    summary: str
    methods: str
    criterion: Criterion
    compressible: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def references(self) -> list[str]:
        """Keys of the works that the sentences cite, in order."""
        return [key for keys in CITATION.findall(self.methods) for key in keys.split(", ")]


SOLVERS = {
    "multiplicative": Solver(
        run=multiplicative,
        refine=multiplicative,
        label="published update",
        summary="the published iterates, tens of thousands",
        methods="W was found with the published multiplicative update [yang2010, sotiras2015], "
        "each followed by a division by the spectral norm of W, from a start by {init}, until the "
        "relative change of W fell below {tol:g}, or for at most {max_iter:,} iterations.",
        criterion=CHANGE,
        compressible=False,  # its iterates are the published ones, on all data
    ),
    "accelerated": Solver(
        run=accelerated.accelerate,
        refine=accelerated.refine,
        label="alternating least squares",
        summary="a stationary point of the published update, in some dozens of passes over the "
        "data",
        methods="A stationary point of the published update was found by solving, in turn, for "
        "the weights of every {element} by non-negative least squares [kim2011] and for the "
        "loadings that follow from them, from a start by {init}; the fit ended when the residual "
        "of the optimality conditions fell below ten times the tolerance {tol:g}, or after at most "
        "{max_iter:,} passes over the data.",
        criterion=accelerated.KKT,
    ),
    "orthonormal": Solver(
        run=orthonormal.orthonormal,
        refine=orthonormal.refine,
        label="exactly orthonormal",
        summary="exactly orthonormal components, each voxel in one of them",
        methods="The columns of W were kept exactly orthonormal, so that each {element} belongs "
        "to one component [pompili2014]: {elements} were assigned to the component that explains "
        "most of them, and each component was set to the leading left singular vector of its "
        "{elements}, in turn, until the relative change of W fell below {tol:g}, or for at most "
        "{max_iter:,} sweeps. The best of {n_init} starts was used (one by {init}, the others from "
        "random {elements}, seed {random_state}).",
        criterion=CHANGE,
        settings={
            "n_init": "number of starts, the first W and random voxels; the best is kept",
            "random_state": "seed of the random voxels",
        },
    ),
    "adaptive": Solver(
        run=adaptive.adaptive,
        refine=adaptive.refine,
        label="disjoint or overlapping parts",
        summary="disjoint parts where they explain more and agree as well between halves of the "
        "subjects as overlapping ones, else overlapping parts, which halves of the subjects have "
        "in common",
        methods="Two kinds of solution were compared: exactly orthonormal components, so that each "
        "{element} belongs to one component [pompili2014], and stationary points of the published "
        "update, found by solving, in turn, for the weights of every {element} by non-negative "
        "least squares [kim2011] and for the loadings that follow from them. Both were fitted to "
        "halves of the subjects, from random {elements} that are far apart [charikar2021] (seed "
        "{random_state}). Disjoint components were taken if they had the lower reconstruction "
        "error and did not agree less between the halves by more than 0.02; they were then refined "
        "from {n_init} starts. Else the fit started from the mean of the matched overlapping "
        "components of the halves and of a solution from {init}, or, where the error of that mean "
        "was high, from the best two of these solutions. The fit ended when the residual of the "
        "optimality conditions fell below ten times the tolerance {tol:g} (for disjoint "
        "components, when the relative change of W fell below {tol:g}), or after at most "
        "{max_iter:,} passes over the data.",
        criterion=adaptive.KKT_OR_CHANGE,
        settings={
            "n_init": "number of starts of disjoint parts, where these are chosen",
            "random_state": "seed of the random voxels and of the halves of the subjects",
        },
    ),
}
"""By the name that the parameter and the setting ``solver`` take."""


def meanings(setting: str) -> str:
    """Return what a setting means to each solver that uses it, as ``name: meaning; …``.

    Examples
    --------
    >>> from opnmf_pipeline.decomposition.solvers import meanings
    >>> meanings("random_state").split("; ")[0]
    'orthonormal: seed of the random voxels'
    """
    return _by_name({name: solver.settings.get(setting, "") for name, solver in SOLVERS.items()})


def summaries() -> str:
    """Return what each solver finds, as ``name: summary; …``."""
    return _by_name({name: solver.summary for name, solver in SOLVERS.items()})


def criteria() -> str:
    """Return what has to be below which limit for each solver to end, as ``name: …; …``."""
    return _by_name({name: solver.criterion.words for name, solver in SOLVERS.items()})


def _by_name(texts: Mapping[str, str]) -> str:
    """Join texts, each with the names of the solvers that share it."""
    names: dict[str, list[str]] = {}
    for name, text in texts.items():
        names.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(owners)}: {text}" for text, owners in names.items() if text)
