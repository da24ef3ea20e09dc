"""Checkpoints: what a solver needs to go on after it was killed, in one ``.npz`` file."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

OTHER_FIT_MSG = (
    "checkpoint {path} is of another fit: its {name} is {old!r}, this fit has {new!r}; "
    "delete it or choose another path"
)


class Checkpoint:
    """A file that is replaced as a whole, so that a crash leaves the last good one.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    minutes : float
        Time between two writes.
    identity : mapping
        Settings and facts of the data, convertible to JSON: only a fit with the same values may
        continue from the file.
    """

    def __init__(self, path: str | Path, minutes: float, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.seconds = 60 * minutes
        self.identity = json.loads(json.dumps(identity))
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.seconds

    def read(self) -> dict[str, Array]:
        """Return the arrays of the file, or none where there is no file."""
        if not self.path.exists():
            return {}
        with np.load(self.path, allow_pickle=False) as file:
            arrays = dict(file)
        identity = json.loads(str(arrays.pop("identity")))
        for name, new in self.identity.items():
            if identity.get(name) != new:
                raise ValueError(
                    OTHER_FIT_MSG.format(path=self.path, name=name, old=identity.get(name), new=new)
                )
        return arrays

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Replace the file."""
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, identity=json.dumps(self.identity), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, which the fit no longer needs."""
        self.path.unlink(missing_ok=True)
