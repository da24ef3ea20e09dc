"""One self-contained HTML page about a run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

__all__ = ["Section", "render_report"]

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Section:
    """What the page shows of one number of components.

    Attributes
    ----------
    n_components : int
        The number.
    facts : str
        One sentence about the fit.
    labels : DataFrame
        Table of the parts.
    course : bytes
        PNG of the course of the fit.
    figures : mapping of str to path
        Caption and file of each picture.
    """

    n_components: int
    facts: str
    labels: pd.DataFrame
    course: bytes
    figures: Mapping[str, Path]


def render_report(
    *,
    title: str,
    summary: Mapping[str, str],
    attention: Sequence[str],
    metrics: pd.DataFrame,
    descriptions: Mapping[str, str],
    sections: Sequence[Section],
    settings: str,
) -> str:
    """Return the page; it asks for nothing from elsewhere, and everything in it is escaped.

    Parameters
    ----------
    title : str
        Heading.
    summary : mapping of str to str
        What was run, in words.
    attention : sequence of str
        What needs attention, a sentence each.
    metrics : DataFrame
        One row per number of components.
    descriptions : mapping of str to str
        What each column of ``metrics`` means.
    sections : sequence of Section
        One per number of components.
    settings : str
        YAML that a run can start from.

    Returns
    -------
    str
        HTML.
    """
    environment = Environment(
        loader=PackageLoader("opnmf_pipeline.reporting"),
        autoescape=select_autoescape(["jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    environment.filters["cell"] = _cell
    return environment.get_template(TEMPLATE).render(
        title=title,
        summary=summary,
        attention=attention,
        metrics=metrics,
        descriptions=descriptions,
        sections=sections,
        settings=settings,
    )


def _embedded(picture: Path | bytes) -> str:
    """Return a picture as an address that holds it."""
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _cell(value: Any) -> str:
    """Return a value of a table as text."""
    if isinstance(value, float):
        return "n/a" if pd.isna(value) else f"{value:.4g}"
    return str(value)
