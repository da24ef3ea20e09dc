"""The page about a run, from what stands in its output folder: at its end, or at any later time."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from opnmf_pipeline.engines.study import drawn_on_template
from opnmf_pipeline.outputs import OutputFolder
from opnmf_pipeline.stages.report import CohortFiles, FitFiles, make_report

__all__ = ["write_report"]

CURVES = {
    "Error and gain of each number of components.": "errors_figure",
    "How far halves of the cohort agree: means, standard deviations, and every split.": (
        "reproducibility_figure"
    ),
    "How the parts split as the number of components grows.": "hierarchy_figure",
}
"""Pictures of the study of ranks, by caption."""


def write_report(output: OutputFolder) -> Path:
    """Write ``report.html``.

    Parameters
    ----------
    output : OutputFolder
        Folder with the published results.

    Returns
    -------
    path
        The page.
    """

    def there(name: str, k: int | None = None) -> Path | None:
        path = output.path(name, k)
        return path if path.exists() else None

    settings = output.path("config").read_text(encoding="utf-8")
    options = yaml.safe_load(settings)["report"]
    fits = [
        FitFiles(
            factorization=output.path("fit", k),
            components=output.path("components", k),
            labels_table=output.path("dseg_tsv", k),
            loadings=output.path("loadings", k),
            montage=there("montage", k),
            parts=there("parts", k),
        )
        for k in output.ks
    ]
    quality = CohortFiles(*map(output.path, ("mean", "sd", "coverage", "subjects")))
    with TemporaryDirectory() as folder:
        page = make_report(
            output.path("metrics"),
            fits,
            output.path("mask"),
            Path(folder) / "report.html",
            cohort_file=output.path("cohort"),
            quality=quality if quality.subjects.exists() else None,
            choice_file=there("selection"),
            curves={title: path for title, name in CURVES.items() if (path := there(name))},
            runs=output.runs,
            settings=settings,
            on_template=drawn_on_template(options["background"], output.space),
            figures=options["figures"],
        )
        return output.publish("report", page)
