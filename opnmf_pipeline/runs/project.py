"""Loadings of images on the components of a finished run, in one BIDS file for each image."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
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
from opnmf_pipeline.dataset.folder import FOREIGN_MSG, Dataset, FinishedRun
from opnmf_pipeline.engines.resources import n_procs_of
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.files import PARTIAL, file_digest
from opnmf_pipeline.images.bids import entities_of
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.images.missing import Masks, find_masks
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.runs.study import output_dir
from opnmf_pipeline.stages.collect import collect_cohort
from opnmf_pipeline.stages.maps import describe_loadings
from opnmf_pipeline.stages.project import Loadings, Model, loadings_table, project_images
from opnmf_pipeline.stages.spaces import space_of
from opnmf_pipeline.tables import table_text

__all__ = ["Projected", "project"]

logger = logging.getLogger(__name__)

OTHER_LOADINGS_MSG = (
    "output.dir: {root} contains {n} file(s) with loadings on other components or of other images, "
    "such as {first}; choose another folder, or pass --overwrite to replace them"
)
OTHER_INPUT_MSG = (
    "the dataset description in %s links its input to %s, but the images of this call are in %s; "
    "sidecars refer to both datasets as `bids:input:`"
)


@dataclass(frozen=True)
class Projected:
    """Result of a projection.

    Attributes
    ----------
    n_images : int
        Number of images whose loadings were written.
    ks : list of int
        Numbers of components of the model.
    root : path
        The output dataset.
    """

    n_images: int
    ks: list[int]
    root: Path


def project(config: PipelineConfig, model_root: Path, display: Display | None = None) -> Projected:
    """Write the loadings of each image of the cohort on the components of a finished run.

    Calls with different subjects may write into one dataset at the same time.

    Parameters
    ----------
    config : PipelineConfig
        Images (``inputs``) and output folder (``output``). The model defines the preprocessing; the
        section ``matrix`` is not used.
    model_root : path
        Output folder of the run with the components. It is not changed, unless it is also the
        output folder.
    display : Display, optional
        Shows progress. Default: nothing is shown.

    Returns
    -------
    Projected
        Number of images, numbers of components and output folder.

    Raises
    ------
    OutputError
        There is no model, the output folder contains files of another program, or it contains
        loadings on other components or of other images.
    CohortError
        The images cannot be found.
    ImageError
        Images are on a different grid than the components: nothing is written. Or images cannot be
        read or have NaN or negative values that the preprocessing does not allow: the loadings of
        the other images are written.
    """
    display = display or SilentDisplay()
    model, output = FinishedRun(model_root), Dataset(output_dir(config))
    output.require_writable()
    if _is_foreign(output.root):
        raise OutputError(FOREIGN_MSG.format(root=output.root))
    with TemporaryDirectory() as folder:
        cohort = read_cohort(collect_cohort(config.inputs, Path(folder) / "cohort.tsv"))
    display.note(f"collect: {len(cohort)} images")
    images = [_Image.of_row(*row) for row in zip(row_names(cohort), cohort["image"], strict=True)]
    projection = _Projection(config, model, output, images, find_masks(config.inputs, cohort))
    projection.refuse_others()
    projection.describe_dataset()
    n_done = sum(1 for _ in projection.write(display))
    return Projected(n_images=n_done, ks=model.ks, root=output.root)


def _is_foreign(root: Path) -> bool:
    """Tell whether a folder contains files, but is not a dataset of this program."""
    if not root.exists():
        return False
    names = [path.name for path in root.iterdir() if not path.name.endswith(PARTIAL)]
    return bool(names) and not is_ours(root)


WRITTEN = ("dataset", "bidsignore", "readme", "image_loadings", "image_loadings_json")
"""Files of a dataset of loadings, by their names in the table of output files."""


@dataclass(frozen=True)
class _Image:
    row: str
    path: str
    folder: str
    """Folder of its loadings in the output dataset, such as ``sub-01/ses-1/anat``."""

    @classmethod
    def of_row(cls, row: str, path: str) -> _Image:
        datatype = entities_of(path).get("datatype") or "anat"
        return cls(row, path, "/".join([*row.split("_", 1), datatype]))

    @cached_property
    def digest(self) -> str:
        files = space_of(self.path).images.image_files(self.path)
        return " ".join(file_digest(Path(file)) for file in files)


@dataclass(frozen=True)
class _Projection:
    config: PipelineConfig
    model: FinishedRun
    output: Dataset
    images: Sequence[_Image]
    masks: Masks

    def refuse_others(self) -> None:
        """Refuse to replace loadings on other components or of other images."""
        if self.config.output.overwrite:
            return
        others = [
            path
            for image in self.images
            for k in self.model.ks
            if (path := self._path("image_loadings_json", k, image)).exists()
            and not self._same(read_json(path), k, image)
        ]
        if others:
            raise OutputError(
                OTHER_LOADINGS_MSG.format(root=self.output.root, n=len(others), first=others[0])
            )

    def describe_dataset(self) -> None:
        """Write the dataset description, unless the folder already has one."""
        root, bids = self.output.root, self.config.inputs.bids
        links = read_json(self.output.path("dataset")).get("DatasetLinks")
        link = links.get(INPUT) if isinstance(links, dict) else None
        if link and bids and link != bids.as_uri():
            logger.warning(OTHER_INPUT_MSG, root, link, bids.as_uri())
        if not self.output.path("dataset").exists():
            settings = self.config.settings()
            text = dataset_description(settings, model=self.model.root)
            self.output.write_text("dataset", text)
            self.output.write_text("bidsignore", BIDSIGNORE)
            self.output.write_text("readme", readme(settings, WRITTEN, self.model.root))

    def write(self, display: Display) -> Iterator[str]:
        """Write the loadings of each image, and yield the name of the image."""
        ks, mask_file = self.model.ks, self.model.intact("mask")
        models = [
            Model.of_maps(
                self.model.intact("components", k), self.model.intact("fit", k), mask_file
            )
            for k in ks
        ]
        found = project_images(
            [image.path for image in self.images],
            [image.row for image in self.images],
            models,
            mask_file,
            masks=self.masks,
            n_procs=n_procs_of(self.config.execution),
            track=display.track,
            stop_at_first=self.config.execution.stop_on_first_crash,
        )
        for number, loadings in found:
            image = self.images[number]
            for k, values in zip(ks, loadings, strict=True):
                self._write_one(image, k, values)
            yield image.row

    def _write_one(self, image: _Image, k: int, loadings: Loadings) -> None:
        table: pd.DataFrame = loadings_table([image.row], [loadings])
        text = table_text(table)
        inside = self.model.root.samefile(self.output.root)
        root = self.config.inputs.bids or self.output.root
        sources = [
            bids_uri(self.model.path("components", k), self.model.root, "" if inside else MODEL),
            bids_uri(image.path, root, INPUT),
        ]
        sidecar = {
            **describe_loadings(table),
            "Sources": sources,
            "ComponentsSHA256": self._components_digests[k],
            "ImageSHA256": image.digest,
        }
        self._write("image_loadings", k, image, text)
        self._write("image_loadings_json", k, image, json_text(sidecar))

    @cached_property
    def _components_digests(self) -> dict[int, str]:
        return {k: read_json(self.model.intact("fit", k))["SHA256"] for k in self.model.ks}

    def _same(self, sidecar: dict[str, Any], k: int, image: _Image) -> bool:
        expected = (self._components_digests[k], image.digest)
        return (sidecar.get("ComponentsSHA256"), sidecar.get("ImageSHA256")) == expected

    def _path(self, name: str, k: int, image: _Image) -> Path:
        return self.output.path(name, k, folder=image.folder, row=image.row)

    def _write(self, name: str, k: int, image: _Image, text: str) -> None:
        self.output.write_text(name, text, k, folder=image.folder, row=image.row)
