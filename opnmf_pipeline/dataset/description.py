"""Files that describe the output dataset: BIDS metadata, README and sidecars."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from opnmf_pipeline import __version__
from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.dataset.names import OUTPUTS, WORK
from opnmf_pipeline.exceptions import FileError
from opnmf_pipeline.files import read_object

__all__ = [
    "BIDSIGNORE",
    "COMPARISON_NAME",
    "INPUT",
    "LOADINGS_NAME",
    "MODEL",
    "bids_uri",
    "dataset_description",
    "describe_columns",
    "is_ours",
    "json_text",
    "participants_json",
    "read_json",
    "readme",
    "settings_yaml",
    "with_sources",
]

BIDS_VERSION = "1.10.0"
PROGRAM = "opnmf-pipeline"
INPUT, MODEL = "input", "model"
"""Names of the other datasets in BIDS URIs."""
COMPONENTS_NAME, LOADINGS_NAME, COMPARISON_NAME = (
    "OPNMF components",
    "Loadings on OPNMF components",
    "Comparison of models",
)
"""Names of the datasets that a run, a projection and a comparison write."""

BIDSIGNORE = f"""\
# Group results and figures: the BIDS schema does not define them
/group
/figures
/{WORK}
/report.html
# Loadings of single images: the BIDS schema does not define this suffix
sub-*/**/*_loadings.*
# The subjects of the group: not every subject has a folder here
/participants.*
"""

README = """\
# Components of structural covariance

opnmf-pipeline {version} wrote this dataset from {source}{learned}.
Components are sets of regions whose values vary together across subjects. Each subject has one
loading on each component. Read `report.html` first, if the dataset has one.

{fields}

| file | content |
| --- | --- |
{rows}
"""

FIELDS = {
    "{k}": "`{k}` is the number of components",
    "{part}": "`{part}` is empty, or the hemisphere in GIFTI files (`.shape.gii`, `.label.gii`), "
    "which contain the values of surfaces again, or the measure if measures are stacked along "
    "voxels",
    "{space}": "`{space}` is the space and the resolution of the maps",
    "{image}": "`{image}` is the ending of the maps (`.nii.gz` for volumes, `.dscalar.nii` for "
    "surfaces, `.features.tsv` for tables, `.stack.json` for a file that stands for the maps of "
    "several measures)",
    "{labels}": "`{labels}` is the ending of label maps (`.nii.gz` for volumes, `.dlabel.nii` for "
    "surfaces, `.features.tsv` for tables)",
    "{folder}": "`{folder}` is the folder of an image, such as `sub-01/ses-1/anat`",
    "{row}": "`{row}` is its subject and session",
}
"""The fields of file names."""

COLUMNS = {
    "participant_id": "Subject",
    "session_id": "Session of the subject",
    "measure_id": "Measure that the image shows",
    "image": "Path of the image on the computer that ran the analysis",
    "sha256": "SHA-256 of the image files",
}


def dataset_description(
    settings: Mapping[str, Any],
    *,
    model: Path | None = None,
    name: str = COMPONENTS_NAME,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Return ``dataset_description.json`` of a BIDS derivatives dataset.

    Parameters
    ----------
    settings : dict
        Settings of the run. ``inputs.bids`` is the dataset ``input`` in BIDS URIs;
        ``output.authors`` and ``output.license`` are what the user says of the results.
    model : path, optional
        Dataset with the components, if it is another dataset; it is ``model`` in BIDS URIs.
    name : str
        Name of the dataset, if it has no ``model``.
    environment : mapping
        Environment variables, which identify the container if there is one.
    """
    generator: dict[str, Any] = {"Name": PROGRAM, "Version": __version__}
    if container := _container(environment):
        generator["Container"] = container
    source = settings["inputs"].get("bids")
    named = {INPUT: source, MODEL: model}
    roots = {name: Path(root) for name, root in named.items() if root is not None}
    description: dict[str, Any] = {
        "Name": name if model is None else LOADINGS_NAME,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
    }
    output = settings.get("output", {})
    for key in ("Authors", "License"):
        if value := output.get(key.lower()):
            description[key] = value
    if roots:
        description["SourceDatasets"] = [_source_dataset(root) for root in roots.values()]
        description["DatasetLinks"] = {name: root.as_uri() for name, root in roots.items()}
    return json_text(description)


def _source_dataset(root: Path) -> dict[str, str]:
    doi = read_json(root / OUTPUTS["dataset"].path).get("DatasetDOI")
    return {"URL": root.as_uri()} | ({"DOI": doi} if isinstance(doi, str) else {})


