"""All measures of the agreement of two factorizations, as columns of a table.

To add a measure, add its column to :data:`AGREEMENT_COLUMNS` and its value to :func:`agreement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from opnmf_pipeline.selection.null import Positions, null_agreement
from opnmf_pipeline.selection.reproducibility import (
    cosine_and_rand_index,
    label_agreement,
    matched_inner_products,
    stability_coefficient,
)
from opnmf_pipeline.selection.shape import Weights, winner_takes_all

__all__ = [
    "AGREEMENT_COLUMNS",
    "NULL_COLUMNS",
    "START_COLUMNS",
    "agreement",
    "agreement_by_chance",
    "agreement_of_starts",
]

AGREEMENT_COLUMNS = {
    "inner_product": "Mean cosine of matched components of the two parts",
    "inner_product_median": "Median cosine of matched components",
    "label_ari": "Adjusted Rand index of the winner-takes-all maps; 0 for labels in random "
    "order, more for random compact parts: see label_ari_null",
    "label_ami": "Adjusted mutual information of the winner-takes-all maps; 0 for labels in "
    "random order, more for random compact parts",
    "label_nmi": "Normalised mutual information of the winner-takes-all maps; more than "
    "0 for labels in random order",
    "variation_of_information": "Variation of information between the winner-takes-all maps, in "
    "bits; 0 if equal",
    "label_dice": "Mean Dice coefficient of matched parts of the winner-takes-all maps",
    "stability": "Stability coefficient, mean over the rows of W",
    "stability_median": "Stability coefficient, median over the rows of W",
    "stability_voxel_sd": "Stability coefficient, standard deviation over the rows of W",
}
"""Measures that `agreement` returns, with a description of each."""

NULL_COLUMNS = {
    f"{name}_null{suffix}": f"{what} of random compact components with the same sizes and weights, "
    f"{of} over random pairs; for tables, of components with their rows in random order"
    for name, what in (
        ("inner_product", "Mean cosine of matched components"),
        ("label_ari", "Adjusted Rand index of the winner-takes-all maps"),
        ("stability", "Stability coefficient, mean over the rows of W,"),
    )
    for suffix, of in (("", "mean"), ("_sd", "standard deviation"))
}
"""Measures that `agreement_by_chance` returns, with a description of each."""

START_COLUMNS = {
    "start_inner_product": "Mean cosine of matched components of two fits of all subjects from "
    "different random starts, mean over all pairs of starts; 1 if the start does not matter",
    "start_label_ari": "Adjusted Rand index of the winner-takes-all maps of two fits of all "
    "subjects from different random starts, mean over all pairs of starts; 1 if the start does not "
    "matter",
    "start_stability": "Stability coefficient of two fits of all subjects from different random "
    "starts, mean over the rows of W and over all pairs of starts; 1 if the start does not matter",
}
"""Measures that `agreement_of_starts` returns, with a description of each."""


def agreement(W_a: Weights, W_b: Weights) -> dict[str, float]:
    """Return every measure of the agreement of two factorizations of the same voxels.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components), non-negative
        Both have the same number of components.

    Returns
    -------
    dict of str to float
        One value for each key of ``AGREEMENT_COLUMNS``, in this order.
    """
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        matched = matched_inner_products(W_a, W_b)
        labels = label_agreement(winner_takes_all(W_a), winner_takes_all(W_b), W_a.shape[1])
        stability = pd.Series(stability_coefficient(W_a, W_b))
    found: Mapping[str, Any] = {
        "inner_product": matched.mean(),
        "inner_product_median": np.median(matched),
        "label_ari": labels["ari"],
        "label_ami": labels["ami"],
        "label_nmi": labels["nmi"],
        "variation_of_information": labels["variation_of_information"],
        "label_dice": labels["dice"],
        "stability": stability.mean(),
        "stability_median": stability.median(),
        "stability_voxel_sd": stability.std(ddof=0),
    }
    return {name: float(value) for name, value in found.items()}


def agreement_by_chance(
    weights: Sequence[Weights], positions: Positions, n_null: int, seed: Sequence[int]
) -> dict[str, float]:
    """Return how much factorizations of the same voxels agree by chance.

    Parameters
    ----------
    weights : sequence of ndarray of shape (n_voxels, n_components), non-negative
        W of each fit, two or more; all have the same number of components.
    positions : ndarray of shape (n_voxels, n_dimensions) or None
        Coordinates of the voxels in mm; None if they have none.
    n_null : int
        Number of random pairs for each pair of fits. 0: nothing is returned.
    seed : sequence of int
        Seed.

    Returns
    -------
    dict of str to float
        One value for each key of ``NULL_COLUMNS``, over the random pairs of all pairs of fits.
    """
    if not n_null:
        return {}
    null = [
        null_agreement(W_a, W_b, positions, n_null, [*seed, number])
        for number, (W_a, W_b) in enumerate(combinations(weights, 2))
    ]
    found = [of for values in np.hstack(null) for of in (values.mean(), values.std(ddof=1))]
    return {name: float(value) for name, value in zip(NULL_COLUMNS, found, strict=True)}


def agreement_of_starts(weights: Sequence[Weights]) -> dict[str, float]:
    """Return how much fits of the same data from different starts agree.

    Parameters
    ----------
    weights : sequence of ndarray of shape (n_voxels, n_components), non-negative
        W of each fit, two or more; all have the same number of components.

    Returns
    -------
    dict of str to float
        One value for each key of ``START_COLUMNS``: the mean over all pairs of fits.
    """
    with threadpool_limits(1):  # as in `agreement`
        pairs = [
            (
                *cosine_and_rand_index(W_a, W_b),
                pd.Series(stability_coefficient(W_a, W_b)).mean(),
            )
            for W_a, W_b in combinations(weights, 2)
        ]
    means = np.mean(pairs, axis=0)
    return {name: float(mean) for name, mean in zip(START_COLUMNS, means, strict=True)}
