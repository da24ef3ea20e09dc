"""Sentences about problems that readers of the report should know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.reporting.facts import Facts, QualityFacts, Words
from opnmf_pipeline.reporting.outliers import RULE, find_outliers
from opnmf_pipeline.reporting.reliability import sentences_about_reliability
from opnmf_pipeline.reporting.tables import by_chance

__all__ = [
    "attention",
    "find_duplicates",
    "find_other_units",
    "sentences_about_cohort",
    "sentences_about_fit",
    "sentences_about_places",
    "sentences_about_starts",
]

SMALL_PART = 0.001
"""A part below this fraction of the mask is nearly empty."""
MOSTLY = 0.5
"""A part is mostly in a place if its share is larger than this."""
PLACES = {
    "rim": ("on the rim of the brain or outside it", 0.3),
    "csf_or_outside": ("in cerebrospinal fluid or outside the brain", MOSTLY),
    "white_matter": ("in white matter", MOSTLY),
}
"""Where parts of grey-matter maps are artefacts: columns of the label table, their words, and the
lowest share of a part that is too much."""
TIMES = 3
"""It is too much only if it is so many times the share of all parts, or most of the part: with
large voxels, a rim of one voxel has a large share of every cortical part."""
SPARSE = 0.5
"""Images are sparse, such as lesions, if the median subject has data in less of the mask."""
LOW_COVERAGE = 0.05
"""The coverage of a subject is poor if it is this far below the median."""
MUCH_MISSING = 0.2
"""A subject that lacks more of the mask is named."""
RARE_SUBJECTS, RARE_PART = 0.9, 0.01
"""The coverage of the cohort is poor if more than this share of the mask (second) has data in fewer
than this share of the subjects (first)."""
SAME = 1e-5
"""Two images are nearly identical if 1 − r is below this,"""
SAME_SHARE = 0.1
"""or below this share of the median of 1 − r between subjects and their nearest."""
START_MATTERS = 0.7
"""Components depend on the start if the label maps of two starts agree by less than this (ARI)."""
OTHER_UNITS = 10.0
"""The values of an image are in other units if they are so many times the median, or less than the
median by as much."""
N_NAMED = 8


def attention(facts: Facts) -> list[str]:
    """Return sentences about problems of the fits and of the images."""
    sentences = []
    sizes = {fit.k: fit.sizes.tolist() for fit in facts.fits}
    for k, info in zip(facts.ks, facts.infos, strict=True):
        sentences += sentences_about_fit(info, sizes.get(k, []))
        sentences += sentences_about_starts(k, facts.selection.of(k))
    for fit in facts.fits:
        sentences += sentences_about_reliability(fit.k, fit.reliability)
    parts = {fit.k: fit.parts for fit in facts.fits}
    sentences += sentences_about_places(parts, _expected(facts.quality))
    if facts.quality:
        quality = facts.quality
        words = facts.grid.words
        sentences += sentences_about_cohort(quality.subjects, facts.errors, quality.covered, words)
    if facts.mixed_entities:
        sentences.append(
            f"The file names of the images have different entities ({facts.mixed_entities}). "
            "Check that these images can be compared."
        )
    return sentences


def sentences_about_fit(info: Mapping[str, Any], part_sizes: Sequence[int]) -> list[str]:
    """Return sentences about problems of one fit.

    Parameters
    ----------
    info : dict
        Content of ``factorization.json``.
    part_sizes : sequence of int
        Size of each part in the winner-takes-all map: its number of rows in W.
    """
    k = info["NumberOfComponents"]
    sentences = []
    if not info["Converged"]:
        sentences.append(
            f"k = {k}: the fit did not converge; raise decomposition.max_iter or decomposition.tol."
        )
    small = [
        f"component {number} ({size / info['NumberOfVoxels']:.3%})"
        for number, size in enumerate(part_sizes, start=1)
        if size < SMALL_PART * info["NumberOfVoxels"]
    ]
    if small:
        sentences.append(
            f"k = {k}: nearly empty components, each with less than {SMALL_PART:.1%} of the mask: "
            f"{_named(small)}."
        )
    return sentences


def sentences_about_places(
    parts: Mapping[int, pd.DataFrame], expected: Collection[str] = ()
) -> list[str]:
    """Return a sentence if parts lie where grey-matter maps should show little.

    Parameters
    ----------
    parts : mapping of int to DataFrame
        Label table of each number of components. Without the columns of :data:`PLACES`, there is
        nothing to say.
    expected : collection of str
        Columns where components are expected, such as ``white_matter`` for white-matter maps.
    """
    places = [
        f"k = {k}, {words}: {_named(components)}."
        for k, table in parts.items()
        for column, (words, lowest) in PLACES.items()
        if column in table and column not in expected
        if (components := _above(table, column, lowest))
    ]
    if not places:
        return []
    return [
        f"Components along the edge of the brain or mostly outside grey matter. {' '.join(places)} "
        "They may be artefacts of segmentation, registration or smoothing. Look at these maps "
        "before you interpret them. A higher mask.threshold or mask.method: template excludes more "
        "of such voxels."
    ]


def _above(parts: pd.DataFrame, column: str, lowest: float) -> list[str]:
    share_of_all = (parts[column] * parts["n_voxels"]).sum() / parts["n_voxels"].sum()
    limit = np.clip(TIMES * share_of_all, lowest, MOSTLY)
    flagged = parts[parts[column] > limit]
    return [
        f"component {number} ({share:.0%})"
        for number, share in zip(flagged["index"], flagged[column], strict=True)
    ]


def _expected(quality: QualityFacts | None) -> Collection[str]:
    """Return where components are no artefacts, because the images do not show grey matter."""
    if quality is None or not quality.tissues:
        return ()
    tissues = quality.tissues
    grey = tissues["grey_matter"] > tissues["white_matter"] and not _sparse(quality.subjects)
    return () if grey else ("white_matter",)


def _sparse(subjects: pd.DataFrame) -> bool:
    return bool(subjects["coverage"].median() < SPARSE)


def sentences_about_starts(k: int, measures: Mapping[str, Any]) -> list[str]:
    """Return a sentence if the components of a fit depend on the start.

    Parameters
    ----------
    k : int
        Number of components.
    measures : mapping of str to object
        Measures of k, by the columns of ``desc-opnmf_metrics.tsv``.
    """
    agreement = measures.get("start_label_ari", np.nan)
    if not agreement < START_MATTERS:
        return []
    return [
        f"k = {k}: the components depend on the start: the label maps of two random starts on the "
        f"same subjects agree only by {agreement:.2f} (adjusted Rand index"
        f"{by_chance(measures, 'start_label_ari')}). Do not interpret single components; compare "
        "with a smaller k or with another solver."
    ]


def sentences_about_cohort(
    subjects: pd.DataFrame, errors: pd.DataFrame, coverage: NDArray[np.floating], words: Words
) -> list[str]:
    """Return sentences about problems of the images.

    Parameters
    ----------
    subjects : DataFrame
        Table of :func:`opnmf_pipeline.stages.quality.assess_cohort`, indexed by subject. If the
        images are sparse, such as lesions, nothing is said about missing data.
    errors : DataFrame
        Relative reconstruction errors: one row per subject, one column per k.
    coverage : ndarray of shape (n_voxels,)
        Share of the subjects with data.
    words : Words
        Words of the grid.
    """
    sentences, these = [], f"these {words.data}"
    flagged = find_outliers(errors)
    odd = [
        f"{subject} (k = {', '.join(str(k) for k in flagged.columns[row])})"
        for subject, row in zip(flagged.index, flagged.to_numpy(), strict=True)
        if row.any()
    ]
    if odd:
        sentences.append(
            f"Outliers: {_named(odd)}. The components reconstruct {these} worse than the "
            f"others (logarithm of the relative reconstruction error {RULE}). Check {these}."
        )
    if len(subjects) > 1 and (constant := subjects["correlation"].isna()).any():
        sentences.append(
            f"Constant {words.data}: {_named(subjects.index[constant].tolist())}. All their values "
            f"in the mask are equal, so they show nothing. Leave these {words.data} out."
        )
    if pairs := find_duplicates(subjects):
        named = [f"{a} and {b} (r = {r:.5f})" for a, b, r in pairs]
        sentences.append(
            f"Nearly identical {words.data}: {_named(named)}. The same {words.entry} may have been "
            "entered twice."
        )
    if others := find_other_units(subjects):
        named = [f"{name} ({factor:.3g} times)" for name, factor in others.items()]
        sentences.append(
            f"Other units: {_named(named)}. Their {words.data} differ by that factor from the "
            f"median. Give all {words.data} the same units, such as a scale from 0 to 1."
        )
    if "missing" in subjects and (many := subjects["missing"] > MUCH_MISSING).any():
        named = [f"{name} ({share:.0%})" for name, share in subjects["missing"][many].items()]
        sentences.append(
            f"Many missing values: {_named(named)}. Their loadings are less certain. "
            "Compare the results with those without these subjects."
        )
    return sentences + ([] if _sparse(subjects) else _about_coverage(subjects, coverage, words))


def _about_coverage(
    subjects: pd.DataFrame, coverage: NDArray[np.floating], words: Words
) -> list[str]:
    """Return sentences about missing data. In sparse images, zeros are no missing data."""
    sentences = []
    data = subjects["coverage"] + subjects.get("missing", 0)  # missing values are no zeros
    poor = data < data.median() - LOW_COVERAGE
    if poor.any():
        named = [f"{name} ({share:.0%})" for name, share in subjects["coverage"][poor].items()]
        sentences.append(
            f"Poor coverage: {_named(named)}. These {words.data} cover a far smaller part of "
            f"the mask than most {words.data}. {words.if_poor}"
        )
    rare = float((coverage < RARE_SUBJECTS).mean())
    if rare > RARE_PART:
        sentences.append(
            f"{rare:.0%} of the mask has data in fewer than {RARE_SUBJECTS:.0%} of the subjects. "
            "See the coverage map."
            + (" Set mask.method to coverage to exclude this part." * ("missing" not in subjects))
        )
    return sentences


def find_duplicates(subjects: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Return pairs of subjects whose images are nearly identical, with their correlation.

    Parameters
    ----------
    subjects : DataFrame
        ``nearest`` and ``correlation``, indexed by subject.

    Returns
    -------
    list of (str, str, float)
        Both subjects and the Pearson correlation of their images, sorted by subject.
    """
    apart = 1 - subjects["correlation"]
    same = apart < max(SAME, SAME_SHARE * float(apart.median()))
    pairs = {
        tuple(sorted((str(name), str(row["nearest"])))): float(row["correlation"])
        for name, row in subjects[same].iterrows()
    }
    return [(a, b, r) for (a, b), r in sorted(pairs.items())]


def find_other_units(subjects: pd.DataFrame) -> dict[str, float]:
    """Return the subjects whose values are on another scale than those of the other subjects.

    Parameters
    ----------
    subjects : DataFrame
        ``norm`` and ``coverage``, indexed by subject.

    Returns
    -------
    dict of str to float
        Root mean square of the values that are not zero, divided by its median over the subjects.
        Unlike the norm, it does not depend on the size of a lesion.
    """
    scale = subjects["norm"] / np.sqrt(subjects["coverage"])
    factors = scale / scale.median()
    other = (factors >= OTHER_UNITS) | (factors <= 1 / OTHER_UNITS)
    return {str(name): float(factor) for name, factor in factors[other].items()}


def _named(items: Sequence[str]) -> str:
    more = len(items) - N_NAMED
    return ", ".join(items[:N_NAMED]) + (f" and {more} more" if more > 0 else "")
