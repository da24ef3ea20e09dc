"""Copies the outputs of the jobs of a run into the output dataset, for every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.dataset.description import (
    BIDSIGNORE,
    INPUT,
    bids_uri,
    dataset_description,
    describe_columns,
    participants_json,
    read_json,
    readme,
    settings_yaml,
    with_sources,
)
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.images.cohort import COVARIATE_SUFFIX, read_cohort
from opnmf_pipeline.reporting.page import with_runs
from opnmf_pipeline.runs.study import Study
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.figures import FIGURES_FILES
from opnmf_pipeline.stages.maps import MAPS_FILES
from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.select import SELECTION_FILES
from opnmf_pipeline.stages.spaces import named_files, space_of
from opnmf_pipeline.tables import table_text

__all__ = ["publish"]

FOLDERS = (
    ("select", "selection_dir", SELECTION_FILES),
    ("quality", "quality_dir", QUALITY_FILES),
)
"""Steps with one job: the output that is a folder, and the files in it to publish."""


def publish(study: Study, outcome: Outcome, output: OutputFolder) -> None:
    """Copy the outputs of the finished jobs to their names in the output dataset.

    Parameters
    ----------
    study : Study
        The cohort.
    outcome : Outcome
        Outputs of the finished jobs; any of them may be missing.
    output : OutputFolder
        The folder of the run.
    """
    inputs, settings = study.config.inputs, study.config.settings()
    _publish_cohort(study, outcome, output, inputs)
    output.write_text("config", settings_yaml(settings))
    output.write_text("bidsignore", BIDSIGNORE)
    output.write_text("dataset", dataset_description(settings))
    output.write_text("readme", readme(settings))
    if study.planted is not None:
        output.publish("planted", study.planted)
    if (mask_file := outcome.path("mask", "mask_file")) is not None:
        output.publish("mask", mask_file)
    if (page := outcome.path("report", "report_file")) is not None:
        output.write_text("report", with_runs(page.read_text(encoding="utf-8"), output.runs))
    for step, made, files in FOLDERS:
        for folder in outcome.paths(step, made):
            for name, file in named_files(files, study.images[0]).items():
                if (folder / file).exists():
                    _publish_file(output, name, folder / file)
    fits = outcome.by_rank("decompose", "factorization_dir")
    maps = outcome.by_rank("maps", "maps_dir")
    for k in maps:
        output.publish("fit", fits[k] / FACTORIZATION_FILE, k)
    figures = outcome.by_rank("figures", "figures_dir")
    for folders, files in ((maps, MAPS_FILES), (figures, FIGURES_FILES)):
        for k, folder in folders.items():
            for name, file in named_files(files, study.images[0]).items():
                _publish_file(output, name, folder / file, k)
    _note_sources(study, list(maps), output, inputs)


def _publish_file(output: OutputFolder, name: str, file: Path, k: int | None = None) -> None:
    """Copy a file and, if it is a map, its copies for single hemispheres."""
    output.publish(name, file, k)
    if file.name.endswith(tuple(output.endings.values())):
        for hemisphere, copy in space_of(file).images.copies(file).items():
            ending = "".join(copy.suffixes[-2:])
            fields = {"hemi": f"hemi-{hemisphere}_", **dict.fromkeys(output.endings, ending)}
            output.publish(name, copy, k, **fields)


def _publish_cohort(
    study: Study, outcome: Outcome, output: OutputFolder, inputs: InputsConfig
) -> None:
    """Write the tables of images and participants, with the column descriptions of the input."""
    cohort = read_cohort(study.cohort_file)
    people = _participants(cohort)
    if (digests := outcome.path("mask", "digests_file")) is not None:
        cohort["sha256"] = json.loads(digests.read_text(encoding="utf-8"))
    descriptions = participants_json(inputs)
    known = read_json(descriptions) if descriptions else {}
    for name, rows in (("cohort", cohort), ("participants", people)):
        output.write_text(name, table_text(rows))
        output.write_text(f"{name}_json", describe_columns(map(str, rows), known))


def _participants(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject, without columns that differ between sessions of a subject."""
    people = cohort.drop(columns=["image", "session_id"], errors="ignore")
    names = {own + COVARIATE_SUFFIX: own for own in ("image", "session_id")}
    people = people.rename(columns=names)
    n_values = people.groupby("participant_id").nunique(dropna=False)
    varying = n_values.columns[(n_values > 1).any()]
    return people.drop(columns=varying).drop_duplicates("participant_id")


def _note_sources(
    study: Study, ks: Sequence[int], output: OutputFolder, inputs: InputsConfig
) -> None:
    """Add the source files to the sidecars of each number of components."""
    images = []
    if study.planted is None:  # simulated images are not in a dataset of their own
        root = inputs.bids or output.root
        images = [bids_uri(path, root, INPUT) for path in read_cohort(study.cohort_file)["image"]]
    mask = bids_uri(output.path("mask"), output.root)
    for k in ks:
        components = bids_uri(output.path("components", k), output.root)
        sources = {
            "components_json": [mask, *images],
            "dseg_json": [components],
            "loadings_json": [components, *images],
        }
        for name, uris in sources.items():
            output.write_text(name, with_sources(output.path(name, k), uris), k)
