"""The file of a model: what is needed to use components on new images, without the first cohort.

A model is this file (``..._model.json``) and the files that it names, which are in its folder: the
component maps, the mask, and the two files of the adjustment, if the images of the cohort were
adjusted for covariates, sites or head size. A folder can contain models for several numbers of
components. The output folder of a run contains its models in ``group``. Every file is named
relative to the file of the model and has a SHA-256, so that a copy of these files in another folder
is the same model. None of them contains an identifier of a subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from opnmf_pipeline import __version__
from opnmf_pipeline.dataset.description import PROGRAM, json_text
from opnmf_pipeline.dataset.names import OUTPUTS
from opnmf_pipeline.exceptions import FileError, ModelError
from opnmf_pipeline.files import file_digest, read_object, why_missing

__all__ = [
    "EXPORTED",
    "MODEL_FORMAT",
    "ModelFile",
    "adjustment_files",
    "find_model_files",
    "model_of_components",
    "read_model_file",
    "require_projectable",
]

MODEL_FORMAT = 1
"""Number of the format; it increases when older versions cannot read newer models."""
EXPORTED = "model"
"""Folder of the models in an export."""
MODEL_FILES = "*model.json"
"""Pattern of the names of the files of models."""

NO_MODEL_MSG = (
    "{folder}: {reason}; give the output folder of a run (`opnmf-pipeline run`, or the group level "
    "of opnmf-bids), or a folder with a copied model (*model.json and the files that it names)"
)
ATLAS_MSG = "{folder}: contains label maps and no model; give one of the maps, such as {file}"
ATLASES = ("tpl-*/anat/*_dseg*.nii*", "lh.*.annot")
"""Label maps of a BIDS atlas and of FreeSurfer, in their folders."""
NO_MODEL_OF_RUN = "its run wrote no model: it compared numbers only, or its version is before 0.2"
DAMAGED_MSG = "{path}: {reason}; the file is incomplete or damaged: copy the model again"
NEWER_MSG = (
    "{path}: opnmf-pipeline {version} wrote this model in format {found}; this is version "
    "{own}, which reads formats up to {known}: install a newer version of opnmf-pipeline"
)
CHANGE_MSG = (
    "{file}: has components of the change between two sessions ({from_session}, {to_session}); "
    "an image of one session cannot be projected on them"
)
MEASURES_MSG = (
    "{file}: has components that several measures share ({names}); images of one measure cannot be "
    "projected on them yet: put the new subjects into the cohort, and run it again"
)
STACK_MSG = (
    "{path}: has components of several measures joined along voxels ({names}), which cannot be "
    "projected, compared or exported yet; the maps of each measure are in the files measure-NAME_*"
)
FILE_MSG = "{path}: {problem}; the model {model} needs it: copy the model again"


class ModelFile(BaseModel):
    """Content of the file of a model.

    Attributes
    ----------
    Format : int
        Number of the format of this file.
    GeneratedBy : list of dict
        Name and version of the program that wrote the model.
    NumberOfComponents : int
        Number of components.
    Components, Mask : str
        Names of the image of the component maps, one map each, and of the image of the mask.
    Adjustment : str or None
        Name of the JSON file of the adjustment of the images of the cohort, if there is one. Its
        arrays are in the file of the same name with the ending ``.npz``.
    SHA256 : dict of str to str
        SHA-256 of each of these files, by name.
    Preprocessing : dict
        Settings of the section ``matrix`` with which the images of the cohort were read.
    Change : dict or None
        Settings of the change between two sessions, if the components are of changes.
    Measures : dict or None
        Several measures that share the components, and how they were joined.
    Shift : float
        Value that was subtracted from all values of these images, or from all changes.
    MeanLoadings : list of float or None
        Mean loadings of the cohort, if values may be missing.
    Labels : list of (str or None), or None
        Name of each component, such as a region of an atlas, if it has one.
    Entities : dict of str to str
        BIDS entities that all images had, such as ``space``, ``label`` and ``suffix``.
    Filters : dict
        Filters that selected the images in their BIDS dataset, without subjects and sessions.
    Grid : dict
        Grid of the maps.
    NumberOfSubjects : int or None
        Number of images of the cohort; None if it is not known.
    TrainingErrors : list of float
        ‖x − Wh‖ / ‖x‖ of each image of the cohort, in ascending order; empty if not known.
    TrainingNorms : list of float or None
        Smallest, median and largest ‖x‖ of these images, if they are known.
    Decomposition : dict
        Settings of the fit.
    Versions : dict of str to str
        Versions of Python and of the libraries that fitted the components.
    Name, License, HowToAcknowledge : str or None
        Name of an exported model, licence, and what to cite.
    Authors : list of str
        Authors, as the user gave them.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    Description: str = "Model of opnmf-pipeline: components to project new images on"
    Format: int = MODEL_FORMAT
    GeneratedBy: list[dict[str, Any]] = [{"Name": PROGRAM, "Version": __version__}]
    NumberOfComponents: int = Field(ge=1)
    Components: str
    Mask: str
    Adjustment: str | None = None
    SHA256: dict[str, str]
    Preprocessing: dict[str, Any]
    Change: dict[str, Any] | None = None
    Measures: dict[str, Any] | None = None
    Shift: float = 0.0
    MeanLoadings: list[float] | None = None
    Labels: list[str | None] | None = None
    Entities: dict[str, str] = {}
    Filters: dict[str, Any] = {}
    Grid: dict[str, Any] = {}
    NumberOfSubjects: int | None = None
    TrainingErrors: list[float] = []
    TrainingNorms: list[float] | None = None
    Decomposition: dict[str, Any] = {}
    Versions: dict[str, str] = {}
    Name: str | None = None
    License: str | None = None
    HowToAcknowledge: str | None = None
    Authors: list[str] = []

    @field_validator("Components", "Mask", "Adjustment")
    @classmethod
    def _in_the_folder(cls, name: str | None) -> str | None:
        if name is not None and (len(PurePosixPath(name).parts) != 1 or name == ".."):
            raise ValueError("must be the name of a file in the folder of the model")
        return name

    def text(self) -> str:
        """Return the text of the file."""
        return json_text(self.model_dump(exclude_none=True))

    def require_one_map(self, file: Path) -> None:
        """Require that each component has one map, and not one for each of several measures.

        Raises
        ------
        ModelError
            The measures of the cohort were joined along voxels.
        """
        if self.Measures is not None and self.Measures["Stack"] == "voxels":
            names = ", ".join(self.Measures["Names"])
            raise ModelError(STACK_MSG.format(path=file, names=names))

    def require_intact(self, file: Path) -> None:
        """Require that all files of the model are as they were when it was written.

        Parameters
        ----------
        file : path
            The file of the model; the other files are in its folder.

        Raises
        ------
        ModelError
            A file is missing, or has another content.
        """
        adjustment = [] if self.Adjustment is None else adjustment_files(Path(self.Adjustment))
        named = {path.name for path in adjustment}
        for name in {self.Components, self.Mask, *named, *self.SHA256}:
            path = file.parent / name
            try:
                digest = file_digest(path)
            except FileNotFoundError:
                problem = why_missing(path)
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
            else:
                if digest == self.SHA256.get(name):
                    continue
                problem = "has changed since the model was written (its SHA-256 differs)"
            raise ModelError(FILE_MSG.format(path=path, problem=problem, model=file.name))


