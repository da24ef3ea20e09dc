"""From the content of a page to one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from opnmf_pipeline.reporting.page import Page
from opnmf_pipeline.reporting.tables import cell

__all__ = ["render"]

TEMPLATE = "report.html.jinja"
MAX_PICTURE_BYTES = 6 * 2**20
"""Keeps a page with the viewer and its volumes below 20 MB."""


def render(page: Page) -> str:
    """Return the page as HTML.

    The page requests nothing from the network, and its policy makes the browser refuse any request.
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
    """Return the script of the viewer below its licences, marked as not to be escaped."""
    folder = resources.files("opnmf_pipeline.reporting") / "niivue"
    parts = [
        (folder / name).read_text(encoding="utf-8")
        for name in ("LICENSE", "BUNDLED_LICENSES.txt", "niivue.umd.js")
    ]
    return Markup("/*!\n{}\n{}*/\n{}".format(*parts))


def _pictures(page: Page) -> dict[Path | bytes, str]:
    """Return every picture as a data URL, lossless if all of them fit."""
    figures = [*page.selection, *page.quality]
    for section in page.sections:
        figures += [*section.maps, *section.loadings, *filter(None, [section.course])]
    for lossless in (True, False):
        found = {figure.image: _embedded(figure.image, lossless=lossless) for figure in figures}
        if sum(map(len, found.values())) <= MAX_PICTURE_BYTES:
            break
    return found


def _embedded(picture: Path | bytes, *, lossless: bool) -> str:
    """Return a picture as a data URL of WebP, which takes half the space of PNG or less."""
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
