"""Pictures of stacks: those of each measure, below each other."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from opnmf_pipeline.reporting.figure import DPI, STYLE, Figure, png
from opnmf_pipeline.reporting.viewer import Embedded

__all__ = ["StackPictures"]

TITLE_INCHES = 0.35


class StackPictures:
    """What a module of a space under ``reporting`` defines, for stacks of maps of other spaces.

    Parameters
    ----------
    pictures_of : callable
        Takes the map of a measure and returns the pictures of its space.
    part_files : callable
        Takes a file that stands for several maps and returns them by measure.
    """

    VIEWS = "in each measure, at the largest weight in this measure"

    def __init__(
        self,
        pictures_of: Callable[[Path], Any],
        part_files: Callable[[Path], Mapping[str, Path]],
    ) -> None:
        self._pictures_of = pictures_of
        self._part_files = part_files

    def template_image(self) -> None:
        """Return None: each measure is drawn on the template of its space."""
        return

    def draw_components(
        self, components_file: Path, titles: Sequence[str], background: Any, out_file: Path
    ) -> Path:
        """Draw every component in each measure.

        Parameters
        ----------
        components_file : path
            File that stands for the maps of all measures.
        titles : sequence of str
            Number and possibly name of each component.
        background : mapping of str to object, or None
            Background of each measure; None for the templates.
        out_file : path
            PNG to write.
        """
        return self._draw("draw_components", components_file, titles, background, out_file)

    def draw_parts(
        self, labels_file: Path, titles: Sequence[str], background: Any, out_file: Path
    ) -> Path:
        """Draw the winner-takes-all label map of each measure; see :meth:`draw_components`."""
        return self._draw("draw_parts", labels_file, titles, background, out_file)

    def _draw(
        self, what: str, file: Path, titles: Sequence[str], background: Any, out_file: Path
    ) -> Path:
        with TemporaryDirectory() as folder:
            drawn = {}
            for name, one in self._part_files(file).items():
                pictures = self._pictures_of(one)
                behind = background[name] if background else pictures.template_image()
                drawn[name] = Path(folder) / f"{name}.png"
                getattr(pictures, what)(one, titles, behind, drawn[name])
            out_file.write_bytes(_below(drawn))
        return out_file

    def draw_cohort_maps(
        self, maps: Mapping[str, Path], mask_file: Path, background: Any = None
    ) -> Figure:
        """Draw maps of the cohort for each measure; the keys of ``maps`` are their titles."""
        parts = {title: self._part_files(file) for title, file in maps.items()}
        drawn, figures = {}, []
        for name, mask in self._part_files(mask_file).items():
            of_measure = {title: files[name] for title, files in parts.items()}
            figure = self._pictures_of(mask).draw_cohort_maps(of_measure, mask, background)
            drawn[name] = figure.image
            figures.append(figure)
        alt = "; ".join(f"{name}: {one.alt}" for name, one in zip(drawn, figures, strict=True))
        return Figure(_below(drawn), alt=alt, caption=figures[0].caption)

    def embed(self, images: Sequence[Any], *, meshes: Sequence[Path] = ()) -> Embedded | None:
        """Return None: the viewer shows one image at a time."""
        return None


def _below(pictures: Mapping[str, Path | bytes]) -> bytes:
    """Return pictures below each other, each with its name above it, as PNG."""
    arrays = {}
    for name, picture in pictures.items():
        content = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with Image.open(content) as image:
            arrays[name] = np.asarray(image.convert("RGB"))
    width = max(values.shape[1] for values in arrays.values())
    heights = [values.shape[0] / DPI + TITLE_INCHES for values in arrays.values()]
    style = {**STYLE, "axes.grid": False, "figure.constrained_layout.use": False}
    with plt.rc_context(style):
        figure = plt.figure(figsize=(width / DPI, sum(heights)))
        top = sum(heights)
        for (name, values), height in zip(arrays.items(), heights, strict=True):
            figure.text(0.01, (top - 0.1) / sum(heights), name, va="top", weight="bold", size=11)
            x = (width - values.shape[1]) // 2
            y = round((top - height) * DPI)
            figure.figimage(values, x, y, origin="upper")
            top -= height
        return png(figure)
