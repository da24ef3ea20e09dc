"""The folder of an output dataset: protects the results of other runs, registers its files."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from opnmf_pipeline import __version__
from opnmf_pipeline.dataset.names import COMPARISON, OUTPUTS, WORK
from opnmf_pipeline.disk import full_disk_named
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.files import (
    PARTIAL,
    file_digest,
    sweep,
    written_whole,
)
from opnmf_pipeline.locks import LOCKS

__all__ = ["FOREIGN_MSG", "Dataset", "FinishedRun", "OutputFolder"]

OURS = re.compile(
    "|".join(re.sub(r"\\{\w+\\}", ".*", re.escape(path)) for path, _, _ in OUTPUTS.values())
)
"""Paths of all files of an output dataset."""
COMPARISON_FILES = {OUTPUTS[name].path for name in COMPARISON}
OF_RANK = re.compile(r"opnmfK(\d+)_")
"""Part of the names of files about one number of components."""
DEFAULT_ENDINGS = {"image": ".nii.gz", "labels": ".nii.gz"}
"""Endings of maps and of label maps in the folders of versions that wrote no others."""

EVERY_RUN = ("readme", "log", "registry")
"""Files of every run, which it completes at its end."""

NOT_WRITABLE_MSG = (
    "output.dir: {root}: cannot be written ({reason}); "
    "choose another folder (--output, or OUTPUT_DIR)"
)
FOREIGN_MSG = (
    "output.dir: {root} is not empty and contains no run of opnmf-pipeline; "
    "choose another folder (--output, or OUTPUT_DIR)"
)
OTHER_RUN_MSG = (
    "output.dir: {root} contains the results of a different run ({difference}); "
    "choose another folder (--output, or OUTPUT_DIR), or pass --overwrite to replace its results"
)
OTHER_STUDY_MSG = (
    "output.dir: {root} contains a different comparison of numbers of components ({difference}); "
    "choose another folder (--output, or OUTPUT_DIR), or pass --overwrite to replace this "
    "comparison; the component maps are kept"
)
OUTSIDE_MSG = "output.dir: {path} would be outside of {root}; rename the subject or session"
CHANGED_MSG = (
    "{path}: {problem}; run the command of the run again: it writes the file from its results"
)
NO_RECORD_MSG = (
    "output.dir: {root} contains results, and the record of their run cannot be read "
    "({registry}); choose another folder (--output, or OUTPUT_DIR), or pass --overwrite to replace "
    "its results"
)
NO_RUN_MSG = "{root}: contains no results of opnmf-pipeline; give the output folder of a run"


NO_MAPS_MSG = "{root}: contains no component maps; give the output folder of a run with maps"


class _Registry(BaseModel):
    """Content of ``run.json`` that is used; a damaged file does not fit."""

    model_config = ConfigDict(strict=True, extra="allow")

    Version: str
    Settings: dict[str, Any]
    Outputs: dict[str, str]
    Runs: list[dict[str, Any]] = []
    Space: str = ""
    Image: str = DEFAULT_ENDINGS["image"]
    Labels: str = DEFAULT_ENDINGS["labels"]
    SHA256: dict[str, str] = {}

    @field_validator("Outputs")
    @classmethod
    def _inside(cls, names: dict[str, str]) -> dict[str, str]:
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
            raise ValueError("a file is outside of the folder")
        return names


class Dataset:
    """Folder whose file names are defined in :data:`OUTPUTS`.

    Parameters
    ----------
    root : path
        The folder. It is created when the first file is written.

    Attributes
    ----------
    space : str
        BIDS entities at the start of the names of maps (``space-…_res-…_``), or "".
    endings : dict of str to str
        Endings of the names of maps (``image``) and of label maps (``labels``).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.space = ""
        self.endings: Mapping[str, str] = DEFAULT_ENDINGS
        self._files: dict[str, str] = {}
        self._digests: dict[str, str] = {}

    @property
    def ks(self) -> list[int]:
        """Numbers of components that have results, in ascending order."""
        name = re.compile(re.escape(OUTPUTS["fit"].path).replace(r"\{k\}", r"(\d+)"))
        return sorted(int(match[1]) for file in self._files if (match := name.fullmatch(file)))

    def _take_over(self, registry: Mapping[str, Any]) -> None:
        """Load the registry of an earlier run; files that no longer exist are left out."""
        self.space = registry["Space"]
        self.endings = {"image": registry["Image"], "labels": registry["Labels"]}
        self._digests = dict(registry["SHA256"])
        for name, text in registry["Outputs"].items():
            if (self.root / name).exists():
                self._files[name] = text
        if not _has_results(self._files):
            raise OutputError(NO_RUN_MSG.format(root=self.root))

    def _not_writable(self, error: OSError) -> OutputError:
        return OutputError(NOT_WRITABLE_MSG.format(root=self.root, reason=error.strerror))

    def path(self, name: str, k: int | None = None, **places: str) -> Path:
        """Return the path of an output; ``places`` are the other fields of its path."""
        fields = {"part": "", "space": self.space, **self.endings, "k": k, **places}
        path = self.root / OUTPUTS[name].path.format(**fields)
        root = Path(os.path.abspath(self.root))  # noqa: PTH100 (`resolve` would follow links)
        if not Path(os.path.abspath(path)).is_relative_to(root):  # noqa: PTH100
            raise OutputError(OUTSIDE_MSG.format(path=path, root=self.root))
        return path

    def has(self, name: str, k: int | None = None) -> bool:
        """Return whether the run wrote an output."""
        return str(self.path(name, k).relative_to(self.root)) in self._files

    @property
    def names(self) -> list[str]:
        """Names of the kinds of files that the run wrote, in the order of :data:`OUTPUTS`."""
        of_run = [name for name, output in OUTPUTS.items() if "{row}" not in output.path]
        return [
            name
            for name in of_run
            if name in EVERY_RUN or any(self.has(name, k) for k in (None, *self.ks))
        ]

    def intact(self, name: str, k: int | None = None) -> Path:
        """Return the path of an output, and require that the file is as the run wrote it.

        Raises
        ------
        OutputError
            The file is missing, cannot be read, or has other content.
        """
        path = self.path(name, k)
        try:
            digest = file_digest(path)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise OutputError(CHANGED_MSG.format(path=path, problem=problem)) from None
        if digest != self._digests.get(str(path.relative_to(self.root)), digest):
            problem = "has changed since the run wrote it"
            raise OutputError(CHANGED_MSG.format(path=path, problem=problem))
        return path

    def publish(self, name: str, source: Path, k: int | None = None, **places: str) -> Path:
        """Copy a finished file to its place in one atomic step, and register it."""
        target = self.path(name, k, **places)
        with self._whole(target, name) as partial:
            shutil.copyfile(source, partial)
        return target

    def write_text(self, name: str, text: str, k: int | None = None, **places: str) -> Path:
        """Write a small text file in one atomic step, and register it."""
        target = self.path(name, k, **places)
        with self._whole(target, name) as partial:
            partial.write_text(text, encoding="utf-8")
        return target

    @contextmanager
    def _whole(self, target: Path, name: str) -> Iterator[Path]:
        try:
            with full_disk_named(self.root):
                target.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(target) as partial:
                    yield partial
                    digest = file_digest(partial)
        except OSError as error:
            raise self._not_writable(error) from None
        file = str(target.relative_to(self.root))
        self._files[file], self._digests[file] = OUTPUTS[name].description, digest

    def require_writable(self) -> None:
        """Check the permissions of the folder, or of its nearest existing parent; write nothing.

        Raises
        ------
        OutputError
            The process cannot write to the folder.
        """
        nearest = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        code = errno.ENOTDIR if not nearest.is_dir() else errno.EACCES
        if code == errno.ENOTDIR or not os.access(nearest, os.W_OK):
            raise self._not_writable(OSError(code, os.strerror(code)))


