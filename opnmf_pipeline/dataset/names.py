"""Everything that is written to an output dataset: each file once, with what it is."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["OUTPUTS", "WORK", "Output"]


class Output(NamedTuple):
    """One kind of file that is written.

    Attributes
    ----------
    path : str
        Its path in the output folder, with ``{space}``, ``{k}``, ... to fill in; ``{image}`` is
        the ending of the images of the space, ``.nii.gz`` for volumes.
    description : str
        What it is.
    kind : str
        Its format; for images dimensions and data type too.
    """

    path: str
    description: str
    kind: str


OUTPUTS: dict[str, Output] = {
    "dataset": Output("dataset_description.json", "What this dataset is (BIDS)", "JSON"),
    "bidsignore": Output(".bidsignore", "Files that the BIDS validator does not know", "text"),
    "participants": Output("participants.tsv", "Subjects and their covariates", "TSV"),
    "participants_json": Output("participants.json", "Description of the covariates", "JSON"),
    "readme": Output("README.md", "What this dataset is, for people", "text"),
    "mask": Output(
        "group/{space}desc-opnmf_mask{image}", "Voxels that were analysed", "NIfTI, 3D, uint8"
    ),
    "planted": Output(
        "group/{space}desc-planted_dseg{image}",
        "Planted labels of a simulated cohort",
        "NIfTI, 3D, int16",
    ),
    "components": Output(
        "group/{space}desc-opnmfK{k}_components{image}",
        "Components, one volume each",
        "NIfTI, 4D, float32",
    ),
    "components_json": Output(
        "group/{space}desc-opnmfK{k}_components.json", "Side-car of components", "JSON"
    ),
    "dseg": Output(
        "group/{space}desc-opnmfK{k}_dseg{image}", "Winner-takes-all labels", "NIfTI, 3D, int16"
    ),
    "dseg_tsv": Output("group/{space}desc-opnmfK{k}_dseg.tsv", "Table of the labels", "TSV"),
    "dseg_json": Output("group/{space}desc-opnmfK{k}_dseg.json", "Side-car of the labels", "JSON"),
    "loadings": Output("group/desc-opnmfK{k}_loadings.tsv", "Loadings of each subject", "TSV"),
    "loadings_json": Output(
        "group/desc-opnmfK{k}_loadings.json", "Side-car of the loadings", "JSON"
    ),
    "image_loadings": Output(
        "{folder}/{row}_desc-opnmfK{k}_loadings.tsv",
        "Loadings of one image, of sub-01/ses-1/anat for example; participant level of opnmf-bids",
        "TSV",
    ),
    "image_loadings_json": Output(
        "{folder}/{row}_desc-opnmfK{k}_loadings.json", "Side-car of these loadings", "JSON"
    ),
    "mean": Output(
        "group/{space}desc-opnmf_mean{image}", "Mean of the subjects", "NIfTI, 3D, float32"
    ),
    "sd": Output(
        "group/{space}desc-opnmf_sd{image}",
        "Standard deviation over the subjects",
        "NIfTI, 3D, float32",
    ),
    "coverage": Output(
        "group/{space}desc-opnmf_coverage{image}",
        "Share of the subjects with data",
        "NIfTI, 3D, float32",
    ),
    "subjects": Output("group/desc-opnmf_subjects.tsv", "Quality of each subject's image", "TSV"),
    "subjects_json": Output(
        "group/desc-opnmf_subjects.json", "Description of these columns", "JSON"
    ),
    "metrics": Output(
        "group/desc-opnmf_metrics.tsv", "Indices for each number of components", "TSV"
    ),
    "metrics_json": Output("group/desc-opnmf_metrics.json", "Description of these indices", "JSON"),
    "splits": Output("group/desc-opnmf_splits.tsv", "Agreement of the parts of each split", "TSV"),
    "splits_json": Output("group/desc-opnmf_splits.json", "Description of these measures", "JSON"),
    "hierarchy": Output(
        "group/desc-opnmf_hierarchy.tsv", "How parts split with more components", "TSV"
    ),
    "hierarchy_json": Output(
        "group/desc-opnmf_hierarchy.json", "Description of these columns", "JSON"
    ),
    "selection": Output(
        "group/desc-opnmf_selection.json", "Chosen number of components, and why", "JSON"
    ),
    "errors_figure": Output(
        "figures/desc-opnmf_errors.png", "Errors by number of components", "PNG"
    ),
    "reproducibility_figure": Output(
        "figures/desc-opnmf_reproducibility.png", "Reproducibility by number of components", "PNG"
    ),
    "hierarchy_figure": Output(
        "figures/desc-opnmf_hierarchy.png", "How parts split with more components, drawn", "PNG"
    ),
    "montage": Output(
        "figures/{space}desc-opnmfK{k}_components.png", "Picture of every component", "PNG"
    ),
    "parts": Output("figures/{space}desc-opnmfK{k}_dseg.png", "Picture of the label map", "PNG"),
    "report": Output("report.html", "Page about the results, to be opened in a browser", "HTML"),
    "fit": Output(
        "logs/desc-opnmfK{k}_factorization.json", "Settings, error and course of the fit", "JSON"
    ),
    "cohort": Output("logs/cohort.tsv", "Image of each subject", "TSV"),
    "cohort_json": Output("logs/cohort.json", "Description of these columns", "JSON"),
    "config": Output("logs/config.yaml", "All settings; a run can start from it", "YAML"),
    "log": Output("logs/opnmf-pipeline.log", "Messages and versions", "text"),
    "resources": Output("logs/resources.tsv", "Memory and CPU, second by second", "TSV"),
    "resources_json": Output("logs/resources.json", "Description of these columns", "JSON"),
    "registry": Output(
        "logs/run.json", "Settings and outputs of the run that owns this folder", "JSON"
    ),
}
"""What is written, by its name in the code."""

WORK = "work"
"""Folder of intermediate results, unless `execution.work_dir` names another."""
