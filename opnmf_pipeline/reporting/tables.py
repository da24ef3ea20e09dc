"""The tables of a report: measures, components, subjects and images, and the format of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from opnmf_pipeline.reporting.facts import FitFacts

__all__ = [
    "Measure",
    "about_missing",
    "by_chance",
    "cell",
    "component_titles",
    "images_table",
    "measures",
    "parts_table",
    "regions_table",
    "subjects_table",
]

IMAGE_COLUMNS = ("participant_id", "session_id", "measure_id", "image", "sha256")
SMALLEST_OVERLAP = 0.0005
"""Smallest cosine that rounds to 0.001; below it, the table names no other component."""
NAMES = {"n_iter": "iterations", "n_pieces": "connected pieces per part", "n_splits": "splits"}
PARTS = {
    "proposed_name": "proposed name",
    "reproduced": "reproduced",
    "n_voxels": "voxels",
    "n_vertices": "vertices",
    "n_grayordinates": "grayordinates",
    "n_features": "features",
    "n_left": "on the left",
    "n_right": "on the right",
    "volume": "volume (cm³)",
    "peak_x": "peak x (mm)",
    "peak_y": "peak y (mm)",
    "peak_z": "peak z (mm)",
    "peak_structure": "peak in",
    "peak_vertex": "peak vertex",
    "strongest_features": "strongest features",
}
"""Columns of the label tables of all spaces and of their reliability, and their heads."""
TOP_REGIONS = 5
"""Number of regions of each component in the report."""
SPREAD = "_sd"
"""Ending of the column with the standard deviation of another."""
ACRONYMS = {"ari", "kkt", "sd"}
"""Words in the names of columns that are written in capitals."""


@dataclass(frozen=True)
class Measure:
    """One measure over the numbers of components.

    Attributes
    ----------
    name, description : str
        Texts at the start of the row.
    cells : list of str
        A value for each k.
    """

    name: str
    description: str
    cells: list[str]


def measures(metrics: pd.DataFrame, descriptions: Mapping[str, str]) -> list[Measure]:
    """Transpose the table of metrics, and join each mean with its standard deviation.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components.
    descriptions : mapping of str to str
        Description of each column.
    """
    return [
        Measure(
            name=NAMES.get(str(column), _in_words(str(column))),
            description=descriptions.get(str(column), ""),
            cells=_cells(metrics, str(column)),
        )
        for column in metrics
        if column != "n_components" and not _is_spread(metrics, str(column))
    ]


def _in_words(column: str) -> str:
    return " ".join(word.upper() if word in ACRONYMS else word for word in column.split("_"))


def _is_spread(metrics: pd.DataFrame, column: str) -> bool:
    return column.endswith(SPREAD) and column.removesuffix(SPREAD) in metrics


def _cells(metrics: pd.DataFrame, column: str) -> list[str]:
    values = [cell(value) for value in metrics[column].tolist()]
    spread = metrics.get(column + SPREAD)
    if spread is None:
        return values
    return [
        f"{value} ± {sd:.1g}" if pd.notna(sd) else value
        for value, sd in zip(values, spread.tolist(), strict=True)
    ]


def component_titles(parts: pd.DataFrame) -> list[str]:
    """Return the number of each component, and its proposed name if it has one.

    Parameters
    ----------
    parts : DataFrame
        Label table: ``index`` and, with an atlas, ``proposed_name``.

    Examples
    --------
    >>> component_titles(pd.DataFrame({"index": [1, 2], "proposed_name": ["Left insula", None]}))
    ['component 1: Left insula', 'component 2']
    """
    names = parts.get("proposed_name", pd.Series(index=parts.index, dtype=object))
    return [
        f"component {index}: {name}" if pd.notna(name) else f"component {index}"
        for index, name in zip(parts["index"], names, strict=True)
    ]


def parts_table(fit: FitFacts) -> pd.DataFrame:
    """Return name, reproducibility, size, peak and overlap of each component."""
    parts = fit.parts.copy()
    if "volume" in parts:
        parts["volume"] = (parts["volume"] / 1000).map("{:.1f}".format)
    if "proposed_name" in parts:
        parts["proposed_name"] = parts["proposed_name"].fillna("n/a")
    if fit.reliability is not None:
        parts["reproduced"] = fit.reliability.table["reproduced"].fillna("n/a")
    return pd.DataFrame(
        {
            "component": fit.parts["index"],
            **{head: parts[name] for name, head in PARTS.items() if name in parts},
            **_sizes_in_measures(fit),
            "largest overlap (cosine)": [f"{value:.3f}" for value in fit.overlaps],
            "with component": [
                str(other + 1) if value >= SMALLEST_OVERLAP else "none"
                for value, other in zip(fit.overlaps, fit.nearest, strict=True)
            ],
        }
    )


def _sizes_in_measures(fit: FitFacts) -> dict[str, pd.Series[Any]]:
    """Return the size of the parts in each measure, if each component has several maps."""
    sizes = [name for name in PARTS if name.startswith("n_")]
    return {
        f"{PARTS[size]} ({column.removeprefix(f'{size}_')})": fit.parts[column]
        for column in map(str, fit.parts)
        for size in sizes
        if column.startswith(f"{size}_")
    }


def regions_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Return the regions that have most of each component.

    Parameters
    ----------
    regions : DataFrame
        Columns of :data:`opnmf_pipeline.stages.anatomy.REGION_COLUMNS`, by decreasing share of each
        component.
    """
    names = {
        "component": "component",
        "region": "region",
        "percent_of_component": "% of the component",
        "percent_of_region": "% of the region",
    }
    return regions.groupby("component").head(TOP_REGIONS)[list(names)].rename(columns=names)


