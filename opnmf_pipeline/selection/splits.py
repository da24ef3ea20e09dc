"""Splits of a cohort into two parts: balanced random halves, or one group against all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from opnmf_pipeline.exceptions import SelectionError

__all__ = ["leave_group_out", "split_halves", "strata_of"]

Subjects = NDArray[np.int64]
Split = tuple[Subjects, Subjects]

LENGTH_MSG = "{name} has {got} values for {n_subjects} subjects; give one per subject"
ONE_GROUP_MSG = (
    "all {n_subjects} subjects are in one group, which cannot be split; use another column or none"
)
MISSING_MSG = (
    "{n} of {n_subjects} subjects have no value in the column of the group to leave out, "
    "{column!r} ({named}); add these values, or leave these subjects out"
)
N_NAMED = 5
"""So many subjects are named in a message."""


def split_halves(
    n_subjects: int,
    n_splits: int,
    random_state: int,
    *,
    strata: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> list[Split]:
    """Return random splits of the subjects into two halves.

    Groups are assigned one after the other; a subject without a group is a group of one. The
    largest groups come first, then stratum by stratum, in random order within a stratum. A group is
    assigned to the half with fewer subjects of its strata; if these are equal, to the smaller half;
    if both halves are equal, at random.

    Parameters
    ----------
    n_subjects : int
        Number of subjects. If the halves differ in size, the second half is the larger one.
    n_splits : int
        Number of splits. A larger number starts with the splits of a smaller number.
    random_state : int
        Seed.
    strata : array-like of shape (n_subjects,), optional
        Labels of strata to balance across halves, see `strata_of`. Without groups, the numbers of
        subjects of a stratum in both halves differ by at most one.
    groups : array-like of shape (n_subjects,), optional
        Labels of groups to keep in the same half, such as families or the scans of one person. A
        subject with a missing label is a group of one.

    Returns
    -------
    list of (ndarray, ndarray)
        For each split, the sorted indices of the subjects in each half, int64.

    Raises
    ------
    SelectionError
        The number of labels is wrong, or all subjects are in one group.

    Examples
    --------
    >>> from opnmf_pipeline.selection.splits import split_halves
    >>> first, second = split_halves(6, 1, 0, groups=["a", "a", "b", "b", "c", "c"])[0]
    >>> first.size, second.size
    (2, 4)
    """
    stratum = _codes("strata", strata, n_subjects)
    group = _numbered(_codes("groups", groups, n_subjects))
    counts = np.zeros((group.max() + 1, stratum.max() + 2), dtype=np.int64)
    np.add.at(counts, (group, stratum), 1)
    if n_splits and len(counts) < 2:
        raise SelectionError(ONE_GROUP_MSG.format(n_subjects=n_subjects))
    rng = np.random.default_rng(random_state)
    return [_halve(counts, group, rng) for _ in range(n_splits)]


def _halve(counts: NDArray[np.int64], group: Subjects, rng: np.random.Generator) -> Split:
    """Assign groups to two halves; ``counts`` is (n_groups, n_strata), numbers of subjects."""
    chance = rng.permutation(len(counts))
    coins = rng.choice((-1, 1), len(counts))
    side = np.zeros(len(counts), dtype=np.int64)
    surplus = np.zeros(counts.shape[1], dtype=np.int64)
    for unit in np.lexsort((chance, counts.argmax(axis=1), -counts.sum(axis=1))):
        # Σ(surplus ± counts)² is smaller for the sign with a negative scalar product
        lean = surplus @ counts[unit] or surplus.sum() or coins[unit]
        side[unit] = -np.sign(lean)
        surplus += side[unit] * counts[unit]
    smaller = -1 if surplus.sum() > 0 else 1
    in_first = side[group] == smaller
    return np.flatnonzero(in_first), np.flatnonzero(~in_first)


def leave_group_out(groups: ArrayLike) -> list[Split]:
    """Return one split per group: all other subjects for training, the group for testing.

    Parameters
    ----------
    groups : array-like of shape (n_subjects,)
        Labels, for example of the site. Name and index of a Series name the column and the subjects
        in errors.

    Returns
    -------
    list of (ndarray, ndarray)
        Sorted indices of the other subjects and of the group, int64; sorted by label.

    Raises
    ------
    SelectionError
        A label is missing, or all labels are equal.
    """
    groups = pd.Series(groups)
    codes, labels = pd.factorize(groups, sort=True)
    if lacking := [str(name) for name in groups.index[codes < 0]]:
        named = ", ".join(lacking[:N_NAMED]) + ", ..." * (len(lacking) > N_NAMED)
        raise SelectionError(
            MISSING_MSG.format(
                n=len(lacking), n_subjects=len(codes), column=groups.name, named=named
            )
        )
    if len(labels) < 2:
        raise SelectionError(ONE_GROUP_MSG.format(n_subjects=len(codes)))
    return [
        (np.flatnonzero(codes != code), np.flatnonzero(codes == code))
        for code in range(len(labels))
    ]


def bootstrap_sample(
    n_subjects: int, seed: int | Sequence[int], *, groups: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Draw subjects with replacement, as many as there are; subjects of a group together.

    Parameters
    ----------
    n_subjects : int
        Number of subjects.
    seed : int or sequence of int
        Seed.
    groups : array-like of shape (n_subjects,), optional
        Labels. As many groups are drawn as there are, so that the number of subjects can differ.
        A subject without a label is a group of its own.

    Returns
    -------
    ndarray of shape (n_drawn,), int64
        Sorted indices of the subjects; a subject can occur several times.

    Raises
    ------
    SelectionError
        The number of labels is wrong.
    """
    group = _numbered(_codes("groups", groups, n_subjects))
    n_groups = int(group.max()) + 1
    times = np.bincount(
        np.random.default_rng(seed).integers(n_groups, size=n_groups), minlength=n_groups
    )
    return np.repeat(np.arange(n_subjects), times[group])


def strata_of(table: pd.DataFrame, columns: Sequence[str], n_bins: int) -> NDArray[np.str_]:
    """Return one label per subject that combines covariates.

    Parameters
    ----------
    table : DataFrame
        One row per subject.
    columns : sequence of str
        Covariates; without any, all subjects are in one stratum. A numeric covariate with more than
        ``n_bins`` different values is divided into bins at its quantiles. Missing values are one
        level.
    n_bins : int
        Number of quantile bins.

    Returns
    -------
    ndarray of shape (n_subjects,), str
        For example ``age=(17.9, 35.0], sex=F``.
    """
    labels = pd.Series("", index=table.index)
    for name in columns:
        levels = table[name]
        if pd.api.types.is_numeric_dtype(levels) and levels.nunique() > n_bins:
            levels = pd.qcut(levels, n_bins, duplicates="drop")
        text = levels.astype("object").where(levels.notna(), "n/a").astype(str)
        labels += f"{name}=" + text + ", "
    return labels.str.removesuffix(", ").to_numpy(dtype=str)


def _numbered(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the group of each subject; one without a label has its own."""
    alone = group < 0
    return np.where(alone, group.max(initial=-1) + np.cumsum(alone), group)


def _codes(name: str, labels: ArrayLike | None, n_subjects: int) -> NDArray[np.int64]:
    """Return labels as integers from 0; -1 for a missing label, and for all without ``labels``."""
    if labels is None:
        return np.full(n_subjects, -1)
    codes, _ = pd.factorize(pd.Series(labels), sort=True)
    if len(codes) != n_subjects:
        message = LENGTH_MSG.format(name=name, got=len(codes), n_subjects=n_subjects)
        raise SelectionError(message)
    return codes.astype(np.int64)
