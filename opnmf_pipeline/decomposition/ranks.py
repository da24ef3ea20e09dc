"""The choice of a number of components for data in memory."""

from opnmf_pipeline.decomposition.base import ProjectiveNMF
from opnmf_pipeline.decomposition.estimator import OPNMF
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.decomposition.search import search_with
from opnmf_pipeline.selection.search import RankSearch

RANGE_MSG = (
    "min_components={low}, max_components={high} and step={step} give no number of components; "
    "1 <= min_components <= max_components and step >= 1 are needed"
)


def rank_permute(
    X: Array,
    min_components: int,
    max_components: int,
    step: int = 1,
    *,
    estimator: ProjectiveNMF | None = None,
    n_permutations: int = 1,
    random_state: int = 0,
    rule: str = "null-crossing",
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
    rule : {'null-crossing', 'opnmf-permutation'}, default='null-crossing'
        How a number is chosen from the errors, see `choose_rank`. ``opnmf-permutation`` is the
        criterion of the function of this name in the Python package opnmf.

    Returns
    -------
    RankSearch
        Numbers, errors, good numbers, and the choice in words.

    Raises
    ------
    ValueError
        For an empty range, for another rule, and for what the estimator refuses.

    Warns
    -----
    SelectionWarning
        Where no number stands out.
    ConvergenceWarning
        Where fits stopped before they converged.

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
    return search_with(
        OPNMF() if estimator is None else estimator,
        X,
        range(min_components, max_components + 1, step),
        n_permutations=n_permutations,
        random_state=random_state,
        rule=rule,
        stacklevel=3,
    )
