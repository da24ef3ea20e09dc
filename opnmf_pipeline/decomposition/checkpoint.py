"""Checkpoints: what a solver needs to go on after it was killed, in one ``.npz`` file."""

import json
import logging
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.files import written_whole

logger = logging.getLogger(__name__)

DAMAGED_MSG = "checkpoint %s is damaged (%s); it is removed, and the fit starts again"

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
        """Return the arrays of the file; none if there is no file, or a damaged one."""
        if not self.path.exists():
            return {}
        try:
            arrays = self._arrays()
            identity = json.loads(str(arrays.pop("identity")))
        except Exception as error:  # damaged archives raise errors of many kinds
            logger.warning(DAMAGED_MSG, self.path, error)
            self.remove()
            return {}
        for name, new in self.identity.items():
            if identity.get(name) != new:
                raise ValueError(
                    OTHER_FIT_MSG.format(path=self.path, name=name, old=identity.get(name), new=new)
                )
        return arrays

    def _arrays(self) -> dict[str, Array]:
        with zipfile.ZipFile(self.path) as archive:
            if damaged := archive.testzip():  # NumPy does not read checksums to the end
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        with np.load(self.path, allow_pickle=False) as file:
            return dict(file)

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Replace the file."""
        content: dict[str, Any] = {"identity": json.dumps(self.identity), **arrays}
        with written_whole(self.path) as partial, partial.open("wb") as file:
            np.savez(file, **content)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, which the fit no longer needs."""
        self.path.unlink(missing_ok=True)
