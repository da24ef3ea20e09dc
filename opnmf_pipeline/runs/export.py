"""Export of models: a portable folder, a BIDS atlas, and formats of other programs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from opnmf_pipeline import __version__
from opnmf_pipeline.dataset.description import PROGRAM, json_text
from opnmf_pipeline.dataset.folder import Dataset
from opnmf_pipeline.dataset.model import EXPORTED, ModelFile, read_model_file
from opnmf_pipeline.exceptions import ModelError, OutputError
from opnmf_pipeline.reporting.figure import part_colours
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.imports import chosen_files
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.spaces import SPACES, space_of
from opnmf_pipeline.tables import table_text

__all__ = ["ATLAS_FORMAT", "Credits", "Exported", "export", "is_export"]

ATLAS_FORMAT = "bids-atlas"
BIDS_VERSION = "1.11.0"
RESOLUTIONS = {"res": "Resolution", "den": "Density"}
"""Keys of BIDS that describe these entities."""
LABEL = re.compile(r"[A-Za-z0-9]+")
ATLAS_FILES = {"volumes": ("dseg", "probseg"), "surfaces": ("dseg",)}
"""Files of a BIDS atlas in each space. BIDS has no probability maps on surfaces."""

FULL_MSG = "{root}: is not empty; choose another folder (--output)"
NAME_MSG = "--name {name!r}: a label in BIDS has letters and digits only, such as GreyMatter"
SPACE_LABEL_MSG = "--space {name!r}: a label in BIDS has letters and digits only, such as MNI152"
NO_SPACE_MSG = (
    "nothing says in which space the model is, which a BIDS atlas needs in its file names; pass "
    "--space, such as --space MNI152NLin2009cAsym"
)
FORMAT_MSG = "a model of {kind} cannot be written as {name}; it can be written as {known}"

README = """\
# {name}

Components of structural covariance (orthonormal projective NMF), {exported_by} {version}.
{content}

Licence: {license}

Authors: {authors}

How to cite: {citation}
"""
EXPORTED_BY = f"exported by {PROGRAM}"
"""Words in the README of each folder of an export, by which it is known."""
NOT_GIVEN = "not given by the authors of this export"
OF_MODEL = (
    "`opnmf-pipeline project` takes this folder as its model. Each `..._model.json` names the maps "
    "of its components and their mask, with the SHA-256 of each file. No file contains identifiers "
    "of subjects."
)
OF_ATLAS = (
    "This is an atlas in BIDS: `dseg` is the winner-takes-all label map. `probseg`, for volumes, "
    "has one map per component, its weights divided by the largest one. `scale` is the number of "
    "components."
)
OF_FREESURFER = (
    "`.annot` is the winner-takes-all label map of a hemisphere, and `.mgh` has one frame of "
    "weights per component."
)


@dataclass(frozen=True)
class Credits:
    """What the user says about an exported model; nothing of it is invented.

    Attributes
    ----------
    name : str
        Name of the atlas, with letters and digits only.
    license : str or None
        Licence, such as ``CC-BY-4.0``.
    authors : sequence of str
        Authors.
    citation : str or None
        What to cite.
    """

    name: str = "OPNMF"
    license: str | None = None
    authors: Sequence[str] = ()
    citation: str | None = None

    def completed(self, model: ModelFile) -> Credits:
        """Return the credits with those of the model in place of what was not given."""
        return replace(
            self,
            license=self.license or model.License,
            authors=self.authors or model.Authors,
            citation=self.citation or model.HowToAcknowledge,
        )

    def described(self) -> dict[str, object]:
        """Return the keys of BIDS that have a value."""
        return {
            "Name": self.name,
            **({"License": self.license} if self.license else {}),
            **({"Authors": list(self.authors)} if self.authors else {}),
            **({"HowToAcknowledge": self.citation} if self.citation else {}),
        }

    def readme(self, content: str) -> str:
        """Return the README of a folder."""
        return README.format(
            name=self.name,
            exported_by=EXPORTED_BY,
            version=__version__,
            content=content,
            license=self.license or NOT_GIVEN,
            authors=", ".join(self.authors) or NOT_GIVEN,
            citation=self.citation or NOT_GIVEN,
        )


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes
    ----------
    folders : dict of str to path
        Folder of each format.
    ks : list of int
        Numbers of components.
    credit : Credits
        What the files say of licence, authors and citation.
    """

    folders: dict[str, Path]
    ks: list[int]
    credit: Credits


