"""What the stages left, and how it becomes the output dataset: the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from opnmf_pipeline.engines.study import Study
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.outputs import BIDSIGNORE, OutputFolder, dataset_description, settings_yaml
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


def publish(results: Results, output: OutputFolder, settings: dict[str, object]) -> None:
    """Copy results to their names in the output dataset.

    Parameters
    ----------
    results : Results
        What is there; nothing is required but the cohort.
    output : OutputFolder
        The folder of the run.
    settings : dict
        All settings of the run.
    """
    cohort = read_cohort(results.cohort)
    covariates = cohort.drop(columns="image")
    if results.digests:
        cohort["sha256"] = results.digests
    output.write_text("cohort", cohort.to_csv(sep="\t", index=False, na_rep="n/a"))
    output.write_text("participants", covariates.to_csv(sep="\t", index=False, na_rep="n/a"))
    output.write_text("config", settings_yaml(settings))
    output.write_text("bidsignore", BIDSIGNORE)
    output.write_text("dataset", dataset_description(settings))
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
