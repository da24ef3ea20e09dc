"""Voxel grids, and the images, templates and masks that are read on them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import from_matvec, voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.problems import joined, listed
from opnmf_pipeline.images.space import WORDS, ImageMask, Words
from opnmf_pipeline.images.volumes.files import open_image, read_values, set_space
from opnmf_pipeline.images.volumes.standard import (
    MNI_CODE,
    TALAIRACH_CODE,
    load_template,
    space_code,
    standard_space,
)

if TYPE_CHECKING:
    from opnmf_pipeline.config import MatrixConfig

__all__ = ["Grid", "analysis_grid", "check_grids", "resampled"]

logger = logging.getLogger(__name__)

LARGEST = 64
"""An image that is resampled may have so many times the voxels of the reference: edges of 1/4."""
SMALLEST_ANGLE = 0.1
"""Axes that differ by less than this, in degrees, are not named as a difference."""
SPACES = {TALAIRACH_CODE: "Talairach", MNI_CODE: "MNI152"}
"""Two spaces whose coordinates are different, by their codes in NIfTI headers."""
ALIGNED_CODE = 2
"""NIfTI space code of a mask if that of the images is unknown: aligned to another image."""
TOUCHED = 1e-4
"""A voxel whose missing neighbours have less weight than this in an average is a whole one."""
MASK_GRID_MSG = (
    "{path}: its mask {mask} is on another grid: {differences}; resample the mask to the grid of "
    "the image"
)
GRID_MSG = "{n} of {total} images are not on the grid of {reference} ({want}):\n{named}\n{remedy}"
GRID_REMEDY = "set matrix.resample: to-first (or to-mask), or drop these subjects"
TOO_LARGE_MSG = (
    "{n} of {total} images have more than {largest} times the voxels of {reference} ({want}):\n"
    "{named}\ncheck these files, or resample them to coarser voxels first"
)
TURNED_MSG = (
    "%d of %d images, such as %s, store their axes in another order or direction than %s, for "
    "example from right to left; their voxels are reordered, without interpolation"
)
TWO_SPACES_MSG = (
    "the headers of the images name two spaces: %s; voxels at the same coordinates are then "
    "different places of the brain; check how these images were made"
)
NOT_FINITE_MSG = (
    "{path}: has {n} NaN or infinite values, which resampling or smoothing would spread; "
    "set matrix.nan: zero or fix the image"
)
NO_LABELS_MSG = (
    "{path}: has the value {value:g}, which is no label; give a label image, in which each region "
    "has one whole number, not a probability map"
)


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid: a 3D shape in voxels, and the affine from voxel indices to mm."""

    words: ClassVar[Words] = WORDS
    in_space: ClassVar[bool] = True
    has_coordinates: ClassVar[bool] = True
    element: ClassVar[str] = "voxel"
    elements: ClassVar[str] = "voxels"
    template: ClassVar[str] = "the MNI152 grey-matter template"
    brain: ClassVar[str] = "the MNI152 brain mask"

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, image: Any) -> Grid:
        """Return the grid of a nibabel image."""
        x, y, z = map(int, image.shape[:3])  # those of MGH files are of NumPy
        return cls((x, y, z), np.asarray(image.affine, dtype=np.float64))

    def same_as(self, other: Grid) -> bool:
        """Tell whether both grids have the same shape, and affines that agree within 0.001 mm."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=1e-3)

    def oriented_as(self, other: Grid) -> Grid:
        """Return the grid of the same voxels, with axes in the order and directions of another."""
        turn = self._turn_to(other)
        shape = tuple(int(n) for n in np.array(self.shape)[np.argsort(turn[:, 0])])
        return Grid(shape, self.affine @ inv_ornt_aff(turn, self.shape))  # type: ignore[arg-type]

    def _turn_to(self, other: Grid) -> NDArray[np.float64]:
        """Return the permutation and the flips of axes that lead to the axes of another grid."""
        turn: NDArray[np.float64] = ornt_transform(
            io_orientation(self.affine), io_orientation(other.affine)
        )
        return turn

    def differences(self, other: Grid) -> str:
        """Say how another grid with the same axes differs: shape, voxels, rotation, origin."""
        edges, others = voxel_sizes(self.affine), voxel_sizes(other.affine)
        cosines = ((self.affine[:3, :3] / edges) * (other.affine[:3, :3] / others)).sum(axis=0)
        angle = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
        origins = self.affine[:3, 3], other.affine[:3, 3]
        found = []
        if other.shape != self.shape:
            found.append(f"shape {other.shape}, not {self.shape}")
        if not np.allclose(edges, others, atol=1e-3):
            found.append(f"voxels of {_sizes(other)}, not {_sizes(self)}")
        if angle > SMALLEST_ANGLE:
            found.append(f"axes turned by {angle:.2g} degrees")
        if not np.allclose(*origins, rtol=0, atol=1e-3):
            found.append(f"origin at {_origin(other)}, not {_origin(self)}")
        return ", ".join(found) or "the affine differs by more than 0.001 mm"

    def coarser(self, voxel_size: float) -> Grid:
        """Return the grid with isotropic voxels that covers the same field of view.

        Parameters
        ----------
        voxel_size : float
            Edge of the new voxels, in mm.
        """
        scale = voxel_size / voxel_sizes(self.affine)
        # Affines in headers are float32, so 30.000001 voxels mean 30
        shape = np.ceil(np.array(self.shape) / scale - 1e-3).astype(int)
        # The corners of the first voxels coincide, so their centres differ by half the difference.
        affine = self.affine @ from_matvec(np.diag(scale), (scale - 1) / 2)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edges of a voxel, in mm, rounded to 0.001 mm."""
        return tuple(round(float(edge), 3) for edge in voxel_sizes(self.affine))

    def __str__(self) -> str:
        return f"shape {self.shape}, voxels {_sizes(self)}, origin {_origin(self)}"

    def describe(self) -> dict[str, Any]:
        """Return the description of the grid for the sidecar of a matrix."""
        return {"GridShape": list(self.shape), "Affine": self.affine.tolist()}

    def read(
        self, path: str | Path, options: MatrixConfig, mask: ImageMask | None = None
    ) -> NDArray[np.float32]:
        """Read one subject's image on this grid.

        Parameters
        ----------
        path : path
            3D image. If its axes have another order or direction, its voxels are reordered. If it
            is then on a different grid, it is resampled (linear interpolation).
        options : MatrixConfig
            ``nan`` is applied first (after ``mask``), then ``smoothing_fwhm`` (mm), then
            resampling, then ``negative: clip``.
        mask : ImageMask, optional
            Mask on the grid of the image, whose voxels become NaN.

        Returns
        -------
        ndarray of shape ``shape``, float32

        Raises
        ------
        ImageError
            The file is damaged, it has NaN that smoothing or resampling would spread, or its mask
            is on another grid.
        """
        image = open_image(path)
        values, grid = read_values(image, path), Grid.of(image)
        if mask is not None:
            values = np.where(mask.missing(grid.read_same(mask.path, path)), np.nan, values)
            values = values.astype(np.float32, copy=False)
        if not grid.same_as(self):
            values = np.ascontiguousarray(apply_orientation(values, grid._turn_to(self)))
            grid = grid.oriented_as(self)
        spatial = options.smoothing_fwhm is not None or not grid.same_as(self)
        if options.masked:
            values = self._with_missing(values, grid.affine, options, spatial=spatial)
        elif options.nan == "zero":
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        elif spatial and (n_bad := int(np.count_nonzero(~np.isfinite(values)))):
            raise ImageError(NOT_FINITE_MSG.format(path=path, n=n_bad))
        if spatial and not options.masked:
            values = self._moved(values, grid.affine, options)
        # NaN stays NaN here: write_matrix refuses it and names the subject
        return np.maximum(values, 0) if options.negative == "clip" else values

    def read_same(self, path: str | Path, owner: str | Path) -> NDArray[np.float32]:
        """Return the values of an image, and require that it is on this grid, that of its owner."""
        image = open_image(path)
        grid = Grid.of(image)
        if not grid.oriented_as(self).same_as(self):
            differences = self.differences(grid.oriented_as(self))
            raise ImageError(MASK_GRID_MSG.format(path=owner, mask=path, differences=differences))
        values = read_values(image, path)
        return values if grid.same_as(self) else apply_orientation(values, grid._turn_to(self))

    def _with_missing(
        self,
        values: NDArray[np.float32],
        affine: NDArray[np.float64],
        options: MatrixConfig,
        *,
        spatial: bool,
    ) -> NDArray[np.float32]:
        """Return values on this grid, with NaN where at least half of the weight is missing.

        Smoothing and resampling average the observed values only.
        """
        observed = np.isfinite(values)
        if not spatial:
            return np.where(observed, values, np.float32(np.nan))
        moved = self._moved(np.where(observed, values, np.float32(0)), affine, options)
        if observed.all():
            return moved
        weight = self._moved(observed.astype(np.float32), affine, options)
        # weights of 0 and 1 have rounding errors
        lost = self._moved((~observed).astype(np.float32), affine, options)
        touched = lost > TOUCHED
        moved[touched] /= np.maximum(weight[touched], TOUCHED)
        moved[touched & (weight <= lost)] = np.nan
        return moved

    def _moved(
        self, values: NDArray[np.float32], affine: NDArray[np.float64], options: MatrixConfig
    ) -> NDArray[np.float32]:
        from nilearn.image import smooth_img

        image = nb.Nifti1Image(values, affine)
        if options.smoothing_fwhm is not None:
            image = smooth_img(image, options.smoothing_fwhm)
        if not Grid.of(image).same_as(self):
            return resampled(image, self)
        return np.asarray(image.dataobj, dtype=np.float32)

    def read_template(self) -> NDArray[np.float64]:
        """Return the grey-matter density of the MNI152 template, resampled to this grid."""
        return _resampled(load_template("gm_template"), self, "linear")

    def read_white_matter(self) -> NDArray[np.float64]:
        """Return the white-matter density of the MNI152 template, resampled to this grid."""
        return _resampled(load_template("wm_template"), self, "linear")

    def read_brain(self) -> NDArray[np.bool_]:
        """Return the brain mask of the MNI152 template, resampled by nearest neighbour."""
        brain: NDArray[np.bool_] = _resampled(load_template("brain_mask"), self, "nearest") != 0
        return brain

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """Return where an image is not zero, resampled to this grid by nearest neighbour."""
        image = open_image(path)
        # some tools write NaN outside the brain
        inside = np.nan_to_num(read_values(image, path)) != 0
        mask = nb.Nifti1Image(inside.astype(np.uint8), image.affine)
        given: NDArray[np.bool_] = _resampled(mask, self, "nearest") != 0
        return given

    def read_labels(self, path: Path, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return the labels of an atlas, resampled to this grid by nearest neighbour.

        Parameters
        ----------
        path : path
            Label image.
        regions : DataFrame
            Not used: voxels have no names.

        Raises
        ------
        ImageError
            The image is not 3D, or it has values that are no labels: negative or not whole.
        """
        image = open_image(path)
        values = np.nan_to_num(read_values(image, path))
        whole = values.astype(np.int32)
        odd = values[(values != whole) | (whole < 0)]
        if odd.size:
            raise ImageError(NO_LABELS_MSG.format(path=path, value=odd[0]))
        labels: NDArray[np.int64] = _resampled(
            nb.Nifti1Image(whole, image.affine), self, "nearest"
        ).astype(np.int64)
        return labels

    def write_mask(self, inside: NDArray[np.bool_], reference: str | Path, out_file: Path) -> None:
        """Write a mask on this grid as NIfTI (uint8) with the space of a reference image.

        Its space code is that of MNI152 only if :func:`standard_space` finds this space.

        Parameters
        ----------
        inside : ndarray of shape ``shape``, bool
        reference : path
            Image of one subject.
        out_file : path
            File to write.
        """
        image = nb.Nifti1Image(inside.astype(np.uint8), self.affine)
        code = space_code(open_image(reference))
        if standard_space(reference):
            code = MNI_CODE
        elif code in (0, MNI_CODE):  # no code, or a file name that contradicts it
            code = ALIGNED_CODE
        set_space(image, code)
        image.to_filename(out_file)


def check_grids(
    paths: Iterable[str | Path],
    reference: str | Path,
    *,
    name: str = "",
    resampled: bool = False,
    remedy: str = GRID_REMEDY,
) -> None:
    """Read the headers of all images; require that every image is on the grid of a reference image.

    Warn if the headers name two spaces.

    Parameters
    ----------
    paths : iterable of path
        The images.
    reference : path
        Image whose grid is compared.
    name : str
        What the reference is called in messages. Default: its path.
    resampled : bool
        Whether images may be on other grids, as long as they are not many times larger. A damaged
        header could claim more voxels than fit into memory.
    remedy : str
        What to do about images on other grids, for the message.

    Raises
    ------
    ImageError
        Images are damaged or on a different grid; names the first ones and their number.
    """
    paths, want = list(paths), Grid.of(open_image(reference))
    odd: list[str] = []
    spaces: dict[int, str | Path] = {}
    turned: list[str | Path] = []
    unreadable: list[ImageError] = []
    for path in paths:
        try:
            image = open_image(path)
        except ImageError as error:
            unreadable.append(error)
            continue
        stored = Grid.of(image)
        grid = stored.oriented_as(want)
        if grid.same_as(want) and not stored.same_as(want):
            turned.append(path)
        spaces.setdefault(space_code(image), path)
        fits = prod(grid.shape) <= LARGEST * prod(want.shape) if resampled else grid.same_as(want)
        if not fits:
            odd.append(f"{path}: {want.differences(grid)}")
    if unreadable:
        raise joined(unreadable, len(paths))
    if odd:
        message = TOO_LARGE_MSG if resampled else GRID_MSG
        raise ImageError(
            message.format(
                n=len(odd),
                total=len(paths),
                reference=name or reference,
                want=want,
                named=listed(odd),
                largest=LARGEST,
                remedy=remedy,
            )
        )
    if turned:
        logger.warning(TURNED_MSG, len(turned), len(paths), turned[0], reference)
    if set(SPACES) <= set(spaces):
        named = ", ".join(f"{name} (such as {spaces[code]})" for code, name in SPACES.items())
        logger.warning(TWO_SPACES_MSG, named)


def analysis_grid(first: str | Path, mask_image: Path | None, options: MatrixConfig) -> Grid:
    """Return the grid that every image is resampled to.

    Parameters
    ----------
    first : path
        Image of the first subject.
    mask_image : path or None
        Mask of the user; its grid is used with ``resample: to-mask``.
    options : MatrixConfig
        ``resample`` and ``voxel_size`` (mm) decide.

    Returns
    -------
    Grid
        Its affine is rounded to float32, as in a NIfTI header, so that it equals the affine of the
        mask file.
    """
    to_mask = options.resample == "to-mask" and mask_image is not None
    grid = Grid.of(open_image(mask_image if to_mask else first))  # type: ignore[arg-type]
    grid = grid.coarser(options.voxel_size) if options.voxel_size else grid
    return Grid(grid.shape, grid.affine.astype(np.float32).astype(np.float64))


def resampled(image: Any, grid: Grid) -> NDArray[np.float32]:
    """Return the values of a 3D image on another grid: linear interpolation, antialiased.

    An image with smaller voxels is smoothed first. Values are 0 outside its field of view.
    """
    with warnings.catch_warnings():
        # nilearn warns about a map of zeros and ones; here its values are shares of a voxel
        warnings.filterwarnings("ignore", "Resampling binary images", UserWarning)
        return np.asarray(_resampled(_antialiased(image, grid), grid, "linear"), np.float32)


def _resampled(image: Any, grid: Grid, interpolation: str) -> NDArray[Any]:
    """Return the values of a nibabel image on another grid, 0 outside its field of view."""
    from nilearn.image import resample_img
    from nilearn.image.resampling import BoundingBoxError

    try:
        moved = resample_img(
            image,
            target_affine=grid.affine,
            target_shape=grid.shape,
            interpolation=interpolation,
            copy_header=True,
            force_resample=True,
        )
    except BoundingBoxError:  # the image lies elsewhere
        return np.zeros(grid.shape, dtype=np.float32)
    return np.asarray(moved.dataobj)


def _antialiased(image: Any, grid: Grid) -> Any:
    """Smooth an image to the resolution of ``grid`` along each axis with coarser voxels."""
    from nilearn.image import smooth_img

    sizes = voxel_sizes(image.affine)
    lack = np.maximum(voxel_sizes(grid.affine) ** 2 - sizes**2, 0)
    return smooth_img(image, np.sqrt(lack)) if lack.any() else image


def _sizes(grid: Grid) -> str:
    return " x ".join(f"{size:g}" for size in voxel_sizes(grid.affine)) + " mm"


def _origin(grid: Grid) -> str:
    return "(" + ", ".join(f"{value:g}" for value in grid.affine[:3, 3]) + ") mm"
