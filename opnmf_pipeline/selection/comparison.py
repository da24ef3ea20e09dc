"""Comparison of two models of the same rows: matched components, and parts that split.

Every measure of agreement has beside it the agreement by chance of random compact parts, see
:mod:`opnmf_pipeline.selection.null`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from opnmf_pipeline.selection.null import Positions, random_pairs
from opnmf_pipeline.selection.reproducibility import part_dice, part_shares, rand_index
from opnmf_pipeline.selection.shape import Weights, unit_columns, winner_takes_all

__all__ = [
    "MATCH_COLUMNS",
    "MEASURES",
    "OVERLAP_COLUMNS",
    "PAIR_COLUMNS",
    "Comparison",
    "compare_components",
]

MEASURES = {
    "cosine": "Mean cosine of matched components",
    "label_ari": "Adjusted Rand index of the winner-takes-all maps",
    "dice": "Mean Dice coefficient of the parts of matched components",
    "containment": "Mean over the parts of B of the largest share in one part of A",
}
"""Measures of the agreement of two models A and B; B has as many components as A or more."""

PAIR_COLUMNS = {
    name + suffix: what + of
    for name, what in MEASURES.items()
    for suffix, of in (
        ("", ""),
        ("_null", ", mean over pairs of random compact models with the same sizes and weights"),
        ("_null_sd", ", standard deviation over these pairs"),
    )
}
MATCH_COLUMNS = {
    "component_b": "Component of B",
    "component_a": "Its partner in A (one-to-one, largest sum of cosines); n/a if it has none",
    "cosine": "Cosine of both components",
    "cosine_null": "Mean cosine of a random compact component, with the sizes and weights of the "
    "component of A, and its partner",
    "cosine_null_sd": "Standard deviation of this cosine",
    "dice": "Dice coefficient of the parts of both components",
    "dice_null": "Mean Dice coefficient by chance",
    "dice_null_sd": "Standard deviation of this coefficient",
    "parent": "Part of A that contains the largest share of the part of B; n/a for a part without "
    "rows",
    "containment": "This share",
    "containment_null": "Mean of this share by chance",
    "containment_null_sd": "Standard deviation of this share",
}
OVERLAP_COLUMNS = {
    "component_a": "Component of A",
    "component_b": "Component of B",
    "cosine": "Cosine of both components",
    "dice": "Dice coefficient of their parts",
    "share_of_a": "Share of the part of A that is in the part of B",
    "share_of_b": "Share of the part of B that is in the part of A",
}


class Comparison(NamedTuple):
    """How two models A and B agree.

    Attributes
    ----------
    measures : dict of str to float
        One value for each key of ``PAIR_COLUMNS``; without null models, only the measures.
    matches : DataFrame
        Columns ``MATCH_COLUMNS``, one row per component of B. The components that are in one
        component of A are next to each other, its partner first.
    overlaps : DataFrame
        Columns ``OVERLAP_COLUMNS``, one row per component of A and of B.
    """

    measures: dict[str, float]
    matches: pd.DataFrame
    overlaps: pd.DataFrame


def compare_components(
    W_a: Weights, W_b: Weights, positions: Positions, n_null: int, seed: int | Sequence[int]
) -> Comparison:
    """Compare two models of the same rows.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_rows, n_components), non-negative
        Components; A has no more components than B.
    positions : ndarray of shape (n_rows, n_dimensions) or None
        Coordinates of the rows, in mm; None if they have none.
    n_null : int
        Number of pairs of random models. 0: no agreement by chance.
    seed : int or sequence of int
        Seed of the random models.

    Raises
    ------
    ValueError
        A has more components than B.
    """
    k_a, k_b = W_a.shape[1], W_b.shape[1]
    if k_a > k_b:
        raise ValueError(f"A has {k_a} components, and B only {k_b}; pass the smaller model first")
    labels_a, labels_b = winner_takes_all(W_a), winner_takes_all(W_b)
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        cosines = unit_columns(W_a).T @ unit_columns(W_b)
    real = _agreement(cosines, labels_a, labels_b)
    null = _by_chance(W_a, W_b, positions, n_null, seed) if n_null else None
    measures: dict[str, float] = {}
    for name in MEASURES:
        measures[name] = float(np.mean(getattr(real, name)))
        if null is not None:
            pairs = getattr(null, name).reshape(n_null, -1).mean(axis=1)
            measures |= {f"{name}_null": float(pairs.mean()), f"{name}_null_sd": float(pairs.std())}

    share_of_a = part_shares(labels_a, labels_b, k_b)[:k_a]
    share_of_b = part_shares(labels_b, labels_a, k_b)[:, :k_a].T
    partners_a, partners_b = linear_sum_assignment(-cosines)
    dice = part_dice(labels_a, labels_b, k_b)[:k_a]

    matches = pd.DataFrame({"component_b": np.arange(1, k_b + 1)})
    for name, values in {"cosine": real.cosine, "dice": real.dice}.items():
        by_chance = None if null is None else getattr(null, name)
        for column, found in _beside(name, values, by_chance).items():
            matches[column] = np.nan
            matches.loc[partners_b, column] = found
    matches.insert(1, "component_a", pd.Series([None] * k_b, dtype="Int64"))
    matches.loc[partners_b, "component_a"] = partners_a + 1
    parents = pd.array(share_of_b.argmax(axis=0) + 1, dtype="Int64")
    parents[~share_of_b.any(axis=0)] = pd.NA
    matches["parent"] = parents
    by_chance = None if null is None else null.containment
    for column, found in _beside("containment", real.containment, by_chance).items():
        matches[column] = found
    overlaps = pd.DataFrame(
        {
            "component_a": np.repeat(np.arange(1, k_a + 1), k_b),
            "component_b": np.tile(np.arange(1, k_b + 1), k_a),
            "cosine": cosines.ravel(),
            "dice": dice.ravel(),
            "share_of_a": share_of_a.ravel(),
            "share_of_b": share_of_b.ravel(),
        }
    )
    return Comparison(measures, _in_order(matches), overlaps)


class _Agreement(NamedTuple):
    """The measures of a pair; of several pairs, the first axis of each array is the pair.

    ``cosine`` and ``dice`` have one value per component of A, ``containment`` one per part of B.
    """

    cosine: NDArray[np.float64]
    label_ari: NDArray[np.float64]
    dice: NDArray[np.float64]
    containment: NDArray[np.float64]


def _agreement(
    cosines: NDArray[np.float64], labels_a: NDArray[np.integer], labels_b: NDArray[np.integer]
) -> _Agreement:
    k_b = cosines.shape[1]
    partners = linear_sum_assignment(-cosines)
    return _Agreement(
        cosine=cosines[partners],
        label_ari=np.array(rand_index(labels_a, labels_b)),
        dice=part_dice(labels_a, labels_b, k_b)[partners],
        containment=part_shares(labels_b, labels_a, k_b).max(axis=1),
    )


def _by_chance(
    W_a: Weights, W_b: Weights, positions: Positions, n_null: int, seed: int | Sequence[int]
) -> _Agreement:
    pairs = []
    for (a, labels_a), (b, labels_b) in random_pairs(W_a, W_b, positions, n_null, seed):
        with threadpool_limits(1):
            cosines = (a.T @ b).astype(np.float64)
        pairs.append(_agreement(cosines, labels_a, labels_b))
    return _Agreement(*(np.array(values) for values in zip(*pairs, strict=True)))


def _beside(
    name: str, values: NDArray[np.float64], null: NDArray[np.float64] | None
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a measure and of its values by chance, one row per pair."""
    if null is None:
        return {name: values}
    return {name: values, f"{name}_null": null.mean(axis=0), f"{name}_null_sd": null.std(axis=0)}


def _in_order(matches: pd.DataFrame) -> pd.DataFrame:
    """Put components next to each other that are in one component of A, its partner first."""
    group = matches["component_a"].fillna(matches["parent"]).fillna(len(matches) + 1)
    keys = matches.assign(group=group, single=matches["component_a"].isna())
    order = keys.sort_values(
        ["group", "single", "containment"], ascending=[True, True, False], kind="stable"
    ).index
    return matches.loc[order].reset_index(drop=True)