class OutputFolder(Dataset):
    """Output folder of one cohort: protects the results of other runs, and registers its files.

    Runs share a folder if all settings are equal except the numbers of components and the section
    ``selection``: each of them replaces only its own files. These are the maps of its numbers of
    components and, if it is a study, the files of the comparison.

    Parameters
    ----------
    root : path
        The folder. It is created if it does not exist.
    settings : dict
        Settings that the results depend on.
    overwrite : bool
        Whether this run may replace the results of a run with different settings.

    Attributes
    ----------
    runs : list of dict
        One record for each run that computed some of the results, oldest first.
    keeps_comparison : bool
        Whether the files of the comparison are those of an earlier run.
    kept_ks : list of int
        Numbers of components whose maps are those of an earlier run.

    Raises
    ------
    OutputError
        The process cannot write to the folder, or the folder contains other files.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        super().__init__(root)
        previous = self._previous(overwrite)
        difference = self._difference(previous, settings)
        old = {} if difference else previous.get("Settings", {})
        others = _changed_study(_study(old), _study(settings))
        for message, found in ((OTHER_RUN_MSG, difference), (OTHER_STUDY_MSG, others)):
            if found and not overwrite:
                raise OutputError(message.format(root=root, difference="; ".join(found)))
        self._replaces = bool(difference)
        self._selection = _study(old)
        self.keeps_comparison = bool(self._selection) and not _study(settings)
        earlier = {} if difference else previous.get("Outputs", {})
        ks = {int(match[1]) for name in earlier if (match := OF_RANK.search(name))}
        self.kept_ks = sorted(ks - set(_mapped(settings)))
        has_maps = bool(_mapped(settings))
        self._kept = {name: earlier[name] for name in earlier if self._is_kept(name, has_maps)}
        self._settings = self.completed(settings)
        self._stale = set(previous.get("Outputs", {})) - set(self._kept)
        self.runs: list[dict[str, Any]] = [] if difference else previous.get("Runs", [])
        self._digests = dict(previous.get("SHA256", {}))

    @classmethod
    def of_run(cls, root: Path) -> OutputFolder:
        """Open the folder of an earlier run with any settings and any version.

        Raises
        ------
        OutputError
            The folder contains no results.
        """
        registry = _read_registry(root)
        folder = cls(root, registry["Settings"], overwrite=True)
        folder._take_over(registry)
        folder._files = dict(registry["Outputs"])  # also those that no longer exist
        return folder

    def completed(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings of this run that also describe what the folder keeps of earlier runs."""
        ks = [*_mapped(settings), *self.kept_ks]
        fits = {**settings.get("decomposition", {}), "n_components": ks}
        whole = {**settings, "decomposition": fits}
        return whole | {"selection": self._selection} if self.keeps_comparison else whole

    def _is_kept(self, name: str, has_maps: bool) -> bool:
        """Tell whether this run leaves a file of an earlier run of the same cohort as it is."""
        if of_rank := OF_RANK.search(name):
            return int(of_rank[1]) in self.kept_ks
        if name == OUTPUTS["report"].path:
            return not has_maps
        return self.keeps_comparison and name in COMPARISON_FILES

    def register(self, status: str) -> None:
        """Write the registry of the run.

        A finished run removes what earlier runs left of its own files. A run of another cohort
        removes all files of earlier runs as soon as it has results, so that the folder never
        contains both results. Files of an earlier comparison go when there is a new one.
        """
        if status == "finished" or (self._replaces and _has_results(self._files)):
            self._remove(self._stale)
            if self._replaces:  # loadings on components that were removed
                for name in ("image_loadings", "image_loadings_json"):
                    pattern = OUTPUTS[name].path.format(folder="sub-*/**", row="*", k="*")
                    for path in self.root.glob(pattern):
                        path.unlink()
        elif OUTPUTS["metrics"].path in self._files:
            self._remove(self._stale & COMPARISON_FILES)
        kept = {name: text for name, text in self._kept.items() if (self.root / name).exists()}
        outputs = dict.fromkeys(sorted(self._stale), "From an earlier run") | kept | self._files
        own = OUTPUTS["registry"].path
        digests = {n: d for n, d in self._digests.items() if n in outputs and n != own}
        registry = {
            "Version": __version__,
            "Status": status,
            "Date": datetime.now(UTC).isoformat(timespec="seconds"),
            "Runs": self.runs,
            "Space": self.space,
            "Image": self.endings["image"],
            "Labels": self.endings["labels"],
            "Settings": self._settings,
            "Outputs": outputs,
            "SHA256": digests,
        }
        self.write_text("registry", json.dumps(registry, indent=1) + "\n")

    def _remove(self, names: set[str]) -> None:
        """Remove those of the files of earlier runs that this run has not written again."""
        for name in names - set(self._files):
            (self.root / name).unlink(missing_ok=True)
        self._stale -= names

    def sweep(self) -> None:
        """Remove the incomplete files that killed runs left; the process holds the lock.

        Folders of images are left out: other processes may be writing loadings into them.
        """
        for folder in {str(Path(path).parent) for path, _, _ in OUTPUTS.values()}:
            if "{" not in folder:
                sweep(self.root / folder)

    def _previous(self, overwrite: bool) -> dict[str, Any]:
        """Return the registry of the run in the folder; an empty dict if there is no run."""
        self.require_writable()
        try:
            return _read_registry(self.root)
        except OutputError:
            return self._left_over(overwrite)

    def _left_over(self, overwrite: bool) -> dict[str, Any]:
        """Return a registry of the results in a folder whose registry cannot be read.

        A run that was killed at its start leaves only logs, locks and intermediate results.
        """
        try:
            names = self._names()
        except OSError as error:
            raise self._not_writable(error) from None
        ours = [name for name in names if OURS.fullmatch(name)]
        registry = self.path("registry")
        if not registry.exists() and (len(ours) < len(names) or _has_results(ours)):
            raise OutputError(FOREIGN_MSG.format(root=self.root))
        if not _has_results(ours):
            return {}
        if not overwrite:
            raise OutputError(NO_RECORD_MSG.format(root=self.root, registry=registry))
        return {"Version": __version__, "Settings": {}, "Outputs": dict.fromkeys(ours, "")}

    def _names(self) -> list[str]:
        """List the files of the folder, without intermediate results, locks and partial files."""
        entries = self.root.iterdir() if self.root.exists() else ()
        paths = [
            path
            for entry in entries
            if entry.name not in (WORK, *LOCKS)
            for path in (entry, *entry.rglob("*"))
        ]
        return [
            str(path.relative_to(self.root))
            for path in paths
            if not path.is_dir() and not path.name.endswith(PARTIAL)
        ]

    def _difference(self, previous: dict[str, Any], settings: Mapping[str, Any]) -> list[str]:
        """List the differences that make this run one of another cohort than that in the folder."""
        if not _has_results(previous.get("Outputs", {})):
            return []
        changed = _changed(_of_cohort(previous["Settings"]), _of_cohort(settings))
        if previous["Version"] != __version__:
            changed.append(f"opnmf-pipeline {previous['Version']}, this is {__version__}")
        return changed


