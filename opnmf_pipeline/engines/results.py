"""What the stages left, and how it becomes the output dataset: the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig, PipelineConfig
from opnmf_pipeline.dataset import (
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
from opnmf_pipeline.engines.study import Study
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.outputs import OutputFolder
from opnmf_pipeline.stages.metrics import write_metrics

__all__ = ["Results", "compare", "publish", "stage_title"]

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


@dataclass
class Results:
    """Files that the stages wrote; a stage that has not run is absent.

    Attributes
    ----------
    cohort, mask, matrix, planted, metrics : path or None
        Single files.
    quality : path or None
        Folder of :func:`opnmf_pipeline.stages.quality.assess_cohort`.
    digests : list of str
        SHA-256 of each subject's image, where they are known.
    fits : dict of int to path
        ``factorization.json`` for each number of components.
    maps, figures : dict of int to path
        One folder for each number of components.
    half_fits : list of path
        ``factorization.json`` for each number of components, halving and half.
    computed : list of str
        Stages that were computed; the others were reused from an earlier run.
    """

    cohort: Path
    planted: Path | None = None
    mask: Path | None = None
    matrix: Path | None = None
    metrics: Path | None = None
    quality: Path | None = None
    digests: list[str] = field(default_factory=list)
    fits: dict[int, Path] = field(default_factory=dict)
    maps: dict[int, Path] = field(default_factory=dict)
    figures: dict[int, Path] = field(default_factory=dict)
    half_fits: list[Path] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)


def stage_title(
    name: str, k: int | None = None, split: int | None = None, half: int | None = None
) -> str:
    """Return what a stage is called in every engine.

    Examples
    --------
    >>> stage_title("decompose", 10)
    'decompose, k = 10'
    >>> stage_title("half_fit", 10, 0, 1)
    'half_fit, k = 10, split 1, half 2'
    """
    parts = [name]
    if k is not None:
        parts.append(f"k = {k}")
    if split is not None and half is not None:
        parts += [f"split {split + 1}", f"half {half + 1}"]
    return ", ".join(parts)


def compare(study: Study, results: Results) -> None:
    """Write the metrics of the numbers of components that have finished, in their order."""
    fits = [results.fits[k] for k in study.config.decomposition.n_components if k in results.fits]
    if fits:
        results.metrics = write_metrics(
            fits,
            study.cohort_file.with_name("metrics.tsv"),
            half_fits=results.half_fits,
            planted=study.planted,
            mask_file=results.mask,
        )


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
    for name in ("planted", "mask", "metrics"):
        if (source := getattr(results, name)) is not None:
            output.publish(name, source)
    if results.metrics is not None:
        output.publish("metrics_json", results.metrics.with_suffix(".json"))
    if results.quality is not None:
        for name, file in QUALITY.items():
            output.publish(name, results.quality / file)
    for k, fit in results.fits.items():
        output.publish("fit", fit, k)
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
