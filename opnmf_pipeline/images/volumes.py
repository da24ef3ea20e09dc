"""One subject's image, read and brought to the grid of the analysis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nb
import numpy as np
from nibabel.affines import from_matvec, voxel_sizes
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError

if TYPE_CHECKING:
    from opnmf_pipeline.config import MatrixConfig

__all__ = [
    "Grid",
    "analysis_grid",
    "check_grids",
    "image_files",
    "open_image",
    "read_values",
    "read_volume",
    "resampled",
    "set_space",
]

N_NAMED = 3
UNREADABLE_MSG = "{path}: cannot be read as an image ({reason}); check the file or copy it again"
NOT_3D_MSG = "{path}: has shape {shape}, expected one 3D volume; split it or select another file"
GRID_MSG = (
    "{n} of {total} images are not on the grid of {reference} ({want}):\n{named}\n"
    "set matrix.resample: to-first (or to-mask), or drop these subjects"
)
NOT_FINITE_MSG = (
    "{path}: has {n} NaN or infinite values, which resampling or smoothing would spread; "
    "set matrix.nan: zero or mend the image"
)


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid: a 3D shape in voxels, and the affine from voxel indices to mm."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, image: Any) -> Grid:
        """Return the grid of a nibabel image."""
        return cls(image.shape[:3], np.asarray(image.affine, dtype=np.float64))

    def same_as(self, other: Grid) -> bool:
        """Tell whether both grids have one shape and affines that agree within 0.001 mm."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=1e-3)

    def coarser(self, voxel_size: float) -> Grid:
        """Return the grid over the same field of view with isotropic voxels of another edge.

        Parameters
        ----------
        voxel_size : float
            Edge of the new voxels, in mm.
        """
        scale = voxel_size / voxel_sizes(self.affine)
        # Headers hold float32: 30.000001 voxels are 30
        shape = np.ceil(np.array(self.shape) / scale - 1e-3).astype(int)
        # The corners of the first voxels coincide, so their centres differ by half the difference.
        affine = self.affine @ from_matvec(np.diag(scale), (scale - 1) / 2)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def __str__(self) -> str:
        sizes = " x ".join(f"{size:g}" for size in voxel_sizes(self.affine))
        origin = ", ".join(f"{value:g}" for value in self.affine[:3, 3])
        return f"shape {self.shape}, voxels {sizes} mm, origin ({origin}) mm"


def open_image(path: str | Path) -> Any:
    """Open an image without reading its voxels.

    Parameters
    ----------
    path : path
        3D image (a 4D image with one volume counts as 3D) in a format that nibabel reads.

    Returns
    -------
    nibabel image
        Its shape is 3D, perhaps with ones after it.

    Raises
    ------
    ImageError
        The file is missing, is no image, or has more than one volume.
    """
    try:
        image: Any = nb.load(path)
        shape = tuple(getattr(image, "shape", ()))  # a surface has none
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except Exception as error:  # damaged headers fail in many ways, and each means: unreadable
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise ImageError(NOT_3D_MSG.format(path=path, shape=shape))
    return image


def image_files(path: str | Path) -> list[str]:
    """Return the files that an image is made of: one, or two where header and values are apart.

    Raises
    ------
    ImageError
        The file is missing or is no image.
    """
    files = {holder.filename for holder in open_image(path).file_map.values()}
    # Formats name side files that need not be there, such as the .mat of SPM
    return sorted(str(file) for file in files if file is not None and Path(file).exists())


