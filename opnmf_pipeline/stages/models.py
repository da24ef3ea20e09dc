"""The models of a folder: the same mask and preprocessing, other numbers of components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opnmf_pipeline.exceptions import ModelError
from opnmf_pipeline.stages.imports import chosen_files
from opnmf_pipeline.stages.model import Model

__all__ = ["load_models"]

UNEQUAL_MSG = (
    "{folder}: the models with {first} and with {k} components have another mask or preprocessing; "
    "choose one of them with --n-components"
)


def load_models(
    folder: Path, n_components: Sequence[int] | None = None, *, mask: Path | None = None
) -> list[Model]:
    """Load the models of a folder, which share mask and preprocessing.

    Parameters
    ----------
    folder : path
        Source of the models; see :meth:`opnmf_pipeline.stages.model.Model.load`.
    n_components : sequence of int, optional
        Numbers of components. Default: all.
    mask : path, optional
        Mask of a matrix W.

    Returns
    -------
    list of Model
        By ascending number of components.

    Raises
    ------
    ModelError
        As :meth:`opnmf_pipeline.stages.model.Model.load`; or the models have different masks
        or preprocessing.
    """
    models = [Model.of_file(file) for file in chosen_files(folder, n_components, mask).values()]
    first = models[0]
    for model in models[1:]:
        alike = (model.preprocessing, model.shift) == (first.preprocessing, first.shift)
        pairs = zip(_files(model), _files(first), strict=True)
        if not alike or not all(_is_same(one, other) for one, other in pairs):
            names = {"first": first.n_components, "k": model.n_components}
            raise ModelError(UNEQUAL_MSG.format(folder=folder, **names))
    return models


def _files(model: Model) -> tuple[Path | None, ...]:
    adjustment = model.adjustment_file
    return model.mask_file, adjustment, adjustment and adjustment.with_suffix(".npz")


def _is_same(one: Path | None, other: Path | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or one.read_bytes() == other.read_bytes()
