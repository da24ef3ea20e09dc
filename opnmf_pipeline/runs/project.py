"""Projections of images on the components of a model: one BIDS file for each image, and tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from opnmf_pipeline.config import InputsConfig, PipelineConfig
from opnmf_pipeline.dataset.description import (
    BIDSIGNORE,
    INPUT,
    MODEL,
    bids_uri,
    dataset_description,
    is_ours,
    json_text,
    read_json,
    readme,
)
from opnmf_pipeline.dataset.folder import FOREIGN_MSG, Dataset
from opnmf_pipeline.dataset.model import (
    find_model_files,
    read_model_file,
    require_projectable,
)
from opnmf_pipeline.engines.resources import n_procs_of
from opnmf_pipeline.exceptions import ConfigError, ImageError, OutputError
from opnmf_pipeline.files import PARTIAL, file_digest
from opnmf_pipeline.images.bids import entities_of
from opnmf_pipeline.images.cohort import IDENTIFIERS, read_cohort, row_names
from opnmf_pipeline.images.missing import find_masks
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.images.projection import Finish
from opnmf_pipeline.images.space import ImageMask
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.runs.errors import naming_tables, with_tables_named
from opnmf_pipeline.runs.measures import tables_of
from opnmf_pipeline.runs.projected import columns_of, projection_page
from opnmf_pipeline.runs.study import output_dir
from opnmf_pipeline.stages.collect import collect_cohort
from opnmf_pipeline.stages.features import split_inputs
from opnmf_pipeline.stages.imports import is_own
from opnmf_pipeline.stages.model import Model, Projection, project_images, tabulated
from opnmf_pipeline.stages.models import load_models
from opnmf_pipeline.stages.newimages import doubt_about_units
from opnmf_pipeline.stages.spaces import space_of
from opnmf_pipeline.tables import as_typed, read_table, table_text

__all__ = ["Projected", "Row", "filters_of", "project", "rows_of"]

logger = logging.getLogger(__name__)

OTHER_LOADINGS_MSG = (
    "output.dir: {root} contains {n} file(s) with loadings on other components or of other images, "
    "such as {first}; choose another folder, or pass --overwrite to replace them"
)
OTHER_INPUT_MSG = (
    "the dataset description in %s links its input to %s, but the images of this call are in %s; "
    "sidecars refer to both datasets as `bids:input:`"
)
SIMULATION_MSG = (
    "inputs.simulation: a projection needs images in files; set inputs.bids, inputs.table or "
    "inputs.glob"
)
OF_A_RUN_MSG = (
    "output.dir: {root} contains a run, whose tables and report would be replaced; choose another "
    "folder (--output)"
)


@dataclass(frozen=True)
class Projected:
    """Result of a projection.

    Attributes
    ----------
    n_images : int
        Number of images with loadings: those of this call, and those of an interrupted call.
    ks : list of int
        Numbers of components of the models.
    tables : dict of int to DataFrame
        Projections of all images, by the number of components; empty if no tables were written.
    output : Dataset
        The output dataset.
    """

    n_images: int
    ks: list[int]
    tables: dict[int, pd.DataFrame]
    output: Dataset


@dataclass(frozen=True)
class Row:
    """An image to project.

    Attributes
    ----------
    name : str
        Subject and session, such as ``sub-01_ses-1``.
    image : str
        Path of the image.
    mask : ImageMask or None
        Mask of its missing voxels.
    """

    name: str
    image: str
    mask: ImageMask | None = None

    @property
    def folder(self) -> str:
        """Folder of its loadings in the output dataset, such as ``sub-01/ses-1/anat``."""
        datatype = entities_of(self.image).get("datatype") or "anat"
        return "/".join([*self.name.split("_", 1), datatype])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its files, and of its mask."""
        files = list(space_of(self.image).images.image_files(self.image))
        if self.mask is not None:
            files += [self.mask.path]
        return " ".join(file_digest(Path(file)) for file in files)