def read_values(image: Any, path: str | Path) -> NDArray[np.float32]:
    """Read the voxels of an image that :func:`open_image` opened.

    Returns
    -------
    ndarray of shape ``image.shape[:3]``, float32

    Raises
    ------
    ImageError
        The file ends early or its compression is damaged.
    """
    try:
        values = image.get_fdata(dtype=np.float32, caching="unchanged")
        return np.asarray(values).reshape(image.shape[:3])
    except Exception as error:  # zlib, EOF, OS and value errors all mean a damaged file
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def check_grids(paths: Iterable[str | Path], reference: str | Path) -> None:
    """Require that every image has the shape and affine of a reference image.

    Raises
    ------
    ImageError
        Names the first images that differ, and how many there are.
    """
    paths = list(paths)
    want = Grid.of(open_image(reference))
    grids = [(path, Grid.of(open_image(path))) for path in paths]
    odd = [f"  {path}: {grid}" for path, grid in grids if not grid.same_as(want)]
    if odd:
        named = "\n".join(odd[:N_NAMED] + ["  ..."] * (len(odd) > N_NAMED))
        raise ImageError(
            GRID_MSG.format(
                n=len(odd), total=len(paths), reference=reference, want=want, named=named
            )
        )


def analysis_grid(first: str | Path, mask_image: Path | None, options: MatrixConfig) -> Grid:
    """Return the grid that every image is brought to.

    Parameters
    ----------
    first : path
        Image of the first subject.
    mask_image : path or None
        The given mask, whose grid ``resample: to-mask`` names.
    options : MatrixConfig
        ``resample`` and ``voxel_size`` (mm) decide.
    """
    to_mask = options.resample == "to-mask" and mask_image is not None
    grid = Grid.of(open_image(mask_image if to_mask else first))  # type: ignore[arg-type]
    return grid.coarser(options.voxel_size) if options.voxel_size else grid


def read_volume(path: str | Path, grid: Grid, options: MatrixConfig) -> NDArray[np.float32]:
    """Read one subject's image on the grid of the analysis.

    Parameters
    ----------
    path : path
        3D image.
    grid : Grid
        Target; an image on another grid is resampled (linear interpolation).
    options : MatrixConfig
        ``nan`` is applied first, then ``smoothing_fwhm`` (mm), then resampling, then
        ``negative: clip``.

    Returns
    -------
    ndarray of shape ``grid.shape``, float32

    Raises
    ------
    ImageError
        The file is damaged, or it has NaN that smoothing or resampling would spread.
    """
    image = open_image(path)
    values = read_values(image, path)
    spatial = options.smoothing_fwhm is not None or not Grid.of(image).same_as(grid)
    if options.nan == "zero":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    elif spatial and (n_bad := int(np.count_nonzero(~np.isfinite(values)))):
        raise ImageError(NOT_FINITE_MSG.format(path=path, n=n_bad))
    if spatial:
        values = _to_grid(values, image.affine, grid, options)
    # NaN stays NaN: it is refused where its subject and count can be told
    return np.maximum(values, 0) if options.negative == "clip" else values


def _to_grid(
    values: NDArray[np.float32], affine: NDArray[np.float64], grid: Grid, options: MatrixConfig
) -> NDArray[np.float32]:
    from nilearn.image import smooth_img

    image = nb.Nifti1Image(values, affine)
    if options.smoothing_fwhm is not None:
        image = smooth_img(image, options.smoothing_fwhm)
    if not Grid.of(image).same_as(grid):
        return np.asarray(resampled(_antialiased(image, grid), grid, "linear"), dtype=np.float32)
    return np.asarray(image.dataobj, dtype=np.float32)


def resampled(image: Any, grid: Grid, interpolation: str) -> NDArray[Any]:
    """Return the values of an image on another grid, 0 outside its field of view.

    Parameters
    ----------
    image : nibabel image
    grid : Grid
        Where values are wanted.
    interpolation : {'linear', 'nearest'}
        How values between voxels are made.

    Returns
    -------
    ndarray of shape ``grid.shape``
    """
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
    """Smooth by what the coarser voxels of ``grid`` lack in resolution, per axis."""
    from nilearn.image import smooth_img

    sizes = voxel_sizes(image.affine)
    lack = np.maximum(voxel_sizes(grid.affine) ** 2 - sizes**2, 0)
    return smooth_img(image, np.sqrt(lack)) if lack.any() else image


def set_space(image: Any, code: int) -> None:
    """Set both affine codes, so that every viewer uses the affine, and mm as the unit."""
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    image.header.set_xyzt_units(xyz="mm")
