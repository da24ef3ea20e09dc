"""The report of a run, written again from the files in its output folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from opnmf_pipeline.config import read_yaml, resolved
from opnmf_pipeline.dataset.description import settings_yaml
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.runs.study import drawn_on_template, shown_settings
from opnmf_pipeline.stages.report import CohortFiles, FitFiles, SelectionFiles, make_report

__all__ = ["write_report"]


def write_report(output: OutputFolder) -> Path:
    """Write ``report.html`` from the files in an output folder.

    Parameters
    ----------
    output : OutputFolder
        Folder with the results of a finished run.

    Returns
    -------
    path
        ``report.html``.
    """

    def there(name: str, k: int | None = None) -> Path | None:
        path = output.path(name, k)
        return path if path.exists() else None

    settings = resolved(read_yaml(output.path("config")))
    options = settings["report"]
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
    selection = SelectionFiles(
        output.path("metrics"),
        choice=there("selection"),
        errors=there("errors_figure"),
        reproducibility=there("reproducibility_figure"),
        hierarchy=there("hierarchy_figure"),
    )
    quality = CohortFiles(*map(output.path, ("mean", "sd", "coverage", "subjects")))
    with TemporaryDirectory() as folder:
        page = make_report(
            selection,
            fits,
            output.path("mask"),
            Path(folder) / "report.html",
            cohort_file=output.path("cohort"),
            quality=quality if quality.subjects.exists() else None,
            runs=output.runs,
            settings=settings_yaml(shown_settings(settings)),
            on_template=drawn_on_template(options["background"], output.space),
            figures=options["figures"],
        )
        return output.publish("report", page)