def filters_of(model_root: Path) -> dict[str, Any]:
    """Return the filters that selected the images of the cohort of a model in a BIDS dataset.

    Raises
    ------
    ModelError
        The folder contains no model that can be read, or no image can be projected on it.
    """
    if not is_own(model_root):
        return {}
    file = next(iter(find_model_files(model_root).values()))
    model = read_model_file(file)
    require_projectable(file, model.Change, model.Measures)
    return model.Filters


def rows_of(inputs: InputsConfig, folder: Path) -> tuple[list[Row], pd.DataFrame]:
    """Return the images that settings name, and the table of the subjects with its covariates.

    Parameters
    ----------
    inputs : InputsConfig
        Settings of the images.
    folder : path
        Existing folder that gets one file per subject, if the settings name a table of features.

    Raises
    ------
    CohortError
        The images cannot be found.
    ConfigError
        The settings name a simulated cohort.
    """
    if inputs.simulation is not None:
        raise ConfigError(SIMULATION_MSG)
    inputs = split_inputs(inputs, folder / "features")
    cohort = read_cohort(collect_cohort(inputs, folder / "cohort.tsv"))
    masks = find_masks(inputs, cohort)
    rows = zip(row_names(cohort), cohort["image"], strict=True)
    return [Row(name, image, masks.get(image)) for name, image in rows], cohort


def project(
    config: PipelineConfig,
    model_root: Path,
    display: Display | None = None,
    *,
    rows: Sequence[Row] | None = None,
    n_components: Sequence[int] | None = None,
    mask: Path | None = None,
    resample: bool = False,
    combined: bool = False,
) -> Projected:
    """Write the loadings of each image of the cohort on the components of a model.

    An image whose loadings an earlier call wrote is not decoded again: its SHA-256 and that of the
    components tell this. So an interrupted call continues. Calls with different subjects may write
    into one dataset at the same time, unless ``combined`` is set.

    Parameters
    ----------
    config : PipelineConfig
        Images (``inputs``) and output folder (``output``). The model defines the preprocessing; the
        section ``matrix`` is not used.
    model_root : path
        Output folder of the run with the components, folder with models, or components of
        another program; see :meth:`opnmf_pipeline.stages.model.Model.load`. It is not changed,
        unless it is also the output folder.
    display : Display, optional
        Shows progress. Default: nothing is shown.
    rows : sequence of Row, optional
        The images. Default: those of ``config.inputs``. The covariates of these rows are in
        ``config.inputs.participants``, if the model needs them.
    n_components : sequence of int, optional
        Numbers of components. Default: all models in the folder.
    mask : path, optional
        Mask of components that are a matrix W.
    resample : bool
        Resample images on another grid to that of the model.
    combined : bool
        Also write tables of all images of this call, and a report.

    Returns
    -------
    Projected
        Numbers of images and of components, and the output folder.

    Raises
    ------
    ModelError
        The model cannot be used.
    OutputError
        The output folder contains files of another program, or loadings on other components or of
        other images.
    CohortError
        The images cannot be found. Or a subject cannot be adjusted as the cohort of the model
        was, see :class:`opnmf_pipeline.stages.newsubjects.NewSubjects`: nothing is written.
    ImageError
        Images do not fit the model, such as images on another grid: nothing is written. Or images
        cannot be read or have NaN or negative values that the preprocessing does not allow: the
        loadings of the other images are written.
    """
    display = display or SilentDisplay()
    models = load_models(model_root, n_components, mask=mask)
    output = Dataset(output_dir(config))
    output.require_writable()
    if _is_foreign(output.root):
        raise OutputError(FOREIGN_MSG.format(root=output.root))
    if combined and output.path("registry").exists():
        raise OutputError(OF_A_RUN_MSG.format(root=output.root))
    with TemporaryDirectory() as folder:
        people = config.inputs.participants
        covariates = None if people is None else read_table(people)
        if rows is None:
            rows, covariates = rows_of(config.inputs, Path(folder))
        display.note(f"collect: {counted(len(rows), 'image')}")
        images, names = [row.image for row in rows], [row.name for row in rows]
        finish = models[0].finish(images, names, covariates)
        projection = _Projection(config, model_root, models, output, rows, finish, resample)
        missing = projection.missing()
        if n_before := len(rows) - len(missing):
            display.note(f"project: projected before: {counted(n_before, 'image')}")
        named = tables_of(images, config.inputs)
        with naming_tables(named):
            problem = projection.write(missing, display, *(COMBINED if combined else ()))
        if problem is not None:
            problem = with_tables_named(problem, named)
        done = [row for row in rows if projection.is_done(row)]
        tables: dict[int, pd.DataFrame] = {}
        if combined and done:
            tables = projection.combine(done)
            others = models[0].other_units(tables[models[0].n_components])
            if doubt := doubt_about_units(others, len(done)):
                logger.warning("%s", doubt)
            text = projection_page(
                model_root,
                models,
                tables,
                adjusted_for=list(finish.covariates_of(images[0])),
                resample=resample,
                others=others,
                doubts=finish.doubts,
                problem=str(problem or ""),
            )
            output.write_text("report", text)
        if problem is not None:
            raise problem
        return Projected(
            n_images=len(done),
            ks=[model.n_components for model in models],
            tables=tables,
            output=output,
        )