def export(
    source: Path,
    root: Path,
    credit: Credits,
    *,
    n_components: Sequence[int] | None = None,
    formats: Sequence[str] | None = None,
    space: str | None = None,
    mask: Path | None = None,
) -> Exported:
    """Write models in formats that other people and programs can use.

    Parameters
    ----------
    source : path
        Source of the models; see :meth:`opnmf_pipeline.stages.model.Model.load`.
    root : path
        Output folder, which must be empty; it gets one folder per format.
    credit : Credits
        Name, licence, authors and citation. What is not given is that of the model.
    n_components : sequence of int, optional
        Numbers of components. Default: all.
    formats : sequence of str, optional
        ``model``, ``bids-atlas``, and ``freesurfer`` for surfaces. Default: all that are possible.
    space : str, optional
        Name of the space. Default: that of the model.
    mask : path, optional
        Mask of a matrix W.

    Raises
    ------
    ModelError
        A model cannot be read, or cannot be written in a format.
    OutputError
        The output folder is not empty, or cannot be written.
    """
    for text, message in ((credit.name, NAME_MSG), (space or "MNI", SPACE_LABEL_MSG)):
        if not LABEL.fullmatch(text):
            raise ModelError(message.format(name=text))
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise OutputError(FULL_MSG.format(root=root))
    Dataset(root).require_writable()
    files = chosen_files(source, n_components, mask)
    ks = list(files)
    models = [Model.of_file(files[k]) for k in ks]  # checks that all files are intact
    first = read_model_file(files[ks[0]])
    credit = credit.completed(first)
    chosen = _formats(models[0], formats)
    template = _template(models[0], space) if ATLAS_FORMAT in chosen else ""
    folders = {name: root / name for name in chosen}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        if name == EXPORTED:
            for k in ks:
                _write_model(files[k], folder, credit)
            content = OF_MODEL
        elif name == ATLAS_FORMAT:
            for model in models:
                _write_atlas(model, folder, template, credit)
            _describe_atlas(models, first, folder, credit)
            content = OF_ATLAS
        else:
            write = space_of(models[0].mask_file).images.FORMATS[name]
            for model in models:
                k = model.n_components
                stem = f"{credit.name}.k{k}"
                labels = winner_takes_all(model.W)
                write(model.mask, model.W, labels, part_colours(k), folder, stem)
            content = OF_FREESURFER
        (folder / "README.md").write_text(credit.readme(content), encoding="utf-8")
    return Exported(folders, ks, credit)


def is_export(folder: Path) -> bool:
    """Tell whether a folder is an export, or the folder of one of its formats."""
    formats = (name for space in SPACES.values() for name in space.images.FORMATS)
    files = [folder / name / "README.md" for name in (".", EXPORTED, ATLAS_FORMAT, *formats)]
    return any(
        EXPORTED_BY in file.read_text(encoding="utf-8", errors="replace")
        for file in files
        if file.is_file()
    )


def _formats(model: Model, wanted: Sequence[str] | None) -> list[str]:
    """Return the formats to write, after a check that they are possible."""
    kind, formats = _kind(model), space_of(model.mask_file).images.FORMATS
    known = [EXPORTED, *([ATLAS_FORMAT] if kind in ATLAS_FILES else []), *formats]
    for name in wanted or ():
        if name not in known:
            raise ModelError(FORMAT_MSG.format(kind=kind, name=name, known=", ".join(known)))
    return [name for name in known if not wanted or name in wanted]


def _kind(model: Model) -> str:
    here = space_of(model.mask_file)
    return next(name for name, space in SPACES.items() if space is here)


