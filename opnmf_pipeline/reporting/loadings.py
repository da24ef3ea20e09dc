"""Figure of the loadings of all subjects."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch

from opnmf_pipeline.reporting.figure import STYLE, Figure, plain, png

__all__ = ["draw_loadings"]

MAX_CLUSTERED = 3000
"""With more subjects, they are not clustered: the memory grows with the square of their number."""
PALETTE = "colorblind"
MISSING = "#cccccc"


def draw_loadings(loadings: pd.DataFrame, covariates: pd.DataFrame) -> Figure:
    """Draw a heat map of the standardized loadings, with similar subjects next to each other.

    Parameters
    ----------
    loadings : DataFrame
        One row per subject, one column per component.
    covariates : DataFrame
        Columns of :func:`opnmf_pipeline.reporting.covariates.restore_covariates`, with the same
        rows. Each becomes a strip of colours above the map.
    """
    sd = loadings.std().replace(0, 1)
    Z = ((loadings - loadings.mean()) / sd).to_numpy().T
    k, n_subjects = Z.shape
    table = pd.DataFrame(Z, index=range(1, k + 1))
    strips, handles = _strips(covariates)
    clustered = n_subjects <= MAX_CLUSTERED
    height = 1.7 + 0.16 * max(k, 6) + 0.16 * covariates.shape[1]
    style = {**STYLE, "axes.grid": False, "figure.constrained_layout.use": False}
    with plt.rc_context(style), warnings.catch_warnings():
        # seaborn proposes a package that saves a few seconds
        warnings.filterwarnings("ignore", "Clustering large matrix")
        # Rows are standardized: their Euclidean distance is √(2n(1 − correlation))
        grid = sns.clustermap(
            table,
            method="average",
            row_cluster=k > 1,
            col_cluster=clustered,
            col_colors=None if strips.empty else strips,
            cmap="RdBu_r",
            vmin=-3,
            vmax=3,
            figsize=(9, height),
            dendrogram_ratio=(0.07, min(0.25, 0.7 / height)),
            colors_ratio=0.15 / height,
            cbar_pos=(0.0, 1 - 0.75 / height, 0.012, 0.7 / height),
            cbar_kws={"ticks": [-3, 0, 3], "label": "SD"},
            xticklabels=False,
            yticklabels=1 if k <= 40 else 5,
        )
        _label(grid, n_subjects, handles)
        image = png(grid.figure, bbox_inches="tight")
    order = "Subjects (columns) and components" if clustered else "Components"
    return Figure(
        image,
        alt=f"Heat map of the loadings of {n_subjects} subjects on {k} components, clustered",
        caption="Loadings, standardized within each component: red is above its mean, blue below. "
        f"{order} (rows) are ordered by average-linkage clustering of Euclidean distances.",
    )


def _strips(covariates: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Return a colour for each subject and covariate, and the entries of the legend."""
    strips, handles = {}, {}
    palette = itertools.cycle(sns.color_palette(PALETTE))
    for name, column in covariates.items():
        if pd.api.types.is_numeric_dtype(column):
            low, high = column.min(), column.max()
            colours = plt.get_cmap("viridis")((column - low) / (high - low))
            strips[name] = [
                tuple(colour) if known else MISSING
                for colour, known in zip(colours, column.notna(), strict=True)
            ]
            shown = {
                f"{low:g}": plt.get_cmap("viridis")(0.0),
                f"{high:g}": plt.get_cmap("viridis")(1.0),
            }
        else:
            levels = sorted(column.dropna().unique())
            colours = [next(palette) for _ in levels]  # covariates do not share colours
            shown = dict(zip(levels, colours, strict=True))
            strips[name] = [shown.get(level, MISSING) for level in column.fillna("")]
        handles[str(name)] = [
            Patch(color=colour, label=plain(f"{name} {level}")) for level, colour in shown.items()
        ]
    return pd.DataFrame(strips), handles


def _label(grid: Any, n_subjects: int, handles: dict[str, list[Any]]) -> None:
    grid.ax_heatmap.set(xlabel=f"{n_subjects} subjects", ylabel="component")
    grid.ax_heatmap.tick_params(labelsize=7)
    grid.ax_heatmap.tick_params(axis="y", rotation=0)
    if grid.ax_col_colors is not None:
        grid.ax_col_colors.tick_params(labelsize=8, length=0)
    entries = [patch for some in handles.values() for patch in some[:8]]
    if entries:
        grid.figure.legend(
            handles=entries,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(8, len(entries)),
            frameon=False,
            fontsize=8,
        )