def _is_foreign(root: Path) -> bool:
    """Tell whether a folder contains files, but is not a dataset of this program."""
    if not root.exists():
        return False
    names = [path.name for path in root.iterdir() if not path.name.endswith(PARTIAL)]
    return bool(names) and not is_ours(root)


WRITTEN = ("dataset", "bidsignore", "readme", "image_loadings", "image_loadings_json")
"""Files of a dataset of loadings, by their names in the table of output files."""
COMBINED = ("loadings", "loadings_json", "report")
"""Further files, if there are tables of all images."""


@dataclass(frozen=True)
class _Projection:
    config: PipelineConfig
    model_root: Path
    models: Sequence[Model]
    output: Dataset
    rows: Sequence[Row]
    finish: Finish
    resample: bool

    def missing(self) -> list[Row]:
        """Return the images without loadings; refuse to replace those of others."""
        missing = [row for row in self.rows if not self.is_done(row)]
        if self.config.output.overwrite:
            return missing
        others = [
            path
            for row in missing
            for model in self.models
            if (path := self._path("image_loadings_json", model, row)).exists()
            and not self._is_same(model, row)
        ]
        if others:
            raise OutputError(
                OTHER_LOADINGS_MSG.format(root=self.output.root, n=len(others), first=others[0])
            )
        return missing

    def is_done(self, row: Row) -> bool:
        """Tell whether the loadings of an image on all components are written."""
        return all(self._is_same(model, row) for model in self.models)

    def _is_same(self, model: Model, row: Row) -> bool:
        """Tell whether the loadings of an image on some components are those of this call."""
        path = self._path("image_loadings_json", model, row)
        if not path.exists() or not self._path("image_loadings", model, row).exists():
            return False
        sidecar = read_json(path)
        whole, used = set(columns_of(model)) <= set(sidecar), self._used(model, row)
        return whole and used == {name: sidecar.get(name) for name in used}

    def _used(self, model: Model, row: Row) -> dict[str, Any]:
        """Return what the loadings of an image depend on, for its sidecar."""
        used = {"ComponentsSHA256": model.sha256, "ImageSHA256": row.digest}
        adjusted = self.finish.covariates_of(row.image)
        return {**used, "AdjustedFor": adjusted} if adjusted else used

    def write(self, rows: Sequence[Row], display: Display, *combined: str) -> ImageError | None:
        """Write the loadings of images; return the error about images that cannot be used.

        Nothing is written before all images were found to fit the model.
        """
        if not rows:
            return None
        found = project_images(
            self.models,
            [row.image for row in rows],
            [row.name for row in rows],
            self.finish,
            resample=self.resample,
            masks={row.image: row.mask for row in rows if row.mask is not None},
            n_procs=n_procs_of(self.config.execution),
            track=display.track,
            stop_at_first=self.config.execution.stop_on_first_crash,
        )
        try:
            for n_written, (number, projections) in enumerate(found):
                if n_written == 0:
                    self._describe_dataset(combined)
                self._write_row(rows[number], projections)
        except ImageError as error:
            return error
        return None

    def _describe_dataset(self, combined: Sequence[str]) -> None:
        """Write the dataset description, unless the folder already has one."""
        root, bids = self.output.root, self.config.inputs.bids
        links = read_json(self.output.path("dataset")).get("DatasetLinks")
        link = links.get(INPUT) if isinstance(links, dict) else None
        if link and bids and link != bids.as_uri():
            logger.warning(OTHER_INPUT_MSG, root, link, bids.as_uri())
        if not self.output.path("dataset").exists():
            settings = self.config.settings()
            text = dataset_description(settings, model=self.model_root)
            self.output.write_text("dataset", text)
            self.output.write_text("bidsignore", BIDSIGNORE)
            self.output.write_text(
                "readme", readme(settings, (*WRITTEN, *combined), self.model_root)
            )

    def _write_row(self, row: Row, projections: Sequence[Projection]) -> None:
        for model, projection in zip(self.models, projections, strict=True):
            table = tabulated(model, [row.name], [projection])
            root = self.config.inputs.bids or self.output.root
            images = self.config.inputs.features or [row.image]
            sidecar = {
                **self._describe(model, table),
                "Sources": [
                    self._uri(model),
                    *(bids_uri(str(image), root, INPUT) for image in images),
                ],
                **self._used(model, row),
                "Resampling": self.resample,
            }
            self._write("image_loadings", model, row, table_text(table))
            # Last, because it marks the table as complete
            self._write("image_loadings_json", model, row, json_text(sidecar))

    def combine(self, rows: Sequence[Row]) -> dict[int, pd.DataFrame]:
        """Write one table of all images for each set of components, and return these tables."""
        tables = {}
        for model in self.models:
            k = model.n_components
            parts = [read_table(self._path("image_loadings", model, row)) for row in rows]
            table = pd.concat(parts, ignore_index=True)
            first = [name for name in IDENTIFIERS if name in table]
            table = table[[*first, *(name for name in table if name not in first)]]
            sidecar = {**self._describe(model, table), "Sources": [self._uri(model)]}
            self.output.write_text("loadings", table_text(table), k)
            self.output.write_text("loadings_json", json_text(sidecar), k)
            tables[k] = as_typed(table, text=IDENTIFIERS)
        return tables

    def _describe(self, model: Model, table: pd.DataFrame) -> dict[str, Any]:
        known = {"participant_id": "Subject", "session_id": "Session of the subject"}
        subjects = {name: {"Description": known[name]} for name in known if name in table}
        return {"Description": "Projection on components", **subjects, **columns_of(model)}

    def _uri(self, model: Model) -> str:
        assert model.components_file is not None
        if not is_own(self.model_root):  # the file of the model is temporary
            return self.model_root.absolute().as_uri()
        inside = self.output.root.exists() and self.model_root.samefile(self.output.root)
        return bids_uri(model.components_file, self.model_root, "" if inside else MODEL)

    def _path(self, name: str, model: Model, row: Row) -> Path:
        return self.output.path(name, model.n_components, folder=row.folder, row=row.name)

    def _write(self, name: str, model: Model, row: Row, text: str) -> None:
        k = model.n_components
        self.output.write_text(name, text, k, folder=row.folder, row=row.name)
