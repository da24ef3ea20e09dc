"""The report of a run as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from opnmf_pipeline.config import parse_yaml, resolved
from opnmf_pipeline.reporting.adjustment import compose_adjustment
from opnmf_pipeline.reporting.attention import attention
from opnmf_pipeline.reporting.captions import selection_figures
from opnmf_pipeline.reporting.change import units_of_values
from opnmf_pipeline.reporting.covariate_section import compose_covariates
from opnmf_pipeline.reporting.facts import Facts, FitFacts, QualityFacts
from opnmf_pipeline.reporting.figure import DPI, Figure
from opnmf_pipeline.reporting.head import choice, lead, tiles, title
from opnmf_pipeline.reporting.measures import compose_measures
from opnmf_pipeline.reporting.methods import Methods, describe_methods
from opnmf_pipeline.reporting.outliers import find_outliers
from opnmf_pipeline.reporting.quality import draw_errors
from opnmf_pipeline.reporting.section import compose_section
from opnmf_pipeline.reporting.tables import (
    about_missing,
    cell,
    component_titles,
    images_table,
    measures,
    subjects_table,
)

__all__ = ["MAX_ROWS", "embedded_pictures", "environment", "render_page", "with_runs"]

PEAK = ["peak_x", "peak_y", "peak_z"]
TEMPLATE, RUNS_TEMPLATE = "report.html.jinja", "runs.html.jinja"
RUNS, RUNS_END = "<!-- runs -->", "<!-- /runs -->"
"""Marks in the page; the records of the runs are between them."""
MAX_PICTURE_BYTES = 6 * 2**20
"""Largest size of all pictures; keeps a page with the viewer and its volumes below 20 MB."""

PAGE_DPI = 105
"""Pixels of the page for each inch of a figure."""
MAX_ROWS = 2000
"""Largest number of rows of a table of subjects or images, for the same reason."""


def render_page(facts: Facts, *, figures: bool) -> str:
    """Return the page as HTML; parts without content are left out.

    The page requests nothing from the network, and its content security policy makes the browser
    refuse any request. All texts from files are escaped.

    Parameters
    ----------
    facts : Facts
        Results of the run.
    figures : bool
        Draw pictures of the loadings, the course of the fits and the cohort. This takes several
        seconds for each k.
    """
    settings = resolved(parse_yaml(facts.settings, "settings")) or {}
    selection, quality = facts.selection, facts.quality
    curves = selection_figures(selection)
    units, words = units_of_values(facts.infos[0]), facts.grid.words
    cohort = _draw_quality(quality, facts.errors, units) if quality and figures else []
    sections = [
        compose_section(fit, selection.of(fit.k), facts.covariates, figures=figures)
        for fit in facts.fits
    ]
    pictures = [*curves, *cohort, *(figure for section in sections for figure in section.figures)]
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            runs=facts.runs,
            title=title(settings),
            lead=lead(facts),
            tiles=tiles(facts),
            choice=choice(facts),
            attention=attention(facts),
            curves=curves,
            measures=measures(selection.metrics, selection.descriptions),
            sections=sections,
            covariates=compose_covariates(facts.associations),
            adjustment=compose_adjustment(facts.adjustment),
            stack=compose_measures(facts),
            cohort=cohort,
            missing=about_missing(quality.subjects, words.columns) if quality else "",
            subjects=subjects_table(quality.subjects, facts.errors) if quality else None,
            methods=_methods(facts, settings),
            images=images_table(facts.images),
            pictures=embedded_pictures(pictures),
            max_rows=MAX_ROWS,
            viewer=_viewer(facts),
            no_viewer=_no_viewer(facts, settings),
            stability=any(map(_stability, facts.fits)),
            niivue=_niivue() if facts.volumes else "",
        )
    )


def with_runs(page: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a page of :func:`render_page` with the records of other runs.

    The time and memory of a run are known only after its page has been made.

    Parameters
    ----------
    page : str
        The page as HTML.
    runs : sequence of dict
        Records of the runs that computed the results.
    """
    before, _, rest = page.partition(RUNS)
    _, _, after = rest.partition(RUNS_END)
    records = environment().get_template(RUNS_TEMPLATE).render(runs=runs)
    return f"{before}{RUNS}\n{records}{RUNS_END}{after}"


