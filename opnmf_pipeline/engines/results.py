"""What the stages left, and how it becomes the output dataset: the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig, PipelineConfig
from opnmf_pipeline.dataset.description import (
    BIDSIGNORE,
    INPUT,
    bids_uri,
    dataset_description,
    describe_columns,
    read_json,
    readme,
    settings_yaml,
    with_sources,
)
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.engines.study import Study
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.stages.select import select_rank

__all__ = ["Results", "compare", "compare_finished", "publish", "stage_title"]

MAPS = {
    "components": "components.nii.gz",
    "components_json": "components.json",
    "dseg": "dseg.nii.gz",
    "dseg_tsv": "dseg.tsv",
    "dseg_json": "dseg.json",
    "loadings": "loadings.tsv",
    "loadings_json": "loadings.json",
}
FIGURES = {"montage": "components.png", "parts": "dseg.png"}
QUALITY = {
    "mean": "mean.nii.gz",
    "sd": "sd.nii.gz",
    "coverage": "coverage.nii.gz",
    "subjects": "subjects.tsv",
    "subjects_json": "subjects.json",
}
SELECTION = {
    "metrics": "metrics.tsv",
    "metrics_json": "metrics.json",
    "splits": "splits.tsv",
    "splits_json": "splits.json",
    "hierarchy": "hierarchy.tsv",
    "hierarchy_json": "hierarchy.json",
    "selection": "selection.json",
    "errors_figure": "errors.png",
    "reproducibility_figure": "reproducibility.png",
    "hierarchy_figure": "hierarchy.png",
}
"""Those of these files are there for which there are data."""

NUMBERED = {"halves": "split", "permuted": "seed"}
"""Stages that run several times for each number of components, and what they are counted by."""


@dataclass
class Results:
    """Files that the stages wrote; a stage that has not run is absent.

    Attributes
    ----------
    cohort, mask, matrix, planted : path or None
        Single files.
    quality : path or None
        Folder of :func:`opnmf_pipeline.stages.quality.assess_cohort`.
    digests : list of str
        SHA-256 of each subject's image, where they are known.
    fits : dict of int to path
        ``factorization.json`` for each number of components.
    maps, figures : dict of int to path
        One folder for each number of components.
    halves, permuted : list of path
        What is known of each split and of each permutation, for each number of components.
    selection : path or None
        Folder with the comparison of the numbers of components.
    computed : list of str
        Stages that were computed; the others were reused from an earlier run.
    """

    cohort: Path
    planted: Path | None = None
    mask: Path | None = None
    matrix: Path | None = None
    selection: Path | None = None
    quality: Path | None = None
    digests: list[str] = field(default_factory=list)
    fits: dict[int, Path] = field(default_factory=dict)
    maps: dict[int, Path] = field(default_factory=dict)
    figures: dict[int, Path] = field(default_factory=dict)
    halves: list[Path] = field(default_factory=list)
    permuted: list[Path] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> Path | None:
        """Table of the numbers of components."""
        return None if self.selection is None else self.selection / SELECTION["metrics"]


def stage_title(name: str, k: int | None = None, number: int | None = None) -> str:
    """Return what a stage is called in every engine.

    Examples
    --------
    >>> stage_title("decompose", 10)
    'decompose, k = 10'
    >>> stage_title("halves", 10, 1)
    'halves, k = 10, split 1'
    """
    parts = [name]
    if k is not None:
        parts.append(f"k = {k}")
    if number is not None:
        parts.append(f"{NUMBERED[name]} {number}")
    return ", ".join(parts)


def compare(study: Study, results: Results, out_dir: Path, rule: str | None) -> Path:
    """Compare the numbers of components that have finished.

    Parameters
    ----------
    study : Study
        Settings.
    results : Results
        What is there, at least the mask and one fit.
    out_dir : path
        Existing folder for tables and pictures.
    rule : str or None
        How to choose a number of components, None for no choice.

    Returns
    -------
    path
        ``out_dir``.
    """
    assert results.mask is not None
    config = study.config
    return select_rank(
        list(results.fits.values()),
        out_dir,
        results.mask,
        halves=results.halves,
        permuted=results.permuted,
        planted=study.planted,
        rule=rule,
        rank_range=config.selection.range,
        draw=config.report.figures,
    )


def compare_finished(study: Study, results: Results) -> None:
    """Compare what has finished of a run in which something failed; nothing is chosen."""
    if results.fits:
        results.selection = study.cohort_file.with_name("selection")
        results.selection.mkdir(exist_ok=True)
        compare(study, results, results.selection, rule=None)


def publish(results: Results, output: OutputFolder, config: PipelineConfig) -> None:
    """Copy results to their names in the output dataset.

    Parameters
    ----------
    results : Results
        What is there; nothing is required but the cohort.
    output : OutputFolder
        The folder of the run.
    config : PipelineConfig
        All settings of the run.
    """
    settings = config.settings()
    _publish_cohort(results, output, config.inputs)
    output.write_text("config", settings_yaml(settings))
    output.write_text("bidsignore", BIDSIGNORE)
    output.write_text("dataset", dataset_description(settings))
    output.write_text("readme", readme(settings))
    for name in ("planted", "mask"):
        if (source := getattr(results, name)) is not None:
            output.publish(name, source)
    for made, files in ((results.selection, SELECTION), (results.quality, QUALITY)):
        for name, file in files.items():
            if made is not None and (source := made / file).exists():
                output.publish(name, source)
    for k in results.maps:
        output.publish("fit", results.fits[k], k)
    for folders, files in ((results.maps, MAPS), (results.figures, FIGURES)):
        for k, folder in folders.items():
            for name, file in files.items():
                output.publish(name, folder / file, k)
    _note_sources(results, output, config.inputs)


def _publish_cohort(results: Results, output: OutputFolder, inputs: InputsConfig) -> None:
    """Write who took part, and what is known about them, with the descriptions of the input."""
    cohort = read_cohort(results.cohort)
    people = _participants(cohort)
    if results.digests:
        cohort["sha256"] = results.digests
    table = inputs.participants or (inputs.bids or Path()) / "participants.tsv"
    known = read_json(table.with_suffix(".json"))
    for name, rows in (("cohort", cohort), ("participants", people)):
        output.write_text(name, rows.to_csv(sep="\t", index=False, na_rep="n/a"))
        output.write_text(f"{name}_json", describe_columns(map(str, rows), known))


def _participants(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject, without what differs between the sessions of a subject."""
    people = cohort.drop(columns=["image", "session_id"], errors="ignore")
    n_values = people.groupby("participant_id").nunique(dropna=False)
    varying = n_values.columns[(n_values > 1).any()]
    return people.drop(columns=varying).drop_duplicates("participant_id")


def _note_sources(results: Results, output: OutputFolder, inputs: InputsConfig) -> None:
    """Say in the side-cars of each number of components what it was made from."""
    images = []
    if results.planted is None:  # a simulated cohort is no dataset that anyone could find
        root = inputs.bids or output.root
        images = [bids_uri(path, root, INPUT) for path in read_cohort(results.cohort)["image"]]
    mask = bids_uri(output.path("mask"), output.root)
    for k in results.maps:
        components = bids_uri(output.path("components", k), output.root)
        sources = {
            "components_json": [mask, *images],
            "dseg_json": [components],
            "loadings_json": [components, *images],
        }
        for name, uris in sources.items():
            output.write_text(name, with_sources(output.path(name, k), uris), k)
