"""The columns and the report of a projection, from its tables and its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from opnmf_pipeline import __version__
from opnmf_pipeline.images.cohort import row_names
from opnmf_pipeline.logs import library_versions
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.projection import ModelFacts, ProjectionFacts, render_projection
from opnmf_pipeline.stages.model import ERROR, OUTSIDE, Model
from opnmf_pipeline.stages.spaces import space_of

__all__ = ["columns_of", "projection_page"]


def columns_of(model: Model) -> dict[str, dict[str, str]]:
    """Return the description of each column of a projection, for its sidecar."""
    image = "image" if model.adjustment_file is None else "adjusted image"
    titles = [
        name if label is None else f"{name} ({label})"
        for name, label in zip(
            model.names, model.labels or [None] * model.n_components, strict=True
        )
    ]
    columns = {
        name: f"Loading on {title} (row of H = WᵀX)"
        for name, title in zip(model.names, titles, strict=True)
    }
    columns |= {
        name: f"Mean of the {image} weighted by {title}, in its units"
        for name, title in zip(model.mean_names, titles, strict=True)
    }
    columns[ERROR] = f"Reconstruction error of the {image} relative to its norm, ‖x - Wh‖ / ‖x‖"
    if len(model.training_errors):
        low, high = model.training_errors[[0, -1]]
        columns[OUTSIDE] = (
            "Whether this error is smaller or larger than those of all "
            f"{len(model.training_errors)} images of the cohort that the components were "
            f"fitted to ({low:.4g} to {high:.4g})"
        )
    return {name: {"Description": text} for name, text in columns.items()}


def projection_page(
    model_root: Path,
    models: Sequence[Model],
    tables: Mapping[int, pd.DataFrame],
    *,
    adjusted_for: Sequence[str] = (),
    resample: bool,
    others: Mapping[str, float],
    doubts: Sequence[str] = (),
    problem: str,
) -> str:
    """Return the report of a projection as HTML.

    Parameters
    ----------
    model_root : path
        Folder of the models.
    models : sequence of Model
        The models.
    tables : mapping of int to DataFrame
        Projections of all images, by the number of components; see
        :meth:`opnmf_pipeline.stages.model.Model.project`.
    adjusted_for : sequence of str
        Columns of the table of the subjects that the images were adjusted for.
    resample : bool
        Whether images on another grid were resampled.
    others : mapping of str to float
        Images in other units, see :meth:`opnmf_pipeline.stages.model.Model.other_units`.
    doubts : sequence of str
        Sentences about covariates that are far outside those of the cohort of the model.
    problem : str
        Message about images that could not be used; may be empty.
    """
    first = models[0]
    preprocessing = first.preprocessing.settings()
    if first.adjustment_file is not None:
        preprocessing["adjusted for"] = ", ".join(adjusted_for) or "the mean of the image"
    return render_projection(
        ProjectionFacts(
            model=str(model_root),
            grid=str(first.mask.grid),
            elements=first.mask.grid.elements,
            n_rows=len(first.W),
            preprocessing=preprocessing,
            resampled=resample,
            models=[_facts(model, tables[model.n_components]) for model in models],
            other_units=others,
            doubts=doubts,
            problem=problem,
            versions={"opnmf-pipeline": __version__, **library_versions()},
        )
    )


def _facts(model: Model, table: pd.DataFrame) -> ModelFacts:
    rows = table.set_axis(row_names(table))
    nowhere = pd.Series(data=False, index=rows.index)
    return ModelFacts(
        k=model.n_components,
        training_errors=model.training_errors,
        errors=rows[ERROR],
        outside=rows.get(OUTSIDE, nowhere),
        loadings=rows[model.names],
        means=rows[model.mean_names],
        components=_draw(model),
    )


def _draw(model: Model) -> Figure:
    """Draw the components on the template, or on the mask if they are in another space."""
    pictures, k = space_of(model.mask_file).pictures, model.n_components
    if model.mask.in_standard_space:
        background = pictures.template_image()
    else:
        background = model.mask.unmasked(np.ones(len(model.W), dtype=np.float32))
    titles = [
        f"component {number}" + (f": {label}" if label else "")
        for number, label in enumerate(model.labels or [None] * k, start=1)
    ]
    assert model.components_file is not None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "components.png"
        pictures.draw_components(model.components_file, titles, background, file)
        return Figure(
            file.read_bytes(),
            alt=f"{k} brain maps, each shows a component {pictures.VIEWS}",
            caption=f"Every component of the model, {pictures.VIEWS}.",
        )
