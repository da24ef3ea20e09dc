"""The report of a run, written again from the files in its output folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from opnmf_pipeline.config import read_yaml, resolved
from opnmf_pipeline.dataset.description import read_json, settings_yaml
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.runs.study import drawn_on_template, shown_settings
from opnmf_pipeline.stages.report import make_report
from opnmf_pipeline.stages.reportfiles import CohortFiles, FitFiles, SelectionFiles
from opnmf_pipeline.stages.spaces import open_mask, space_of

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

    Raises
    ------
    OutputError
        A file that the report needs is missing or has changed since the run wrote it.
    """

    def there(name: str, k: int | None = None) -> Path | None:
        return output.intact(name, k) if output.has(name, k) else None

    settings = resolved(read_yaml(output.intact("config")))
    options = settings["report"]
    fits = [
        FitFiles(
            factorization=output.intact("fit", k),
            components=output.intact("components", k),
            labels_table=output.intact("dseg_tsv", k),
            loadings=output.intact("loadings", k),
            montage=there("montage", k),
            parts=there("parts", k),
            associations=there("associations", k),
            regions=there("regions", k),
            reliability=there("reliability_tsv", k),
            reliability_map=there("reliability", k),
            shown=_on_atlas(output.path("components", k)),
        )
        for k in output.ks
    ]
    compared = {} if fits else read_json(output.intact("fits"))
    output.intact("metrics_json")
    for k in output.ks:
        there("associations_json", k)
        there("reliability_json", k)
    selection = SelectionFiles(
        output.intact("metrics"),
        choice=there("selection"),
        errors=there("errors_figure"),
        reproducibility=there("reproducibility_figure"),
        hierarchy=there("hierarchy_figure"),
    )
    assessed = output.has("subjects")
    names = ("mean", "sd", "coverage", "subjects")
    placed = [_on_atlas(output.path("dseg", k)) for k in output.ks]
    shown_mask = next(filter(None, placed), output.path("mask"))
    quality = CohortFiles(*map(output.intact, names)) if assessed else None
    with TemporaryDirectory() as folder:
        page = make_report(
            selection,
            fits,
            output.intact("mask"),
            Path(folder) / "report.html",
            compared=list(compared.values()),
            cohort_file=output.intact("cohort"),
            quality=quality,
            runs=output.runs,
            settings=settings_yaml(shown_settings(settings)),
            on_template=drawn_on_template(
                options["background"],
                output.space,
                in_standard_space=open_mask(shown_mask).in_standard_space,
            ),
            mesh_file=Path(options["mesh"]) if options.get("mesh") else None,  # new in 0.2
            figures=options["figures"],
        )
        return output.publish("report", page)


def _on_atlas(path: Path) -> Path | None:
    """Return the map that shows a map of a table on an atlas; None if there is none."""
    return space_of(path).images.copies(path).get("")
