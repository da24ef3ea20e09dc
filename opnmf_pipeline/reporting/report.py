"""One self-contained HTML page about a run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.measures import Measure, cell
from opnmf_pipeline.reporting.methods import Methods

__all__ = ["Page", "Section", "Viewer", "render_report"]

TEMPLATE = "report.html.jinja"
MAX_PICTURE_BYTES = 6 * 2**20
"""With the viewer and its volumes a page stays below 20 MB."""


@dataclass(frozen=True)
class Section:
    """What the page shows of one number of components.

    Attributes
    ----------
    n_components : int
        The number.
    facts : str
        One sentence about the fit.
    maps : sequence of Figure
        Components and parts.
    parts : DataFrame
        Table of the components and their parts; the first column is their number.
    loadings : sequence of Figure
        Loadings, and how they go along with covariates.
    effects : sequence of str
        The latter in words.
    course : Figure or None
        Course of the fit.
    """

    n_components: int
    facts: str
    maps: Sequence[Figure]
    parts: pd.DataFrame
    loadings: Sequence[Figure]
    effects: Sequence[str]
    course: Figure | None


@dataclass(frozen=True)
class Viewer:
    """What the interactive viewer shows.

    Attributes
    ----------
    background : str
        NIfTI in base64; empty for none.
    fits : sequence of dict
        For each number of components: ``k``, ``image`` (4D NIfTI in base64, uint8, 255 at the
        largest weight of each component), ``peaks`` (mm).
    first : int
        Number of components that is shown first.
    coarsening : int
        Edge of the voxels, in voxels of the maps.
    """

    background: str
    fits: Sequence[Mapping[str, Any]]
    first: int
    coarsening: int


@dataclass(frozen=True)
class Page:
    """All that the page shows; what is empty has no place on it.

    Attributes
    ----------
    title, lead : str
        Heading, and what was run, in a sentence.
    facts : mapping of str to str
        The numbers of the head.
    choice : str
        Which number of components is to be used, and why.
    chosen : int or None
        That number.
    attention : sequence of str
        What needs attention, a sentence each.
    ks : sequence of int
        Numbers of components that ``measures`` have values for.
    measures : sequence of Measure
        What compares them.
    selection : sequence of Figure
        Curves of the study of ranks.
    viewer : Viewer or None
        Interactive view of the components.
    sections : sequence of Section
        One per number of components.
    quality : sequence of Figure
        Pictures of the cohort.
    subjects : DataFrame or None
        What is known of the quality of each subject.
    methods : Methods or None
        Text to paste.
    runs : sequence of dict
        When and how the results were computed.
    versions : mapping of str to str
        Of the software that made them.
    inputs : DataFrame or None
        The images, with their hashes.
    settings : str
        YAML that a run can start from.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    choice: str
    chosen: int | None
    attention: Sequence[str]
    ks: Sequence[int]
    measures: Sequence[Measure]
    sections: Sequence[Section]
    selection: Sequence[Figure] = ()
    viewer: Viewer | None = None
    quality: Sequence[Figure] = ()
    subjects: pd.DataFrame | None = None
    methods: Methods | None = None
    runs: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: pd.DataFrame | None = None
    settings: str = ""


def render_report(page: Page) -> str:
    """Return the page as HTML.

    It asks for nothing from elsewhere, and a policy in it has the browser refuse any request.
    Everything that comes from files is escaped.
    """
    environment = Environment(
        loader=PackageLoader("opnmf_pipeline.reporting"),
        autoescape=select_autoescape(["jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["duration"] = _duration
    return environment.get_template(TEMPLATE).render(
        page=page, pictures=_pictures(page), niivue=_niivue() if page.viewer else ""
    )


def _niivue() -> Markup:
    """Return the script of the viewer, which is no text to escape, below its licences."""
    folder = resources.files("opnmf_pipeline.reporting") / "niivue"
    parts = [
        (folder / name).read_text(encoding="utf-8")
        for name in ("LICENSE", "BUNDLED_LICENSES.txt", "niivue.umd.js")
    ]
    return Markup("/*!\n{}\n{}*/\n{}".format(*parts))


def _pictures(page: Page) -> dict[Path | bytes, str]:
    """Return every picture as an address that holds it, none of its detail lost if they fit."""
    figures = [*page.selection, *page.quality]
    for section in page.sections:
        figures += [*section.maps, *section.loadings, *filter(None, [section.course])]
    for lossless in (True, False):
        found = {figure.image: _embedded(figure.image, lossless=lossless) for figure in figures}
        if sum(map(len, found.values())) <= MAX_PICTURE_BYTES:
            break
    return found


def _embedded(picture: Path | bytes, *, lossless: bool) -> str:
    """Return a picture as an address that holds it, as WebP, which takes half of PNG or less."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
        image.convert("RGB").save(buffer, "webp", lossless=lossless, quality=75)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> _duration(4.2), _duration(75), _duration(7500)
    ('4 s', '1 min 15 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
