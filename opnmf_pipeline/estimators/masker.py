"""The mask and the matrix of a run in the form of a masker of nilearn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes.niimg import file_of, files_of
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.spaces import open_mask, space_of

__all__ = ["RunMasker"]

SETTING = re.compile(r"\b(mask|matrix|inputs)\.\w+")
NOTE = (
    "The settings in this message belong to runs. StructuralCovariance takes a masker of nilearn "
    "as mask, such as NiftiMasker(mask_img=..., smoothing_fwhm=...), which preprocesses the images."
)

Rows = NDArray[np.float32]


class RunMasker(BaseEstimator):  # type: ignore[misc]
    """Mask images as a run with default settings does.

    Parameters
    ----------
    mask : path or image, optional
        Its voxels that are not zero are used. Default: the voxels whose mean over the images of
        `fit` is above 0.2, within the brain mask of the template if the images are in MNI152 space.

    Attributes
    ----------
    mask_img_ : image
        1 in the mask, in memory.
    """

    def __init__(self, mask: Any = None) -> None:
        self.mask = mask

    def fit(self, images: Any) -> Self:
        """Make the mask; see `fit_transform`."""
        self.fit_transform(images)
        return self

    def fit_transform(self, images: Any) -> Rows:
        """Make the mask from images, and return their values in it.

        Parameters
        ----------
        images : path, image, or sequence of these
            One 3D image per subject, or one 4D image with one volume per subject.

        Returns
        -------
        ndarray of shape (n_subjects, n_voxels), float32

        Raises
        ------
        ImageError
            Images are damaged, are on different grids, or have NaN or negative values in the mask.
        """
        with _work_folder() as folder:
            files = files_of(images, folder)
            self._ending = space_of(files[0]).images.ENDINGS["image"]
            mask_file = make_mask(
                files,
                folder / f"mask{self._ending}",
                self._options(folder),
                MatrixConfig(),
                values_dir=folder,
            )
            rows = _rows(files, mask_file, folder, values_dir=folder)
            # in memory, since the file does not stay
            mask = open_mask(mask_file)
            self.mask_img_ = mask.unmasked(np.ones(rows.shape[1], dtype=np.uint8))
        return rows

    def transform(self, images: Any) -> Rows:
        """Return the values of other images in the mask; they must be on its grid."""
        with _work_folder() as folder:
            files, mask_file = files_of(images, folder), self._mask_file(folder)
            space_of(mask_file).images.check_grids(files, mask_file)
            return _rows(files, mask_file, folder)

    def inverse_transform(self, rows: NDArray[Any]) -> Any:
        """Return an image with one volume per row.

        Parameters
        ----------
        rows : ndarray of shape (n_images, n_voxels)
        """
        with _work_folder() as folder:
            return open_mask(self._mask_file(folder)).unmasked(np.asarray(rows).T)

    def _options(self, folder: Path) -> MaskConfig:
        if self.mask is None:
            return MaskConfig()
        file = file_of(self.mask, folder / "given.nii")
        return MaskConfig(method="image", image=Path(file))

    def _mask_file(self, folder: Path) -> Path:
        file = folder / f"mask{self._ending}"
        self.mask_img_.to_filename(file)
        return file


def _rows(files: list[str], mask_file: Path, folder: Path, values_dir: Path | None = None) -> Rows:
    names = [f"image {number}" for number in range(len(files))]
    build_matrix(files, names, mask_file, folder, MatrixConfig(), values_dir=values_dir)
    matrix: Rows = np.load(folder / "matrix.npy")
    return matrix.T


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Give a folder that is deleted; errors of runs that are raised inside get a note."""
    try:
        with TemporaryDirectory(prefix="opnmf-") as folder:
            yield Path(folder)
    except ImageError as error:
        if SETTING.search(str(error)):
            error.add_note(NOTE)
        raise