def environment() -> Environment:
    """Return the environment of all templates, which escapes texts."""
    environment = Environment(
        loader=PackageLoader("opnmf_pipeline.reporting"),
        autoescape=select_autoescape(["jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["duration"] = _duration
    return environment


def _draw_quality(quality: QualityFacts, errors: pd.DataFrame, units: str) -> list[Figure]:
    maps = {
        f"Mean of the subjects ({units})": quality.mean,
        f"Standard deviation over the subjects ({units})": quality.sd,
        "Coverage: share of the subjects with data": quality.coverage,
    }
    drawn = [quality.draw_maps(maps)]
    if not errors.empty:
        drawn.append(draw_errors(errors, find_outliers(errors)))
    return drawn


def _no_viewer(facts: Facts, settings: Mapping[str, Any]) -> str:
    """Return the sentence that says why features of tables are not shown in the viewer."""
    if not facts.fits:
        return " A comparison of numbers of components draws no maps, so there is no viewer."
    if (settings.get("report") or {}).get("atlas"):
        return ""
    return " Without an atlas (report.atlas), there are no maps and there is no viewer."


def _viewer(facts: Facts) -> dict[str, Any] | None:
    """Return the data for the script of the viewer: images in base64, and peaks in mm."""
    if facts.volumes is None:
        return None
    images, ks = list(facts.volumes.images), [fit.k for fit in facts.fits]
    background = images.pop(0) if facts.on_background else ""
    fits = [
        {
            "k": fit.k,
            "image": image,
            "peaks": _peaks(fit),
            "titles": component_titles(fit.parts),
            "stability": _stability(fit),
        }
        for fit, image in zip(facts.fits, images, strict=True)
    ]
    chosen = facts.selection.chosen
    return {
        "background": "" if facts.volumes.meshes else background,
        "meshes": list(facts.volumes.meshes),
        "fits": fits,
        "first": chosen if chosen in ks else ks[0],
    }


def _peaks(fit: FitFacts) -> list[list[float]]:
    """Return the position of the largest weight of each component, in mm; empty for surfaces."""
    columns = [column for column in PEAK if column in fit.parts]
    peaks: list[list[float]] = fit.parts[columns].to_numpy().tolist()
    return peaks


def _stability(fit: FitFacts) -> dict[str, Any] | None:
    """Return title, unit and largest value of the last map of a fit, which is its stability."""
    if fit.reliability is None or not fit.reliability.in_viewer:
        return None
    return {
        "title": "stability of all components",
        "unit": f"% of {fit.reliability.resamples}",
        "largest": float(fit.reliability.shares.max()),
    }


def _methods(facts: Facts, settings: dict[str, Any]) -> Methods:
    return describe_methods(
        facts.infos,
        settings,
        facts.grid,
        facts.selection.choice or None,
        solver=facts.solver.methods,
        qualified=facts.quality is not None and bool(facts.fits),
        only_brain=facts.only_brain,
        entities=facts.entities,
        associations=facts.associations,
        located=any(fit.regions is not None for fit in facts.fits),
    )


def _niivue() -> Markup:
    """Return the licences and the script of the viewer, which the template must not escape."""
    folder = resources.files("opnmf_pipeline.reporting") / "niivue"
    parts = [
        (folder / name).read_text(encoding="utf-8")
        for name in ("LICENSE", "BUNDLED_LICENSES.txt", "niivue.umd.js")
    ]
    return Markup("/*!\n{}\n{}*/\n{}".format(*parts))  # noqa: S704 (files of this package)


class _Picture(NamedTuple):
    """A picture as a data URL, and its width on the page, for which all texts have one size."""

    url: str
    width: int


def embedded_pictures(figures: Sequence[Figure]) -> dict[Path | bytes, _Picture]:
    """Return every picture, by its file or content, for the templates.

    Compression is lossless if all of them fit. Else they are made smaller until they fit.
    """
    scale, lossless = 1.0, True
    while True:
        found = {
            figure.image: _embedded(figure.image, scale, lossless=lossless) for figure in figures
        }
        if sum(len(picture.url) for picture in found.values()) <= MAX_PICTURE_BYTES:
            return found
        scale, lossless = scale if lossless else scale * 0.8, False


def _embedded(picture: Path | bytes, scale: float, *, lossless: bool) -> _Picture:
    """Return a picture in WebP, which needs at most half the space of PNG."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
        size = [max(1, round(side * scale)) for side in image.size]
        smaller = image.convert("RGB").resize((size[0], size[1]))
        smaller.save(buffer, "webp", lossless=lossless, quality=75)
        url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        return _Picture(url, round(image.size[0] * PAGE_DPI / DPI))


def _duration(seconds: float) -> str:
    """Return a time as text.

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
