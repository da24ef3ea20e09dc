"""All files of an output dataset: each with its path, description and format."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMPARISON", "OUTPUTS", "WORK", "Output"]


class Output(NamedTuple):
    """One kind of output file.

    Attributes
    ----------
    path : str
        Path in the output folder, with the fields ``{space}``, ``{k}``, ...; ``{image}`` and
        ``{labels}`` are the endings of maps and of label maps, ``.nii.gz`` for volumes. ``{part}``
        is empty; on surfaces, the files with GIFTI endings and ``hemi-L_`` or ``hemi-R_`` contain
        the same values, for one hemisphere each. With measures stacked along voxels, the files with
        ``measure-NAME_`` contain the maps of one measure.
    description : str
        Content of the file.
    kind : str
        Format of the file. The space determines the format of an image, which ``{image}`` shows.
    """

    path: str
    description: str
    kind: str


OUTPUTS: dict[str, Output] = {
    "dataset": Output("dataset_description.json", "BIDS description of this dataset", "JSON"),
    "bidsignore": Output(".bidsignore", "Files that the BIDS validator ignores", "text"),
    "participants": Output("participants.tsv", "Subjects and their covariates", "TSV"),
    "participants_json": Output("participants.json", "Description of the covariates", "JSON"),
    "readme": Output("README.md", "Description of this dataset for readers", "text"),
    "mask": Output(
        "group/{part}{space}desc-opnmf_mask{image}", "Mask of the analysis", "image, uint8"
    ),
    "planted": Output(
        "group/{space}desc-planted_dseg{labels}",
        "Planted labels of a simulated cohort",
        "label map",
    ),
    "components": Output(
        "group/{part}{space}desc-opnmfK{k}_components{image}",
        "Components, one map per component",
        "image of several maps, float32",
    ),
    "components_json": Output(
        "group/{space}desc-opnmfK{k}_components.json", "Sidecar of the components", "JSON"
    ),
    "model": Output(
        "group/{space}desc-opnmfK{k}_model.json",
        "Model for new subjects: components, mask, preprocessing and errors of the cohort",
        "JSON",
    ),
    "adjustment": Output(
        "group/desc-opnmf_adjustment.json",
        "What was learned to adjust the matrix for covariates, sites and head size; a part of the "
        "models",
        "JSON",
    ),
    "adjustment_arrays": Output(
        "group/desc-opnmf_adjustment.npz", "Arrays of this adjustment", "NPZ"
    ),
    "dseg": Output(
        "group/{part}{space}desc-opnmfK{k}_dseg{labels}",
        "Winner-takes-all labels: the component with the largest weight at each place",
        "label map",
    ),
    "dseg_tsv": Output("group/{space}desc-opnmfK{k}_dseg.tsv", "Table of the labels", "TSV"),
    "dseg_json": Output("group/{space}desc-opnmfK{k}_dseg.json", "Sidecar of the labels", "JSON"),
    "regions": Output(
        "group/{space}desc-opnmfK{k}_regions.tsv",
        "Regions of the atlas in each component, in per cent of the component and of the region",
        "TSV",
    ),
    "regions_json": Output(
        "group/{space}desc-opnmfK{k}_regions.json", "Sidecar of the regions", "JSON"
    ),
    "loadings": Output("group/desc-opnmfK{k}_loadings.tsv", "Loadings of each subject", "TSV"),
    "loadings_json": Output(
        "group/desc-opnmfK{k}_loadings.json", "Sidecar of the loadings", "JSON"
    ),
    "associations": Output(
        "group/desc-opnmfK{k}_associations.tsv",
        "Associations of the loadings with covariates: effect sizes of linear models",
        "TSV",
    ),
    "associations_json": Output(
        "group/desc-opnmfK{k}_associations.json",
        "Description of these columns, and the covariates that are used",
        "JSON",
    ),
    "reliability": Output(
        "group/{part}{space}desc-opnmfK{k}_reliability{image}",
        "Share of the resamples of the cohort that assign each place to its component",
        "image, float32",
    ),
    "reliability_tsv": Output(
        "group/{space}desc-opnmfK{k}_reliability.tsv",
        "Reproducibility of each component beside that by chance, stability and interval of its "
        "size",
        "TSV",
    ),
    "reliability_json": Output(
        "group/{space}desc-opnmfK{k}_reliability.json", "Sidecar of both", "JSON"
    ),
    "image_loadings": Output(
        "{folder}/{row}_desc-opnmfK{k}_loadings.tsv",
        "Projection of one image on a model: loadings, weighted means and error",
        "TSV",
    ),
    "image_loadings_json": Output(
        "{folder}/{row}_desc-opnmfK{k}_loadings.json", "Sidecar of these loadings", "JSON"
    ),
    "mean": Output(
        "group/{part}{space}desc-opnmf_mean{image}", "Mean image of the subjects", "image, float32"
    ),
    "sd": Output(
        "group/{part}{space}desc-opnmf_sd{image}",
        "Standard deviation over the subjects",
        "image, float32",
    ),
    "coverage": Output(
        "group/{part}{space}desc-opnmf_coverage{image}",
        "Map of the fraction of subjects with data",
        "image, float32",
    ),
    "observed": Output(
        "group/{part}{space}desc-opnmf_observed{image}",
        "Map of the fraction of subjects whose value is not missing, with `matrix.nan: masked`",
        "image, float32",
    ),
    "subjects": Output("group/desc-opnmf_subjects.tsv", "Quality of each subject's image", "TSV"),
    "subjects_json": Output(
        "group/desc-opnmf_subjects.json", "Description of these columns", "JSON"
    ),
    "metrics": Output(
        "group/desc-opnmf_metrics.tsv", "Measures for each number of components", "TSV"
    ),
    "metrics_json": Output(
        "group/desc-opnmf_metrics.json", "Description of these measures", "JSON"
    ),
    "splits": Output("group/desc-opnmf_splits.tsv", "Agreement of the halves of each split", "TSV"),
    "splits_json": Output("group/desc-opnmf_splits.json", "Description of these measures", "JSON"),
    "hierarchy": Output("group/desc-opnmf_hierarchy.tsv", "How parts split as k increases", "TSV"),
    "hierarchy_json": Output(
        "group/desc-opnmf_hierarchy.json", "Description of these columns", "JSON"
    ),
    "selection": Output(
        "group/desc-opnmf_selection.json", "Chosen number of components, with the reason", "JSON"
    ),
    "errors_figure": Output(
        "figures/desc-opnmf_errors.png", "Figure of the errors for each k", "PNG"
    ),
    "reproducibility_figure": Output(
        "figures/desc-opnmf_reproducibility.png", "Figure of the reproducibility for each k", "PNG"
    ),
    "hierarchy_figure": Output(
        "figures/desc-opnmf_hierarchy.png", "Figure of how parts split as k increases", "PNG"
    ),
    "montage": Output(
        "figures/{space}desc-opnmfK{k}_components.png", "Figure of all components", "PNG"
    ),
    "parts": Output("figures/{space}desc-opnmfK{k}_dseg.png", "Figure of the label map", "PNG"),
    "report": Output("report.html", "Report of the results; open it in a browser", "HTML"),
    "agreement": Output(
        "group/desc-opnmf_agreement.tsv", "Agreement of each pair of compared models", "TSV"
    ),
    "agreement_json": Output(
        "group/desc-opnmf_agreement.json", "Description of these columns", "JSON"
    ),
    "matches": Output(
        "group/desc-opnmf_matches.tsv",
        "Partner and parent of each component in the other of two compared models",
        "TSV",
    ),
    "matches_json": Output("group/desc-opnmf_matches.json", "Description of these columns", "JSON"),
    "overlaps": Output(
        "group/desc-opnmf_overlaps.tsv",
        "Cosine and overlap of each component with each component of another model",
        "TSV",
    ),
    "overlaps_json": Output(
        "group/desc-opnmf_overlaps.json", "Description of these columns", "JSON"
    ),
    "models": Output("group/desc-opnmf_models.tsv", "Models that were compared", "TSV"),
    "models_json": Output("group/desc-opnmf_models.json", "Description of these columns", "JSON"),
    "fit": Output(
        "logs/desc-opnmfK{k}_factorization.json", "Settings, error and history of the fit", "JSON"
    ),
    "fits": Output(
        "logs/desc-opnmf_factorizations.json",
        "Settings, error and history of the compared fits, if none has maps",
        "JSON",
    ),
    "cohort": Output("logs/cohort.tsv", "Image of each subject", "TSV"),
    "cohort_json": Output("logs/cohort.json", "Description of these columns", "JSON"),
    "config": Output("logs/config.yaml", "All settings; use it to repeat the run", "YAML"),
    "log": Output("logs/opnmf-pipeline.log", "Messages and versions", "text"),
    "resources": Output("logs/resources.tsv", "Memory and CPU use, once per second", "TSV"),
    "resources_json": Output("logs/resources.json", "Description of these columns", "JSON"),
    "registry": Output(
        "logs/run.json", "Settings and output files of the run in this folder", "JSON"
    ),
}
"""Output files, by their names in the code."""

COMPARISON = (
    "metrics",
    "metrics_json",
    "splits",
    "splits_json",
    "hierarchy",
    "hierarchy_json",
    "selection",
    "errors_figure",
    "reproducibility_figure",
    "hierarchy_figure",
    "fits",
)
"""Files that compare numbers of components; the other files are about the cohort or one number."""

WORK = "work"
"""Default folder of intermediate results; `execution.work_dir` can set another folder."""