def subjects_table(subjects: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Return the quality of each subject, those with the largest errors first, if there are any.

    Parameters
    ----------
    subjects : DataFrame
        ``coverage``, ``nearest`` and ``correlation``, and ``missing`` if values may be missing,
        indexed by subject.
    errors : DataFrame
        Relative reconstruction errors: one row per subject, one column per k; may be empty.
    """
    missing = "missing" in subjects
    table = pd.DataFrame(
        {
            "subject": subjects.index,
            "coverage": subjects["coverage"].map("{:.1%}".format),
            **({"missing": subjects["missing"].map("{:.1%}".format)} if missing else {}),
            "nearest": subjects["nearest"],
            "correlation": ["n/a" if pd.isna(r) else f"{r:.4f}" for r in subjects["correlation"]],
            **{f"error, k = {k}": errors[k].map("{:.4f}".format) for k in errors},
        }
    )
    if errors.empty:
        return table
    last = errors[errors.columns[-1]]
    return table.set_axis(last).sort_index(ascending=False).reset_index(drop=True)


def about_missing(subjects: pd.DataFrame, columns: str) -> str:
    """Say how many values are missing; return an empty text if none can be.

    ``columns`` is what the columns of the matrix are called.

    Examples
    --------
    >>> subjects = pd.DataFrame({"missing": [0.0, 0.1, 0.3, 0.0]}, index=list("abcd"))
    >>> about_missing(subjects, "images")[:69]
    '10.0% of the values are missing, in 2 of 4 images; c lacks most (30%)'
    """
    if "missing" not in subjects:
        return ""
    shares = subjects["missing"]
    if not shares.any():
        return "No value is missing in the mask."
    return (
        f"{shares.mean():.1%} of the values are missing, in {(shares > 0).sum()} of {len(shares)} "
        f"{columns}; {shares.idxmax()} lacks most ({shares.max():.0%}). Components, "
        "errors and explained variances are those of the observed values."
    )


def images_table(images: pd.DataFrame) -> pd.DataFrame | None:
    """Return the images with their SHA-256, or None if the SHA-256 are unknown."""
    if "sha256" not in images:
        return None
    return images[[name for name in IMAGE_COLUMNS if name in images]]


def by_chance(measures: Mapping[str, Any], column: str) -> str:
    """Return the agreement by chance that belongs to a measure, as text to add; may be empty.

    Examples
    --------
    >>> by_chance({"label_ari": 0.5, "label_ari_null": 0.313}, "label_ari")
    '; 0.31 by chance'
    """
    null = measures.get(f"{column}_null")
    return f"; {null:.2f} by chance" if pd.notna(null) else ""


def cell(value: Any) -> str:
    """Return a value of a table as text.

    Examples
    --------
    >>> cell(0.123456), cell(75120), cell(True), cell(float("nan"))
    ('0.1235', '75\u202f120', 'yes', 'n/a')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "n/a" if pd.isna(value) else f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", "\u202f")
    return str(value)
