"""Fits of one estimator with several numbers of components, and the choice of one number."""

import warnings
from collections.abc import Sequence

from sklearn.base import BaseEstimator, clone

from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.decomposition.validation import check_rank
from opnmf_pipeline.exceptions import ConvergenceWarning, SelectionWarning
from opnmf_pipeline.selection.search import RankSearch, search_ranks

NOT_CONVERGED_MSG = (
    "{n} of the {total} fits of the search stopped at max_iter={max_iter}: their errors are upper "
    "bounds, and the number of components may be off; raise max_iter or tol"
)


def search_with(
    estimator: BaseEstimator,
    X: Array,
    ks: Sequence[int],
    *,
    n_permutations: int,
    random_state: int,
    rule: str = "null-crossing",
    stacklevel: int,
) -> RankSearch:
    """Fit each k to the data and to shuffled data, and choose; see `rank_permute`.

    Warnings point at the caller so many levels up.
    """
    check_rank(max(ks), X.shape)
    model = clone(estimator).set_params(callback=None, checkpoint=None)
    converged = []

    def error(X: Array, k: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(n_components=k).fit(X)
        converged.append(model.converged_)
        return float(model.reconstruction_err_)

    found = search_ranks(
        X, ks, error, n_permutations=n_permutations, random_state=random_state, rule=rule
    )
    if n := converged.count(False):
        message = NOT_CONVERGED_MSG.format(n=n, total=len(converged), max_iter=model.max_iter)
        warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)
    if found.choice_.flat:
        warnings.warn(found.choice_.reason, SelectionWarning, stacklevel=stacklevel)
    return found
