"""Models of other programs, and atlases: they are written as models, and then read as these."""

from __future__ import annotations

import atexit
import logging
import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.dataset.model import ModelFile, find_model_files, model_of_components
from opnmf_pipeline.exceptions import FileError, ImageError, ModelError
from opnmf_pipeline.files import file_digest, why_missing
from opnmf_pipeline.images.bids import space_in_name
from opnmf_pipeline.images.foreign import (
    ROWS_MSG,
    component_folders,
    component_images,
    read_weights,
    rows_in_c_order,
)
from opnmf_pipeline.images.matrices import is_matrix
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.stages.spaces import SPACES, open_mask, space_of

__all__ = ["chosen_files", "is_own", "model_files", "the_file"]

logger = logging.getLogger(__name__)

NO_NUMBER_MSG = "{folder}: has no model with {k} components; it has models with {there}"
SEVERAL_MSG = (
    "{folder}: has models with {there} components; choose one with n_components, such as "
    "Model.load({folder!r}, n_components={first})"
)
NO_MASK_MSG = (
    "{path}: a matrix does not say which voxels its rows are; give the mask that they were read "
    "from (--mask, in Python mask=...)"
)
UNUSED_MASK_MSG = "{path}: has its own grid and mask; leave out --mask (in Python mask=...)"
KIND_MSG = (
    "{path}: is no model; give the output folder of a run, a folder with a copied model, a label "
    "image or an image of several maps, a matrix W (.mat, .npz, .npy) with its mask, or a folder "
    "of sopnmf or cobra-nmf with one image per component"
)
GRIDS_REMEDY = "the images of the components of a model are on one grid; copy them again"
NEGATIVE_MSG = "{folder}: the images have negative weights, which components do not have"
PICKLED = (".pickle", ".pkl", ".joblib", ".rds", ".rdata")
PICKLED_MSG = (
    "{path}: files of this kind can run programs or need another one, and are not opened; give the "
    "folder with the images of the components, or save W as .npz or .mat"
)
TURNED_MSG = "%s: the rows of W are in the order of MATLAB (first axis first)"


def is_own(source: Path) -> bool:
    """Tell whether a folder or file is not from another program.

    The component maps of a model, beside its file, are the model: with its preprocessing.
    """
    if source.is_dir():
        return not any(component_folders(source)) or any(source.glob("*model.json"))
    ours = source.name.endswith("model.json") or not source.exists()
    return ours or model_of_components(source) is not None


def model_files(source: Path, mask: Path | None = None) -> dict[int, Path]:
    """Return the files of the models of a folder or file; other programs' are converted first.

    Parameters
    ----------
    source : path
        Output folder of a run; folder with models; the file of one model, or its component maps;
        label image; image of several maps; matrix W; folder with one image per component.
    mask : path, optional
        Mask of a matrix W, whose voxels are the rows.

    Returns
    -------
    dict of int to path
        By the number of components. Converted models are in a temporary folder, which is removed
        when the program ends.

    Raises
    ------
    ModelError
        The source contains no model, or cannot be read.
    """
    if mask is not None and not is_matrix(source):
        raise ModelError(UNUSED_MASK_MSG.format(path=source))
    if is_own(source):
        return find_model_files(source)
    try:
        return dict(sorted(_converted(source, mask)))
    except (ImageError, FileError) as error:
        raise ModelError(str(error)) from None


def chosen_files(
    source: Path, n_components: Sequence[int] | None = None, mask: Path | None = None
) -> dict[int, Path]:
    """Return the files of the models with some numbers of components; see :func:`model_files`.

    Raises
    ------
    ModelError
        The source contains no such model, or cannot be read.
    """
    files = model_files(source, mask)
    for k in n_components or ():
        if k not in files:
            known = ", ".join(map(str, files))
            raise ModelError(NO_NUMBER_MSG.format(folder=source, k=k, there=known))
    return {k: files[k] for k in sorted(set(n_components or files))}


def the_file(source: Path, n_components: int | None, mask: Path | None) -> Path:
    """Return the file of one model, which ``n_components`` names if there are several."""
    files = chosen_files(source, [n_components] if n_components else None, mask)
    if len(files) > 1:
        there, first = ", ".join(map(str, files)), next(iter(files))
        raise ModelError(SEVERAL_MSG.format(folder=str(source), there=there, first=first))
    return next(iter(files.values()))


