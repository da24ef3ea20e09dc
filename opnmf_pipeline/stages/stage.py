"""What a stage declares about itself: its inputs, its outputs, and how it is called.

A node of Nipype, a task of Pydra and a step of the local engine are made from this and from nothing
else. A new stage is one module in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

from opnmf_pipeline.config import Section
from opnmf_pipeline.progress import Track, silent

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
    """A compressed NIfTI file."""
    TABLE = auto()
    """A TSV file."""
    JSON = auto()
    PICTURE = auto()
    """A PNG file."""
    FOLDER = auto()
    """A folder that a stage has written, identified by its content."""
    PLACE = auto()
    """A folder of the user, identified by its name."""
    TEXT = auto()
    NUMBER = auto()
    """An integer."""
    RANGE = auto()
    """Two integers, the smallest and the largest."""
    FLAG = auto()
    """True or false."""


REQUIRED: Any = object()
"""Default of an input that has none."""


@dataclass(frozen=True)
class Field:
    """An input or an output that is no setting.

    Attributes
    ----------
    kind : Kind
        What it is.
    description : str
        What it means, for people.
    many : bool
        Whether it is a list.
    default : object
        Value of an input that is not given; None where it may be absent.
    low : int
        Smallest value of a number.
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


IMAGES = Field(Kind.FILE, "one 3D image per subject", many=True)
PARTICIPANTS = Field(Kind.TEXT, "identifier of each subject, in the order of images", many=True)
MASK_FILE = Field(Kind.IMAGE, "binary mask, uint8, on the grid of the analysis")
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
        Values of inputs and settings by name; what is absent has its default.
    folder : path
        Existing, empty folder that the stage writes into.
    n_procs : int
        Largest number of threads and processes.
    track : callable
        Shows progress over items.
    callback : callable or None
        Takes each iteration of a fit.
    checkpoint : path or None
        File from which a fit continues after it was killed.
    """

    inputs: Mapping[str, Any]
    folder: Path
    n_procs: int = 1
    track: Track = silent
    callback: Callable[[Any], None] | None = None
    checkpoint: Path | None = None

    def __getitem__(self, name: str) -> Any:
        """Return an input; None where it was not given."""
        return self.inputs.get(name)

    def path(self, name: str) -> Path:
        """Return an input that is a file or a folder."""
        return Path(self.inputs[name])

    def optional_path(self, name: str) -> Path | None:
        """Return an input that is a file or a folder, or None where it was not given."""
        value = self.inputs.get(name)
        return None if value is None else Path(value)

    def paths(self, name: str) -> list[Path]:
        """Return an input that is a list of files or folders; empty where it was not given."""
        return [Path(value) for value in self.inputs.get(name) or ()]

    def section(self, section: type[AnySection], **values: Any) -> AnySection:
        """Return the settings of a section that are among the inputs.

        Parameters
        ----------
        section : type of Section
            Which settings.
        **values
            Settings that the inputs do not hold.
        """
        given = {name: self.inputs.get(name) for name in section.model_fields}
        known = {name: value for name, value in given.items() if value is not None}
        return section(**{**known, **values})


@dataclass(frozen=True)
class Stage:
    """A stage, for every engine.

    Attributes
    ----------
    name : str
        Name of its node.
    summary : str
        What it does, in one sentence.
    run : callable
        Takes a :class:`Call`, writes into its folder, and returns the outputs by name.
    inputs, outputs : mapping of str to Field
        Those that are no settings.
    settings : mapping of type to tuple of str
        Sections whose settings are inputs too, and the settings that are left out of each.
    kinds : mapping of str to Kind
        Settings that are something else than their type says.
    exclusive : tuple of str
        Inputs of which one at most may be given.
    requires : mapping of str to str
        Inputs that another input needs.
    folder : str
        Name of the folder that it writes into, below that of the node.
    large : tuple of str
        Names of its large files. Small files beside them hold their checksums.
    cached : bool
        Whether the same inputs give the same outputs.
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
