"""Search for a number of components: fits of the data and of shuffled data, over a range of k."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from opnmf_pipeline.decomposition.validation import check_rank
from opnmf_pipeline.exceptions import ConvergenceWarning, SelectionWarning
from opnmf_pipeline.selection.choice import Choice, choose_rank
from opnmf_pipeline.selection.ranks import permuted

if TYPE_CHECKING:
    from opnmf_pipeline.decomposition.base import ProjectiveNMF

__all__ = ["RankSearch", "rank_permute", "search_ranks"]

SEED_LIMIT = 2**31
RANGE_MSG = (
    "min_components={low}, max_components={high} and step={step} give no number of components; "
    "1 <= min_components <= max_components and step >= 1 are needed"
)
PERMUTATIONS_MSG = "n_permutations must be an integer >= 1, got {value!r}"
NOT_CONVERGED_MSG = (
    "{n} of the {total} fits of the search stopped at max_iter={max_iter}: their errors are upper "
    "bounds, and the number of components may be off; raise max_iter or tol"
)


class RankSearch(NamedTuple):
    """What a search over numbers of components found.

    Attributes
    ----------
    ranks_ : ndarray of shape (n_ranks,), int64
        The numbers that were tried, increasing.
    errors_ : ndarray of shape (n_ranks,)
        Reconstruction error ‖X − WH‖ of each.
    random_errors_ : ndarray of shape (n_permutations, n_ranks)
        The same of shuffled data.
    good_ranks_ : ndarray of shape (n_good,), int64
        The good numbers, see `choice_`; none where the data show no structure.
    choice_ : Choice
        The number that was chosen, and why.
    """

    ranks_: NDArray[np.int64]
    errors_: NDArray[np.float64]
    random_errors_: NDArray[np.float64]
    good_ranks_: NDArray[np.int64]
    choice_: Choice


def rank_permute(
    X: NDArray[np.floating],
    min_components: int,
    max_components: int,
    step: int = 1,
    *,
    estimator: ProjectiveNMF | None = None,
    n_permutations: int = 1,
    random_state: int = 0,
) -> RankSearch:
    """Compare the error of the data with that of shuffled data over a range of k.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        The data, non-negative.
    min_components, max_components : int
        Smallest and largest number of components.
    step : int, default=1
        From each number to the next; the largest is tried if a step ends there.
    estimator : OPNMF or PNMF, optional
        How each k is fitted; its ``n_components`` does not matter. Default: ``OPNMF()``.
    n_permutations : int, default=1
        Number of times that the data are shuffled; each costs one fit per k.
    random_state : int, default=0
        Seed of the first shuffling; the others count on from it.

    Returns
    -------
    RankSearch
        Numbers, errors, good numbers, and the choice in words.

    Raises
    ------
    ValueError
        For an empty range, and for what the estimator refuses.

    Warns
    -----
    SelectionWarning
        Where no number stands out.

    Examples
    --------
    >>> import numpy as np
    >>> from opnmf_pipeline.decomposition import OPNMF, rank_permute
    >>> rng = np.random.default_rng(0)
    >>> X = np.kron(np.eye(3), np.ones((30, 1))) @ rng.random((3, 20)) + 0.1 * rng.random((90, 20))
    >>> found = rank_permute(X, 1, 6, estimator=OPNMF(solver="orthonormal", random_state=0))
    >>> found.choice_.k, found.good_ranks_
    (3, array([3]))
    """
    if not 1 <= min_components <= max_components or step < 1:
        raise ValueError(RANGE_MSG.format(low=min_components, high=max_components, step=step))
    if estimator is None:
        from opnmf_pipeline.decomposition.estimator import OPNMF  # which imports this module

        estimator = OPNMF()
    ks = range(min_components, max_components + 1, step)
    return search_ranks(X, ks, estimator, n_permutations, random_state, stacklevel=3)


def search_ranks(
    X: NDArray[np.floating],
    ks: Sequence[int],
    estimator: ProjectiveNMF,
    n_permutations: int,
    seed: int,
    *,
    stacklevel: int,
) -> RankSearch:
    """Fit each k to the data and to shuffled data, and choose; see `rank_permute`.

    Warnings point at the caller so many levels up.
    """
    if n_permutations < 1:
        raise ValueError(PERMUTATIONS_MSG.format(value=n_permutations))
    check_rank(max(ks), X.shape)
    quiet: dict[str, Any] = {"callback": None, "checkpoint": None}
    model = clone(estimator).set_params(**quiet)
    errors, converged = _errors(X, ks, model)
    null = []
    for permutation in range(n_permutations):
        shuffled, shuffled_converged = _errors(permuted(X, seed + permutation), ks, model)
        null.append(shuffled)
        converged += shuffled_converged
    if n := converged.count(False):
        message = NOT_CONVERGED_MSG.format(n=n, total=len(converged), max_iter=model.max_iter)
        warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)
    random_errors = np.array(null)
    table = pd.DataFrame(
        {
            "n_components": ks,
            "reconstruction_error": errors,
            "null_error": random_errors.mean(axis=0),
        }
    )
    choice = choose_rank(table, "null-crossing")
    if choice.flat:
        warnings.warn(choice.reason, SelectionWarning, stacklevel=stacklevel)
    good = np.array(choice.good, dtype=np.int64)
    return RankSearch(np.array(ks, dtype=np.int64), np.array(errors), random_errors, good, choice)


def _errors(
    X: NDArray[np.floating], ks: Sequence[int], model: ProjectiveNMF
) -> tuple[list[float], list[bool]]:
    """Return the error of each k, and whether its fit converged."""
    errors, converged = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k in ks:
            model.set_params(n_components=k).fit(X)
            errors.append(model.reconstruction_err_)
            converged.append(model.converged_)
    return errors, converged
