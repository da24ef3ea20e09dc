"""Stage ``report``: one self-contained page about the results of all numbers of components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opnmf_pipeline.reporting.course import draw_course
from opnmf_pipeline.reporting.report import Section, render_report
from opnmf_pipeline.stages.decompose import read_factorization

__all__ = ["make_report"]

TITLE = "Components of structural covariance (OPNMF)"
CAPTIONS = (
    "Every component, cut where it weighs most.",
    "The component that weighs most in each voxel.",
)
SMALL_PART = 0.001
"""A part below this fraction of the voxels needs attention."""


def make_report(
    metrics_file: Path,
    factorization_files: Sequence[Path],
    labels_tables: Sequence[Path],
    figures: Sequence[tuple[Path, Path]],
    out_file: Path,
    settings: str = "",
) -> Path:
    """Write one HTML page that needs no other file.

    Parameters
    ----------
    metrics_file : path
        Table of :func:`opnmf_pipeline.stages.metrics.write_metrics`.
    factorization_files : sequence of path
        Files of :func:`opnmf_pipeline.stages.decompose.decompose`, one per number of components.
    labels_tables : sequence of path
        ``dseg.tsv`` of :func:`opnmf_pipeline.stages.maps.write_maps`, in the same order.
    figures : sequence of (path, path)
        ``components.png`` and ``dseg.png`` of
        :func:`opnmf_pipeline.stages.figures.draw_figures`, in the same order; may be empty.
    out_file : path
        HTML to write.
    settings : str
        YAML of the settings, shown at the end.

    Returns
    -------
    path
        ``out_file``.
    """
    metrics = pd.read_csv(metrics_file, sep="\t")
    columns = json.loads(metrics_file.with_suffix(".json").read_text(encoding="utf-8"))
    fits = [read_factorization(path).info for path in factorization_files]
    pictures: Sequence[tuple[Path, ...]] = figures or [()] * len(fits)
    sections = [
        Section(
            n_components=info["NumberOfComponents"],
            facts=_facts(info),
            labels=pd.read_csv(labels_table, sep="\t"),
            course=draw_course(info["History"]),
            figures=dict(zip(CAPTIONS, drawn, strict=False)),
        )
        for info, labels_table, drawn in zip(fits, labels_tables, pictures, strict=True)
    ]
    page = render_report(
        title=TITLE,
        summary=_summary(fits),
        attention=[sentence for info in fits for sentence in _attention(info, metrics)],
        metrics=metrics,
        descriptions={name: column["Description"] for name, column in columns.items()},
        sections=sections,
        settings=settings,
    )
    out_file.write_text(page, encoding="utf-8")
    return out_file


def _summary(fits: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    first = fits[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["Versions"].items())
    return {
        "Subjects": str(first["NumberOfSubjects"]),
        "Voxels": str(first["NumberOfVoxels"]),
        "Components": ", ".join(str(info["NumberOfComponents"]) for info in fits),
        "Solver": first["Settings"]["solver"],
        "Versions": versions,
    }


def _facts(info: Mapping[str, Any]) -> str:
    error, bound = info["ReconstructionError"], info["LowerBound"]
    explained = 1 - (error / info["Norm"]) ** 2
    end = "converged" if info["Converged"] else "stopped without converging"
    return (
        f"The fit {end} after {info['Iterations']} iterations with a reconstruction error of "
        f"{error:.5g}, which explains {explained:.1%} of the data; no {info['NumberOfComponents']} "
        f"components can have an error below {bound:.5g}."
    )


def _attention(info: Mapping[str, Any], metrics: pd.DataFrame) -> list[str]:
    k = info["NumberOfComponents"]
    sentences = []
    if not info["Converged"]:
        sentences.append(
            f"k = {k}: the fit did not converge; raise decomposition.max_iter or decomposition.tol."
        )
    smallest = metrics.loc[metrics["n_components"] == k, "smallest_part"].min()
    if smallest < SMALL_PART * info["NumberOfVoxels"]:
        sentences.append(f"k = {k}: the smallest part has only {smallest} voxels.")
    return sentences