def adjustment_files(file: Path) -> list[Path]:
    """Return the JSON file of an adjustment, and the file of its arrays."""
    return [file, file.with_suffix(".npz")]


def find_model_files(folder: Path) -> dict[int, Path]:
    """Return the files of the models in a folder, or in the output folder of a run.

    Parameters
    ----------
    folder : path
        Folder with models, output folder of a run or of an export, or the file of one model, or its
        component maps.

    Returns
    -------
    dict of int to path
        By the number of components, in ascending order.

    Raises
    ------
    ModelError
        The folder contains no model or two models with one number of components, or a file cannot
        be read.
    """
    if folder.is_file():
        is_model = folder.name.endswith(MODEL_FILES[1:])
        if file := folder if is_model else model_of_components(folder):
            return {read_model_file(file).NumberOfComponents: file}
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise ModelError(NO_MODEL_MSG.format(folder=folder, reason=reason))
    places = ("", "group/", f"{EXPORTED}/")
    files = next(filter(None, (sorted(folder.glob(one + MODEL_FILES)) for one in places)), [])
    by_number: dict[int, Path] = {}
    for file in files:
        k = read_model_file(file).NumberOfComponents
        if k in by_number:
            reason = f"contains two models with {k} components ({by_number[k].name}, {file.name})"
            raise ModelError(NO_MODEL_MSG.format(folder=folder, reason=reason))
        by_number[k] = file
    if not by_number:
        for file in (one for pattern in ATLASES for one in sorted(folder.glob(pattern))):
            raise ModelError(ATLAS_MSG.format(folder=folder, file=file))
        ran = (folder / OUTPUTS["registry"].path).exists()
        reason = NO_MODEL_OF_RUN if ran else "contains no model"
        raise ModelError(NO_MODEL_MSG.format(folder=folder, reason=reason))
    return dict(sorted(by_number.items()))


