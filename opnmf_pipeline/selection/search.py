"""Search for a number of components: errors of the data and of null data over a range of k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.ranks import permuted
from opnmf_pipeline.selection.rules import RULES, Choice

__all__ = ["RankSearch", "search_ranks"]

PERMUTATIONS_MSG = "n_permutations must be an integer >= 1, got {value!r}"
RULE_MSG = "rule must be {rules}, got {value!r}"

Matrix = NDArray[np.floating]


class RankSearch(NamedTuple):
    """Result of a search over numbers of components.

    Attributes
    ----------
    ranks_ : ndarray of shape (n_ranks,), int64
        The numbers that were tried, increasing.
    errors_ : ndarray of shape (n_ranks,), float64
        Reconstruction error ‖X − WH‖ of each.
    random_errors_ : ndarray of shape (n_permutations, n_ranks), float64
        Reconstruction errors of shuffled data.
    good_ranks_ : ndarray of shape (n_good,), int64
        The good numbers, see `choice_`; empty if the data show no structure.
    choice_ : Choice
        The number that was chosen, with the reason.
    """

    ranks_: NDArray[np.int64]
    errors_: NDArray[np.float64]
    random_errors_: NDArray[np.float64]
    good_ranks_: NDArray[np.int64]
    choice_: Choice


def search_ranks(
    X: Matrix,
    ks: Sequence[int],
    error: Callable[[Matrix, int], float],
    *,
    n_permutations: int,
    random_state: int,
    rule: str = "null-crossing",
) -> RankSearch:
    """Compare the error of the data with that of shuffled data, and choose by a rule.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        The data.
    ks : sequence of int
        Numbers of components to try, increasing.
    error : callable
        ``error(X, k)`` fits k components to such data and returns the reconstruction error.
    n_permutations : int
        Number of null data sets, see `permuted`.
    random_state : int
        Seed of the first null data set; each further one adds 1.
    rule : {'null-crossing', 'opnmf-permutation'}, default='null-crossing'
        A rule that needs only these errors, see `choose_rank`.

    Returns
    -------
    RankSearch
        Errors and choice.

    Raises
    ------
    ValueError
        ``n_permutations`` is below 1, or the rule is not one of these.
    """
    if n_permutations < 1:
        raise ValueError(PERMUTATIONS_MSG.format(value=n_permutations))
    rules = [name for name, known in RULES.items() if known.compares_shuffled]
    if rule not in rules:
        raise ValueError(RULE_MSG.format(value=rule, rules=" or ".join(map(repr, rules))))
    errors = [error(X, k) for k in ks]
    null = []
    for seed in range(random_state, random_state + n_permutations):
        shuffled = permuted(X, seed)
        null.append([error(shuffled, k) for k in ks])
    random_errors = np.array(null)
    table = pd.DataFrame(
        {
            "n_components": ks,
            "reconstruction_error": errors,
            "null_error": random_errors.mean(axis=0),
        }
    )
    choice = choose_rank(table, rule)
    good = np.array(choice.good, dtype=np.int64)
    return RankSearch(np.array(ks, dtype=np.int64), np.array(errors), random_errors, good, choice)