def _write_model(file: Path, folder: Path, credit: Credits) -> None:
    """Copy a model, with names that tell models of several numbers of components apart."""
    content = read_model_file(file)
    ending = space_of(content.Mask).images.ENDINGS["image"]
    start = f"desc-{credit.name}K{content.NumberOfComponents}"
    new = {
        content.Components: f"{start}_components{ending}",
        content.Mask: f"{start}_mask{ending}",
    }
    for name in content.SHA256:
        target = folder / new.get(name, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.with_name(name) if name in new else file.parent / name, target)
    described = {
        "Components": new[content.Components],
        "Mask": new[content.Mask],
        "SHA256": {new.get(name, name): digest for name, digest in content.SHA256.items()},
        **credit.described(),
    }
    model = ModelFile.model_validate(content.model_dump() | described)
    (folder / f"{start}_model.json").write_text(model.text(), encoding="utf-8")


def _template(model: Model, space: str | None) -> str:
    """Return the label of the space of a model."""
    found = space or model.entities.get("space") or model.mask.template_space
    if not found or not LABEL.fullmatch(found):
        raise ModelError(NO_SPACE_MSG)
    return found


def _write_atlas(model: Model, folder: Path, template: str, credit: Credits) -> None:
    """Write label map, probability maps, their sidecars and the table of labels."""
    mask, k = model.mask, model.n_components
    anat = folder / f"tpl-{template}" / "anat"
    anat.mkdir(parents=True, exist_ok=True)
    labels = winner_takes_all(model.W)
    largest = model.W.max(axis=0)
    probabilities = (model.W / np.where(largest > 0, largest, 1)).astype(np.float32)
    images = space_of(model.mask_file).images
    endings = images.ENDINGS
    name = f"tpl-{template}_atlas-{credit.name}_scale-{k}"
    resolution = mask.resolution
    full = f"{name}_{resolution}" if resolution else name
    described = {
        "dseg": "Component with the largest weight at each place; 0: none",
        "probseg": "Weights of each component, divided by its largest weight; one map each",
    }
    with TemporaryDirectory() as temporary:
        written = {
            "dseg": Path(temporary) / f"dseg{endings['labels']}",
            "probseg": Path(temporary) / f"probseg{endings['image']}",
        }
        mask.write_labels(labels, part_colours(k), written["dseg"])
        mask.write(probabilities, written["probseg"])
        for suffix in ATLAS_FILES[_kind(model)]:
            path = written[suffix]
            shutil.copyfile(path, anat / f"{full}_{path.name}")
            sidecar = json_text(
                {
                    "Description": described[suffix],
                    "SpatialReference": template,
                    "Manual": False,
                    RESOLUTIONS.get(resolution[:3], "Grid"): str(mask.grid),
                    **({"LabelMap": model.names} if suffix == "probseg" else mask.label_columns),
                }
            )
            (anat / f"{full}_{suffix}.json").write_text(sidecar, encoding="utf-8")
            for start, copy in images.copies(path).items():  # one hemisphere each
                half = full.replace("_", f"_{start}", 1)
                shutil.copyfile(copy, anat / f"{half}_{suffix}.{copy.name.split('.', 1)[1]}")
                (anat / f"{half}_{suffix}.json").write_text(sidecar, encoding="utf-8")
    table = mask.label_table(model.W, labels)
    if model.labels is not None:
        table["name"] = [
            f"{name}: {label}" if label else name
            for name, label in zip(model.names, model.labels, strict=True)
        ]
    (anat / f"{full}_dseg.tsv").write_text(table_text(table), encoding="utf-8")


def _describe_atlas(
    models: Sequence[Model], content: ModelFile, folder: Path, credit: Credits
) -> None:
    generator = {"Name": PROGRAM, "Version": __version__}
    dataset = {
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        **credit.described(),
    }
    atlas = {
        **credit.described(),
        "Description": "Components of structural covariance by orthonormal projective NMF",
        "Scales": [model.n_components for model in models],
        **({"SampleSize": content.NumberOfSubjects} if content.NumberOfSubjects else {}),
        "Preprocessing": content.Preprocessing,
        "Versions": content.Versions,
    }
    (folder / "dataset_description.json").write_text(json_text(dataset), encoding="utf-8")
    path = folder / f"atlas-{credit.name}_description.json"
    path.write_text(json_text(atlas), encoding="utf-8")
