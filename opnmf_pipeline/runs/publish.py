"""Copies the outputs of the jobs of a run into the output dataset, for every engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.dataset.description import (
    BIDSIGNORE,
    INPUT,
    bids_uri,
    dataset_description,
    describe_columns,
    json_text,
    participants_json,
    read_json,
    settings_yaml,
    with_sources,
)
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.dataset.model import ModelFile
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import mask_step
from opnmf_pipeline.files import file_digest
from opnmf_pipeline.images.bids import OF_THE_ROW, common_entities
from opnmf_pipeline.images.cohort import COVARIATE_SUFFIX, read_cohort
from opnmf_pipeline.images.measures import long_cohort, without_images
from opnmf_pipeline.reporting.page import with_runs
from opnmf_pipeline.runs.change import people_of_fits
from opnmf_pipeline.runs.study import Study
from opnmf_pipeline.stages.adjust import ADJUSTMENT_FILE
from opnmf_pipeline.stages.associations import ASSOCIATIONS_FILES
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.figures import FIGURES_FILES
from opnmf_pipeline.stages.maps import MAPS_FILES, REGIONS_FILES
from opnmf_pipeline.stages.metrics import METRICS_COLUMNS
from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.reliability import RELIABILITY_FILES
from opnmf_pipeline.stages.select import SELECTION_FILES
from opnmf_pipeline.stages.spaces import open_mask, space_of
from opnmf_pipeline.tables import read_table, table_text

__all__ = ["publish"]


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
    inputs, settings = study.config.inputs, output.completed(study.config.settings())
    settings["output"].pop("overwrite")  # only the command that was given may replace results
    _publish_cohort(study, outcome, output, inputs)
    output.write_text("config", settings_yaml(settings))
    output.write_text("bidsignore", BIDSIGNORE)
    output.write_text("dataset", dataset_description(settings))
    if study.planted is not None:
        output.publish("planted", study.planted)
    if (mask_file := outcome.path(mask_step(study.config), "mask_file")) is not None:
        _publish_file(output, "mask", mask_file)
    if (page := outcome.path("report", "report_file")) is not None:
        output.write_text("report", with_runs(page.read_text(encoding="utf-8"), output.runs))
    if (selection_dir := outcome.path("select", "selection_dir")) is not None:
        mapped = study.config.decomposition.n_components  # each of them has a file of its fit
        compared = {} if mapped else outcome.by_rank("candidate", "factorization_dir")
        _publish_comparison(selection_dir, compared, output)
    if (quality_dir := outcome.path("quality", "quality_dir")) is not None:
        files = _named(QUALITY_FILES, output)
        for name in (name for name, file in files.items() if (quality_dir / file).exists()):
            _publish_file(output, name, quality_dir / files[name])
    _publish_adjustment(outcome, output)
    fits = outcome.by_rank("decompose", "factorization_dir")
    maps = outcome.by_rank("maps", "maps_dir")
    for k in maps:
        output.publish("fit", fits[k] / FACTORIZATION_FILE, k)
    figures = outcome.by_rank("figures", "figures_dir")
    associations = outcome.by_rank("associations", "associations_dir")
    reliability = outcome.by_rank("reliability", "reliability_dir")
    for folders, files in (
        (maps, MAPS_FILES if study.atlas is None else MAPS_FILES | REGIONS_FILES),
        (figures, FIGURES_FILES),
        (associations, ASSOCIATIONS_FILES),
        (reliability, RELIABILITY_FILES),
    ):
        for k, folder in folders.items():
            for name, file in _named(files, output).items():
                _publish_file(output, name, folder / file, k)
    _note_sources(study, list(maps), output, inputs)
    for k in maps:
        _publish_model(study, output, k)


def _named(files: Mapping[str, str], output: OutputFolder) -> dict[str, str]:
    """Return the names of the files of a stage, with the endings of the space."""
    return {name: file.format(**output.endings) for name, file in files.items()}


def _publish_adjustment(outcome: Outcome, output: OutputFolder) -> None:
    if (adjusted_dir := outcome.path("adjust", "matrix_dir")) is not None:
        output.publish("adjustment", adjusted_dir / ADJUSTMENT_FILE)
        arrays = (adjusted_dir / ADJUSTMENT_FILE).with_suffix(".npz")
        output.publish("adjustment_arrays", arrays)


def _publish_comparison(folder: Path, compared: Mapping[int, Path], output: OutputFolder) -> None:
    """Copy the comparison; the table of measures has a row for each number in the output folder."""
    if not output.keeps_comparison:
        for name, file in SELECTION_FILES.items():
            if (folder / file).exists() and name not in ("metrics", "metrics_json"):
                output.publish(name, folder / file)
    if compared:
        fits = {str(k): read_json(fit / FACTORIZATION_FILE) for k, fit in compared.items()}
        output.write_text("fits", json_text(fits))
    new, path = read_table(folder / SELECTION_FILES["metrics"]), output.path("metrics")
    old = read_table(path) if path.exists() and (output.keeps_comparison or output.kept_ks) else new
    if not output.keeps_comparison:
        old = old[old["n_components"].isin(map(str, output.kept_ks))]
    first, second = (old, new) if output.keeps_comparison else (new, old)
    added = second[~second["n_components"].isin(first["n_components"])]
    table = pd.concat([first, added]).sort_values("n_components", key=pd.to_numeric)
    columns = [name for name in METRICS_COLUMNS if name in table]
    output.write_text("metrics", table_text(table[columns]))
    described = {name: {"Description": METRICS_COLUMNS[name]} for name in columns}
    output.write_text("metrics_json", json_text(described))


def _publish_file(output: OutputFolder, name: str, file: Path, k: int | None = None) -> None:
    """Copy a file and, if it is a map, the files that show it again."""
    output.publish(name, file, k)
    if file.name.endswith(tuple(output.endings.values())):
        for start, copy in space_of(file).images.copies(file).items():
            fields = {"part": start, **dict.fromkeys(output.endings, "".join(copy.suffixes))}
            output.publish(name, copy, k, **fields)


def _publish_cohort(
    study: Study, outcome: Outcome, output: OutputFolder, inputs: InputsConfig
) -> None:
    """Write the tables of images and participants, with the column descriptions of the input."""
    cohort = read_cohort(study.cohort_file)
    measures = study.config.inputs.names
    people = _participants(without_images(people_of_fits(cohort, study.config), measures))
    if study.side_by_side:
        cohort = long_cohort(cohort, measures)
    if (digests := outcome.path(mask_step(study.config), "digests_file")) is not None:
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


def _publish_model(study: Study, output: OutputFolder, k: int) -> None:
    """Write what new images need to be projected on the components, without any identifier."""
    info = read_json(output.path("fit", k))
    parts = {name: output.path(name, k) for name in ("components", "mask")}
    if "Adjustment" in info:
        parts |= {name: output.path(name) for name in ("adjustment", "adjustment_arrays")}
    table = read_table(output.path("dseg_tsv", k))
    filters = study.config.inputs.settings().get("filters", {})
    model = ModelFile(
        NumberOfComponents=k,
        Components=parts["components"].name,
        Mask=parts["mask"].name,
        Adjustment=parts["adjustment"].name if "adjustment" in parts else None,
        SHA256={path.name: file_digest(path) for path in parts.values()},
        Preprocessing=info["Preprocessing"],
        Change=info["Change"]["Settings"] if "Change" in info else None,
        Measures=info.get("Measures"),
        Shift=info["Shift"],
        Labels=_labels(table),
        Entities=common_entities(study.images),
        Filters={key: value for key, value in filters.items() if key not in OF_THE_ROW},
        Grid=open_mask(parts["mask"]).grid.describe(),
        NumberOfSubjects=info["NumberOfSubjects"],
        MeanLoadings=info.get("MeanLoadings"),
        TrainingErrors=sorted(info["RelativeErrors"]),
        TrainingNorms=info["NormExtent"],
        Decomposition=info["Settings"],
        Versions=info["Versions"],
        License=study.config.output.license,
        Authors=list(study.config.output.authors or ()),
    )
    output.write_text("model", model.text(), k)


def _labels(table: pd.DataFrame) -> list[str | None] | None:
    """Return the name of each component, if the run had an atlas."""
    if "proposed_name" not in table:
        return None
    return [name if isinstance(name, str) else None for name in table["proposed_name"]]


def _note_sources(
    study: Study, ks: Sequence[int], output: OutputFolder, inputs: InputsConfig
) -> None:
    """Add the source files to the sidecars of each number of components."""
    images = []
    if study.planted is None:  # simulated images are not in a dataset of their own
        root = inputs.bids or output.root
        tables = [inputs.features, *(one.features for one in inputs.measures or ())]
        paths = [path for some in tables for path in some or ()] or study.images
        images = [bids_uri(path, root, INPUT) for path in paths]
    mask = bids_uri(output.path("mask"), output.root)
    for k in ks:
        components = bids_uri(output.path("components", k), output.root)
        sources = {
            "components_json": [mask, *images],
            "dseg_json": [components],
            "loadings_json": [components, *images],
        }
        if output.has("associations_json", k):
            sources["associations_json"] = [bids_uri(output.path("loadings", k), output.root)]
        if output.has("reliability_json", k):
            sources["reliability_json"] = [bids_uri(output.path("dseg", k), output.root)]
        for name, uris in sources.items():
            output.write_text(name, with_sources(output.path(name, k), uris), k)
