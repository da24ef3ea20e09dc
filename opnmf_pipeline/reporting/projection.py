"""The report of a projection: the fit of new images to a model, and their loadings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import BLUE, GREY, ORANGE, STYLE, Figure, plain, png
from opnmf_pipeline.reporting.loadings import draw_loadings
from opnmf_pipeline.reporting.page import MAX_ROWS, embedded_pictures, environment

__all__ = ["ModelFacts", "ProjectionFacts", "render_projection"]

TEMPLATE = "projection.html.jinja"
FEWEST_CLUSTERED = 3
"""With fewer images, there is nothing to order by similarity."""
MAX_NAMED = 6
JITTER = 0.14
N_LISTED = 20


@dataclass(frozen=True)
class ModelFacts:
    """One number of components.

    Attributes
    ----------
    k : int
        Number of components.
    training_errors : ndarray of shape (n_subjects,), float64
        Relative reconstruction error of each image of the cohort of the model; may be empty.
    errors : Series of float
        Relative reconstruction error of each new image, by its name.
    outside : Series of bool
        Whether each error is outside the range of the training errors.
    loadings, means : DataFrame
        Loading on each component, and mean weighted by it, of each new image.
    components : Figure or None
        Picture of the components.
    """

    k: int
    training_errors: NDArray[np.float64]
    errors: pd.Series[float]
    outside: pd.Series[bool]
    loadings: pd.DataFrame
    means: pd.DataFrame
    components: Figure | None = None


@dataclass(frozen=True)
class ProjectionFacts:
    """Content of the report of a projection.

    Attributes
    ----------
    model : str
        Folder of the model.
    grid : str
        Grid of the model.
    elements : str
        What the rows of the components are, such as ``voxels``.
    n_rows : int
        Number of rows.
    preprocessing : mapping
        Settings with which the images were read.
    resampled : bool
        Whether images on another grid were resampled.
    models : sequence of ModelFacts
        One per number of components.
    other_units : mapping of str to float
        Images on another scale than those of the cohort, and how many times larger they are.
    doubts : sequence of str
        Sentences about covariates that are far outside those of the cohort of the model.
    problem : str
        Message about the images that could not be used; may be empty.
    versions : mapping of str to str
        Versions of the libraries.
    """

    model: str
    grid: str
    elements: str
    n_rows: int
    preprocessing: Mapping[str, Any]
    resampled: bool
    models: Sequence[ModelFacts]
    other_units: Mapping[str, float]
    doubts: Sequence[str]
    problem: str
    versions: Mapping[str, str]

    @property
    def n_images(self) -> int:
        """Number of images that were projected."""
        return len(self.models[0].errors)


def render_projection(facts: ProjectionFacts) -> str:
    """Return the report as one self-contained HTML page; all texts from files are escaped.

    Parameters
    ----------
    facts : ProjectionFacts
        What was projected on what.
    """
    errors = _draw_errors(facts.models)
    sections = [_Section.of(model) for model in facts.models]
    pictures = [errors, *(figure for section in sections for figure in section.figures)]
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            tiles=_tiles(facts),
            attention=_attention(facts),
            errors=errors,
            sections=sections,
            pictures=embedded_pictures(pictures),
            max_rows=MAX_ROWS,
        )
    )


@dataclass(frozen=True)
class _Section:
    k: int
    figures: Sequence[Figure]
    table: pd.DataFrame

    @classmethod
    def of(cls, model: ModelFacts) -> _Section:
        figures = [] if model.components is None else [model.components]
        if len(model.errors) >= FEWEST_CLUSTERED:
            figures.append(draw_loadings(model.loadings, pd.DataFrame(index=model.loadings.index)))
        columns = {"image": model.errors.index, "error": model.errors.to_numpy()}
        if len(model.training_errors):
            columns["outside the range"] = model.outside.to_numpy(dtype=bool)
        means = model.means.set_axis([f"mean {n + 1}" for n in range(model.k)], axis=1)
        table = pd.concat([pd.DataFrame(columns), means.reset_index(drop=True)], axis=1)
        return cls(model.k, figures, table.sort_values("error", ascending=False))


def _tiles(facts: ProjectionFacts) -> dict[str, str]:
    outside = [f"{int(model.outside.sum())} (k = {model.k})" for model in facts.models]
    known = any(len(model.training_errors) for model in facts.models)
    return {
        "Images": str(facts.n_images),
        "Components (k)": ", ".join(str(model.k) for model in facts.models),
        facts.elements.capitalize(): f"{facts.n_rows:,}".replace(",", "\u202f"),
        **({"Error outside the training range": ", ".join(outside)} if known else {}),
    }


def _attention(facts: ProjectionFacts) -> list[str]:
    """Return sentences about what readers should check."""
    sentences = []
    for model in facts.models:
        names = [str(name) for name in model.errors.index[model.outside.to_numpy(dtype=bool)]]
        if not len(model.training_errors):
            sentences.append(
                f"k = {model.k}: the model has no errors of its cohort, so nothing tells whether "
                "the components describe these images as well."
            )
        elif names:
            low, high = model.training_errors[[0, -1]]
            sentences.append(
                f"k = {model.k}: the error of {len(names)} of {len(model.errors)} images is "
                f"outside the range of the cohort of the model, {low:.3g} to {high:.3g}: "
                f"{_listed(names)}. Check the preprocessing and the quality of these images."
            )
    if others := [f"{name} {factor:.3g}" for name, factor in facts.other_units.items()]:
        sentences.append(
            f"The values of {len(others)} of {facts.n_images} images are in other units than those "
            f"of the cohort of the model: {_listed(others)} times as large. Their loadings and "
            "means cannot be compared with those of the cohort. Give these images its units."
        )
    sentences += [f"{doubt[0].upper()}{doubt[1:]}." for doubt in facts.doubts]
    if facts.resampled:
        sentences.append(
            "Images on another grid were resampled to the grid of the model. Compare their "
            "loadings with those of other images with care: resampling smooths the images."
        )
    return sentences + ([facts.problem] if facts.problem else [])


def _listed(items: Sequence[str]) -> str:
    rest = len(items) - N_LISTED
    return ", ".join(items[:N_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _draw_errors(models: Sequence[ModelFacts]) -> Figure:
    """Draw the errors of the new images next to those of the cohort of the model."""
    rng = np.random.default_rng(0)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(min(11.0, 2.6 + 1.9 * len(models)), 3.4))
        for place, model in enumerate(models):
            old, new = model.training_errors, model.errors.to_numpy(dtype=np.float64)
            odd = model.outside.to_numpy(dtype=bool)
            x = place + 0.2 + rng.uniform(-JITTER, JITTER, len(new))
            axis.plot(
                place - 0.2 + rng.uniform(-JITTER, JITTER, len(old)),
                old,
                "o",
                ms=3,
                color=GREY,
                alpha=0.45,
                label=None if place else "cohort of the model",
            )
            axis.plot(
                x[~odd],
                new[~odd],
                "o",
                ms=3,
                color=BLUE,
                alpha=0.6,
                label=None if place else "new images",
            )
            axis.plot(
                x[odd],
                new[odd],
                "D",
                ms=4.5,
                color=ORANGE,
                label=None if place else "new images outside the range of the cohort",
            )
            for name, value in model.errors[odd].nlargest(MAX_NAMED).items():
                axis.text(place + 0.2 + JITTER, value, f" {plain(str(name))}", fontsize=7)
        axis.set_xticks(range(len(models)), [f"k = {model.k}" for model in models])
        axis.set_xlim(-0.5, len(models) - 0.2)
        axis.set_ylabel("reconstruction error / norm of image")
        axis.grid(visible=False, axis="x")
        figure.legend(loc="outside upper left", ncols=3)
        image = png(figure)
    n_outside = ", ".join(f"{int(model.outside.sum())} for k = {model.k}" for model in models)
    return Figure(
        image,
        alt=f"Reconstruction errors of {len(models[0].errors)} new images and of the cohort of the "
        f"model; images outside the range of the cohort: {n_outside}",
        caption="Reconstruction error ‖x - Wh‖ / ‖x‖ of each new image, next to those of the "
        "images that the components were fitted to.",
    )