def _converted(source: Path, mask: Path | None) -> Iterable[tuple[int, Path]]:
    if source.is_dir():
        for folder in component_folders(source):
            images = component_images(folder)
            yield len(images), _of_images(images)
    elif is_matrix(source):
        if mask is None:
            raise ModelError(NO_MASK_MSG.format(path=source))
        weights = _of_matrix(source, mask)
        yield weights.shape[1], _written(open_mask(mask), weights, [], source, mask)
    elif source.suffix.lower() in PICKLED:
        raise ModelError(PICKLED_MSG.format(path=source))
    elif not any(space.images.is_image(source) for space in SPACES.values()):
        raise ModelError(KIND_MSG.format(path=source))
    else:
        parts = space_of(source).images.read_parts(source)
        columns = _of_norm_1(parts.weights)
        yield columns.shape[1], _written(parts.mask, columns, parts.names, source, source)


def _of_norm_1(weights: NDArray[Any]) -> NDArray[np.float32]:
    """Scale columns to the norm 1; those of parts, which do not overlap, are then orthonormal."""
    squares = np.einsum("ij,ij->j", weights, weights, dtype=np.float64)
    return (weights / np.sqrt(np.where(squares > 0, squares, 1))).astype(np.float32)


def _of_matrix(path: Path, mask_file: Path) -> NDArray[np.float32]:
    if not mask_file.exists():
        raise ModelError(f"{mask_file}: {why_missing(mask_file)}")
    mask, weights = open_mask(mask_file), read_weights(path)
    expected = int(np.count_nonzero(mask.inside))
    if len(weights) != expected:
        raise ModelError(
            ROWS_MSG.format(
                path=path,
                n=len(weights),
                mask=mask_file,
                expected=expected,
                elements=mask.grid.elements,
            )
        )
    weights, turned = rows_in_c_order(weights, mask.inside)
    if turned:
        logger.info(TURNED_MSG, path)
    return weights


def _of_images(images: list[Path]) -> Path:
    """Write the model of one image per component."""
    first, *_ = images
    kind = space_of(first).images
    kind.check_grids(images, first, remedy=GRIDS_REMEDY)
    whole = kind.analysis_grid(first, None, MatrixConfig())
    values = np.stack([whole.read(path, MatrixConfig(nan="zero")) for path in images], axis=-1)
    if (values < 0).any():
        raise ModelError(NEGATIVE_MSG.format(folder=first.parent))
    inside = np.asarray(values.any(axis=-1))
    folder = _folder()
    mask_file = folder / f"mask{kind.ENDINGS['image']}"
    whole.write_mask(inside, first, mask_file)
    weights = values[inside]
    if np.isin(weights, (0, 1)).all():  # sopnmf writes the voxels of each part, without weights
        weights = _of_norm_1(weights)
    return _written(open_mask(mask_file), weights, [], first.parent, first)


def _written(
    mask: Mask,
    weights: NDArray[np.float32],
    names: list[str | None],
    source: Path,
    reference: Path,
) -> Path:
    """Write a model of given weights, and return its file."""
    folder, ending = _folder(), space_of(reference).images.ENDINGS["image"]
    components, mask_file = folder / f"components{ending}", folder / f"mask{ending}"
    mask.write(weights, components)
    n_rows = len(weights)
    mask.write(np.ones(n_rows, dtype=np.uint8), mask_file)
    space = space_in_name(source)
    model = ModelFile(
        NumberOfComponents=weights.shape[1],
        Components=components.name,
        Mask=mask_file.name,
        SHA256={path.name: file_digest(path) for path in (components, mask_file)},
        Preprocessing=MatrixConfig().settings(),
        Labels=names if any(names) else None,
        Entities={"space": space} if space else {},
        Grid=mask.grid.describe(),
    )
    file = folder / "model.json"
    file.write_text(model.text(), encoding="utf-8")
    return file


def _folder() -> Path:
    """Return a new folder that is removed when the program ends."""
    return Path(mkdtemp(dir=_root()))


@cache
def _root() -> Path:
    root = Path(mkdtemp(prefix="opnmf-import-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