def model_of_components(image: Path) -> Path | None:
    """Return the file of the model whose component maps an image is; None if none is beside it."""
    for file in sorted(image.parent.glob(MODEL_FILES)):
        with suppress(FileError):  # other programs may use the name, too
            if read_object(file).get("Components") == image.name:
                return file
    return None


def read_model_file(path: Path) -> ModelFile:
    """Read the file of a model; its other files are not read.

    Raises
    ------
    ModelError
        A newer version wrote the file, or it is incomplete or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(DAMAGED_MSG.format(path=path, reason=error.strerror)) from None
    except (ValueError, RecursionError) as error:
        reason = f"cannot be read as JSON ({error})"
        raise ModelError(DAMAGED_MSG.format(path=path, reason=reason)) from None
    if not isinstance(content, dict):
        raise ModelError(DAMAGED_MSG.format(path=path, reason="contains no JSON object"))
    found = content.get("Format")
    if isinstance(found, int) and found > MODEL_FORMAT:
        raise ModelError(
            NEWER_MSG.format(
                path=path,
                found=found,
                known=MODEL_FORMAT,
                version=_version(content),
                own=__version__,
            )
        )
    try:
        return ModelFile.model_validate(content)
    except ValidationError as error:
        keys = ", ".join(str(one["loc"][0]) for one in error.errors() if one["loc"])
        reason = f"keys are missing or have invalid values ({keys})"
        raise ModelError(DAMAGED_MSG.format(path=path, reason=reason)) from None


def require_projectable(
    file: Path, change: Mapping[str, Any] | None, measures: Mapping[str, Any] | None
) -> None:
    """Require that an image of a new subject can be projected on the components of a model.

    Parameters
    ----------
    file : path
        A file of the model, for the message.
    change, measures : mapping or None
        ``Change`` and ``Measures`` of the model.

    Raises
    ------
    ModelError
        The components are of changes between two sessions, or of several measures.
    """
    if change is not None:
        raise ModelError(CHANGE_MSG.format(file=file, **change))
    if measures is not None:
        raise ModelError(MEASURES_MSG.format(file=file, names=", ".join(measures["Names"])))


def _version(content: Mapping[str, Any]) -> str:
    try:
        return str(content["GeneratedBy"][0]["Version"])
    except (KeyError, IndexError, TypeError):
        return "(unknown version)"