class FinishedRun(Dataset):
    """Results of an earlier run, opened for reading.

    Parameters
    ----------
    root : path
        Output folder of the run.

    Attributes
    ----------
    settings : dict
        Settings that the results depend on.

    Raises
    ------
    OutputError
        The folder contains no results, or no maps: only a comparison.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        registry = _read_registry(root)
        self.settings: dict[str, Any] = registry["Settings"]
        self._take_over(registry)
        if not self.ks:
            raise OutputError(NO_MAPS_MSG.format(root=root))


def _read_registry(root: Path) -> dict[str, Any]:
    try:
        text = (root / OUTPUTS["registry"].path).read_text(encoding="utf-8")
        return _Registry.model_validate_json(text).model_dump()
    except (OSError, ValueError):
        raise OutputError(NO_RUN_MSG.format(root=root)) from None


def _has_results(names: Iterable[str]) -> bool:
    return any(name.startswith("group/") for name in names)


def _of_cohort(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that all runs in a folder share."""
    fits = {k: v for k, v in settings.get("decomposition", {}).items() if k != "n_components"}
    return {**settings, "decomposition": fits, "selection": None}


def _mapped(settings: Mapping[str, Any]) -> list[int]:
    """Return the numbers of components with maps."""
    return list(settings.get("decomposition", {}).get("n_components", ()))


def _study(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the comparison; an empty dict if nothing is compared."""
    selection: dict[str, Any] = settings.get("selection", {})
    return selection if selection.get("candidates") else {}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the settings that differ.

    Additional candidates are not a difference, and neither is the order of the values of a filter.
    """
    changed = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += _changed(before, after, f"{prefix}{key}.")
        elif not _is_alike(f"{prefix}{key}", before, after):
            changed.append(f"{prefix}{key}: {before!r}, now {after!r}")
    return changed


def _changed_study(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the differences of two comparisons, if there are two."""
    return _changed(old, new, "selection.") if old and new else []


def _is_alike(key: str, before: Any, after: Any) -> bool:
    if key == "selection.candidates":
        return set(before or ()) <= set(after or ())
    if key.startswith("inputs.filters."):
        return set(before or ()) == set(after or ())
    return bool(before == after)