def _container(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the container that the environment variables of Apptainer or our image identify."""
    for kind in ("apptainer", "singularity"):
        if file := environment.get(f"{kind.upper()}_CONTAINER"):
            return {"Type": kind, "Tag": Path(file).name}
    if tag := environment.get("OPNMF_CONTAINER_TAG"):
        return {"Type": "docker", "Tag": tag}
    return None


def is_ours(root: Path) -> bool:
    """Return whether this program wrote the dataset in a folder."""
    try:
        generators = read_json(root / OUTPUTS["dataset"].path).get("GeneratedBy")
    except FileError:
        return False
    return any(
        isinstance(item, dict) and item.get("Name") == PROGRAM
        for item in (generators if isinstance(generators, list) else ())
    )


def bids_uri(path: str | Path, root: Path, dataset: str = "") -> str:
    """Return the BIDS URI of a file: ``bids:<dataset>:<path>``.

    An empty dataset name means this dataset. A file outside ``root`` gets a ``file:`` URI.

    Examples
    --------
    >>> bids_uri("/data/sub-1/anat/sub-1_T1w.nii", Path("/data"), "input")
    'bids:input:sub-1/anat/sub-1_T1w.nii'
    >>> bids_uri("/elsewhere/a.nii", Path("/data"), "input")
    'file:///elsewhere/a.nii'
    """
    path = Path(path)
    if not path.is_relative_to(root):
        return path.absolute().as_uri()
    return f"bids:{dataset}:{quote(path.relative_to(root).as_posix())}"


def with_sources(sidecar: Path, sources: Iterable[str]) -> str:
    """Return a JSON sidecar with ``Sources``: the BIDS URIs of the input files."""
    return json_text({**read_json(sidecar), "Sources": list(sources)})


def describe_columns(columns: Iterable[str], known: Mapping[str, Any] | None = None) -> str:
    """Return the sidecar of a table of subjects.

    Parameters
    ----------
    columns : iterable of str
        Columns of the table.
    known : mapping, optional
        Descriptions of covariates, from ``participants.json`` of the input.
    """
    described = {name: {"Description": text} for name, text in COLUMNS.items()}
    unknown = {"Description": "Covariate from the input table, which has no description"}
    covariates = {name: text for name, text in (known or {}).items() if isinstance(text, dict)}
    return json_text(
        {name: described.get(name) or covariates.get(name) or unknown for name in columns}
    )


def readme(settings: Mapping[str, Any], names: Iterable[str], model: Path | None = None) -> str:
    """Return ``README.md``: the source of the dataset, and its files.

    Parameters
    ----------
    settings : dict
        Settings of the run.
    names : iterable of str
        Names of the files in :data:`OUTPUTS` that the dataset has.
    model : path, optional
        Dataset with the components, if it is another dataset.
    """
    inputs = settings["inputs"]
    named = []
    for one in (inputs, *(inputs.get("measures") or ())):
        sources = [one[key] for key in ("bids", "table", "glob") if one.get(key)]
        named += [f"`{source}`" for source in [*sources, *(one.get("features") or ())]]
    source = " and ".join(named) if named else "a simulated cohort"
    learned = "" if model is None else f", with the components in `{model}`"
    outputs = [OUTPUTS[name] for name in names]
    rows = "\n".join(f"| `{output.path}` | {output.description} |" for output in outputs)
    used = [text for field, text in FIELDS.items() if field in rows]
    fields = textwrap.fill(f"In the file names, {'; '.join(used)}.", 100) if used else ""
    return README.format(
        version=__version__, source=source, learned=learned, fields=fields, rows=rows
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty dict if there is no file.

    Raises
    ------
    FileError
        The file contains no JSON object.
    """
    return read_object(path) if path.exists() else {}


def participants_json(inputs: InputsConfig) -> Path | None:
    """Return the path of the descriptions of the covariates; None without a table of them.

    Of several measures, the first one that has them counts.
    """
    if inputs.measures is not None:
        found = (participants_json(inputs.of_measure(name)) for name in inputs.names)
        there = [path for path in found if path is not None and path.exists()]
        return next(iter(there), None)
    table = inputs.participants
    if table is None and inputs.bids is not None:
        table = inputs.bids / OUTPUTS["participants"].path
    return None if table is None else table.with_suffix(".json")


def settings_yaml(settings: Mapping[str, Any]) -> str:
    """Return settings as a YAML file, which can be used to start a run."""
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)


def json_text(content: Mapping[str, Any]) -> str:
    """Return an object as the text of a JSON file, indented by one space."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
