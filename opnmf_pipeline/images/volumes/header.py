"""Headers of NIfTI and Analyze files, checked before any voxel is read.

nibabel repairs a damaged header in memory and reads on. Here the header is checked as it is stored,
so that a value that contradicts the rest of the file is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.analyze import AnalyzeHeader
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

__all__ = ["affine_problem", "header_problem", "is_nifti", "sform_is_void", "size_problem"]

LAST_CODE = 5
"""Largest code of ``sform_code`` and ``qform_code`` in the NIfTI standard."""
MAX_CONDITION = 1e6
"""An affine with a larger condition number is singular in the precision of a header, float32."""
SMALLEST_EDGE, LARGEST_POSITION = 1e-6, 1e6
"""Limits of the edges of voxels and of positions, in mm; an affine outside is damaged."""
GZIP_RATIO = 1032
"""Largest ratio of deflate: no gzip file holds more bytes than this times its size."""


def header_problem(header: AnalyzeHeader) -> str:
    """Describe the first contradiction in a header.

    Parameters
    ----------
    header : AnalyzeHeader
        Header of a NIfTI or Analyze file as it is stored, made with ``check=False``.

    Returns
    -------
    str
        Empty if there is none.
    """
    checks = [_shape_problems, _type_problems, _offset_problems, _scale_problems, _space_problems]
    return next((problem for check in checks for problem in check(header)), "")


def size_problem(stored: ArrayProxy) -> str:
    """Describe the difference between the size of a file and the size that its header claims.

    Of a compressed file only the upper limit is known; the reader compares its content.

    Parameters
    ----------
    stored : ArrayProxy
        Voxels of an image in an existing file.

    Returns
    -------
    str
        Empty if the sizes agree.
    """
    file = Path(stored.file_like)
    claimed = stored.offset + prod(stored.shape) * stored.dtype.itemsize
    actual = file.stat().st_size
    match file.suffix.lower():
        case ".gz":
            fits = claimed <= GZIP_RATIO * actual
        case ".bz2" | ".zst":
            fits = True
        case _:
            fits = claimed == actual
    return "" if fits else f"its header describes {claimed} bytes, but {file} has {actual} bytes"


def is_nifti(header: AnalyzeHeader) -> bool:
    """Tell NIfTI-1 and NIfTI-2 from the older Analyze formats."""
    return isinstance(header, Nifti1Header)


def sform_is_void(header: AnalyzeHeader) -> bool:
    """Tell whether the sform has a code, but only zeros, so that the qform must be used."""
    return bool(
        is_nifti(header)
        and header["sform_code"] > 0
        and header["qform_code"] > 0
        and not any(header[row].any() for row in ("srow_x", "srow_y", "srow_z"))
    )


def affine_problem(affine: NDArray[np.float64] | None) -> str:
    """Describe why an affine gives no position to voxels; return an empty text if it does."""
    if affine is None or not np.isfinite(affine).all():
        return "its affine has NaN or infinite values"
    edges, origin = voxel_sizes(affine), affine[:3, 3]
    if edges.min() < SMALLEST_EDGE or np.abs(affine).max() > LARGEST_POSITION:
        sizes, place = (", ".join(f"{value:g}" for value in part) for part in (edges, origin))
        return f"its affine gives voxels of {sizes} mm at {place} mm"
    if np.linalg.cond(affine[:3, :3] / edges) > MAX_CONDITION:
        return "its affine is singular: its axes span a plane or a line"
    return ""


def _shape_problems(header: AnalyzeHeader) -> Iterator[str]:
    n_axes, *sizes = (int(size) for size in header["dim"])
    if not 1 <= n_axes <= 7:
        yield f"its header has {n_axes} dimensions; expected 1 to 7"
    elif any(size < 1 for size in sizes[:n_axes]):
        yield f"its header has the shape {tuple(sizes[:n_axes])}; expected positive sizes"


def _type_problems(header: AnalyzeHeader) -> Iterator[str]:
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        yield f"its header has the unknown datatype {int(header['datatype'])}"
        return
    if dtype.kind not in "iuf":
        name = "RGB" if dtype.kind == "V" else "complex"
        yield f"it has {name} values ({header['datatype']}); one real number per voxel is expected"
    if (bits := int(header["bitpix"])) != 8 * dtype.itemsize:
        yield f"its header has {bits} bits per voxel (bitpix), but its datatype is {dtype.name}"


def _offset_problems(header: AnalyzeHeader) -> Iterator[str]:
    offset = float(header["vox_offset"])
    if not offset.is_integer() or offset < 0:
        yield f"its voxels start at byte {offset:g} (vox_offset)"


def _scale_problems(header: AnalyzeHeader) -> Iterator[str]:
    if not header.has_data_slope:
        return
    # A slope of 0 means values without a scale; the intercept is then not used
    slope = float(header["scl_slope"])
    inter = float(header["scl_inter"]) if header.has_data_intercept else 0.0
    if slope != 0 and not np.isfinite([slope, inter]).all():
        yield f"its values have the scale {slope:g} and intercept {inter:g} (scl_slope, scl_inter)"


def _space_problems(header: AnalyzeHeader) -> Iterator[str]:
    codes = _codes(header)
    for name, code in codes.items():
        if not 0 <= code <= LAST_CODE:
            yield f"its header has the {name} {code}; expected 0 to {LAST_CODE}"
    if codes.get("sform_code", 0) > 0 and not sform_is_void(header):
        return
    edges = np.asarray(header["pixdim"], dtype=np.float64)[1:4]
    if not (np.isfinite(edges) & (edges != 0)).all():
        yield f"its voxels have the edges {', '.join(f'{edge:g}' for edge in edges)} (pixdim)"
    # The standard reads 0 as 1
    if codes.get("qform_code", 0) > 0 and header["pixdim"][0] not in (-1, 0, 1):
        yield f"the sign of its third axis is {header['pixdim'][0]:g} (pixdim[0]); expected 1 or -1"


def _codes(header: Any) -> dict[str, int]:
    if not is_nifti(header):
        return {}
    return {name: int(header[name]) for name in ("sform_code", "qform_code")}
