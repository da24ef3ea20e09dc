"""The declaration of a stage: its inputs, its outputs, and the function that runs it.

The Nipype interface and the Pydra task of a stage are made from this declaration, and the local
engine calls it directly. A new stage is one module in this folder, one step in
:mod:`opnmf_pipeline.engines.steps`, and one name in each module of :mod:`opnmf_pipeline.nodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from opnmf_pipeline.config import Section, problems_of
from opnmf_pipeline.disk import full_disk_named
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.memory import base_memory

__all__ = [
    "FACTORIZATION_DIR",
    "IMAGES",
    "MASK_FILE",
    "MATRIX_DIR",
    "N_COMPONENTS",
    "PARTICIPANTS",
    "REQUIRED",
    "Call",
    "Field",
    "Kind",
    "Stage",
]

AnySection = TypeVar("AnySection", bound=Section)


class Kind(Enum):
    """What an input or an output is."""

    FILE = auto()
    """A file of any format."""
    IMAGE = auto()
    """An image of a subject, of any space; the file of the other hemisphere may belong to it."""
    TABLE = auto()
    """A TSV file."""
    JSON = auto()
    PICTURE = auto()
    """A PNG file."""
    FOLDER = auto()
    """A folder that a stage wrote; engines identify it by its content."""
    PLACE = auto()
    """A folder of the user; engines identify it by its path and do not read it."""
    TEXT = auto()
    NUMBER = auto()
    """An integer."""
    RANGE = auto()
    """Two integers, the smallest and the largest."""
    FLAG = auto()
    """True or false."""


REQUIRED: Any = object()
"""Marks an input that must be given, because it has no default."""


@dataclass(frozen=True)
class Field:
    """An input or an output that is not a setting.

    Attributes
    ----------
    kind : Kind
        What it is.
    description : str
        What it means, in words for users.
    many : bool
        Whether it is a list.
    default : object
        Value that is used if the input is not given; None for an optional input.
    low : int
        Smallest allowed value of a number.
    """

    kind: Kind
    description: str
    many: bool = False
    default: Any = REQUIRED
    low: int = 0

    @property
    def required(self) -> bool:
        """Whether an input must be given."""
        return self.default is REQUIRED


IMAGES = Field(Kind.IMAGE, "one image per subject", many=True)
PARTICIPANTS = Field(Kind.TEXT, "identifier of each subject, in the order of images", many=True)
MASK_FILE = Field(Kind.FILE, "binary mask, uint8, on the grid of the analysis")
MATRIX_DIR = Field(
    Kind.FOLDER, "folder with matrix.npy, (voxels, subjects), float32, and matrix.json"
)
N_COMPONENTS = Field(Kind.NUMBER, "number of components", low=1)
FACTORIZATION_DIR = Field(
    Kind.FOLDER,
    "folder with W.npy (voxels, components), H.npy (components, subjects) and factorization.json",
)


@dataclass(frozen=True)
class Call:
    """One call of a stage.

    Attributes
    ----------
    inputs : mapping
        Values of inputs and settings by name. A setting that is absent has its default.
    folder : path
        Existing, empty folder that the stage writes into.
    n_procs : int
        Largest number of threads and processes.
    track : callable
        Shows progress over items.
    callback : callable or None
        Called after each iteration of a fit, with the record of that iteration.
    checkpoint : path or None
        File from which a fit continues if it was interrupted.
    scheduler : str or None
        Address of a Dask scheduler whose workers make the passes of a fit.
    device : str or None
        Device of torch that makes the matrix products of a fit.
    """

    inputs: Mapping[str, Any]
    folder: Path
    n_procs: int = 1
    track: Track = silent
    callback: Callable[[Any], None] | None = None
    checkpoint: Path | None = None
    scheduler: str | None = None
    device: str | None = None

    def __getitem__(self, name: str) -> Any:
        """Return an input, or None if it was not given."""
        return self.inputs.get(name)

    def path(self, name: str) -> Path:
        """Return an input that is a file or a folder."""
        return Path(self.inputs[name])

    def optional_path(self, name: str) -> Path | None:
        """Return an input that is a file or a folder, or None if it was not given."""
        value = self.inputs.get(name)
        return None if value is None else Path(value)

    def paths(self, name: str) -> list[Path]:
        """Return an input that is a list of files or folders; empty if it was not given."""
        return [Path(value) for value in self.inputs.get(name) or ()]

    def section(self, section: type[AnySection], **values: Any) -> AnySection:
        """Return a section of the settings, with the values among the inputs.

        Parameters
        ----------
        section : type of Section
            Section to return. Settings that are not among the inputs have their defaults.
        **values
            Values of settings that are not among the inputs.

        Raises
        ------
        ConfigError
            A value is not allowed.
        """
        given = {name: self.inputs.get(name) for name in section.model_fields}
        known = {name: value for name, value in given.items() if value is not None}
        try:
            return section(**{**known, **values})
        except ValidationError as error:
            lines = [line for _, line in problems_of(error, section)]
            raise ConfigError("\n".join(lines)) from None


@dataclass(frozen=True)
class Stage:
    """All that an engine needs to know about a stage.

    Attributes
    ----------
    name : str
        Name of its Nipype interface and of its Pydra task.
    summary : str
        What it does, in one sentence.
    run : callable
        Takes a :class:`Call`, writes into its folder, and returns the outputs by name.
    inputs, outputs : mapping of str to Field
        Inputs and outputs that are not settings.
    settings : mapping of type to tuple of str
        Sections whose settings are inputs too. The tuple names the settings that are left out.
    kinds : mapping of str to Kind
        Kinds of the settings whose type alone does not tell it, such as a path of a folder.
    exclusive : tuple of str
        Inputs that exclude each other: at most one of them may be given.
    requires : mapping of str to str
        For an input, the other input that must be given with it.
    folder : str
        Name of the folder that the stage writes into, inside the folder of the node.
    large : tuple of str
        Names of large files, which engines do not read to identify the folder by its content.
        A small file next to each holds its checksum.
    cached : bool
        Whether equal inputs give equal outputs, so that an engine may reuse a result.
    memory : callable
        Takes the inputs by name and returns the most memory that the stage needs, in bytes.
    free : tuple of str
        Settings that may differ when a fit continues from a checkpoint. Empty if the stage does
        not write checkpoints.
    """

    name: str
    summary: str
    run: Callable[[Call], Mapping[str, Any]]
    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]
    folder: str
    settings: Mapping[type[Section], tuple[str, ...]] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    exclusive: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    large: tuple[str, ...] = ()
    cached: bool = True
    memory: Callable[[Mapping[str, Any]], int] = base_memory
    free: tuple[str, ...] = ()

    def __call__(self, call: Call) -> Mapping[str, Any]:
        """Run the stage.

        Raises
        ------
        OutputError
            The disk is full; the message names the folder.
        """
        with full_disk_named(call.folder):
            return self.run(call)
