"""The dataset of a comparison of models: tables, figures and a report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from opnmf_pipeline import __version__
from opnmf_pipeline.dataset.description import (
    BIDSIGNORE,
    COMPARISON_NAME,
    dataset_description,
    is_ours,
    json_text,
)
from opnmf_pipeline.dataset.folder import FOREIGN_MSG, Dataset
from opnmf_pipeline.exceptions import ModelError, OutputError
from opnmf_pipeline.images.matrices import is_matrix
from opnmf_pipeline.images.surfaces.names import without_mark
from opnmf_pipeline.logs import library_versions
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.reporting.comparison import ComparisonFacts, PairFacts, render_comparison
from opnmf_pipeline.reporting.figure import Figure, part_colours
from opnmf_pipeline.selection.comparison import (
    MATCH_COLUMNS,
    MEASURES,
    OVERLAP_COLUMNS,
    PAIR_COLUMNS,
)
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.comparison import (
    Common,
    NamedModel,
    Pair,
    common_rows,
    compare_models,
)
from opnmf_pipeline.stages.imports import model_files
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.spaces import space_of
from opnmf_pipeline.tables import table_text

__all__ = ["Compared", "compare", "named_models"]

ONE_MODEL_MSG = (
    "{name} is the only model; give two or more, such as two folders, or one folder with models "
    "for several numbers of components"
)
TWICE_MSG = "{source}: was given twice; a model is compared with others, so give it once"
FULL_MSG = (
    "{root}: contains results; choose another folder (--output), or pass --overwrite to replace a "
    "comparison"
)
OF_A_RUN_MSG = "{root}: contains a run, whose report would be replaced; choose another folder"
PAIR_NAMES = {
    "model_a": "Name of A, the model with fewer components",
    "model_b": "Name of B",
}
MODEL_COLUMNS = {
    "name": "Name of the model",
    "n_components": "Number of components",
    "compared": "Share of its places, on the common grid, that all models have",
    "resampled": "Whether it was on another grid",
    "sha256": "SHA-256 of its component maps",
}


@dataclass(frozen=True)
class Compared:
    """Result of a comparison.

    Attributes
    ----------
    models : DataFrame
        The models.
    agreement : DataFrame
        One row per pair of models.
    output : Dataset
        The output dataset.
    """

    models: pd.DataFrame
    agreement: pd.DataFrame
    output: Dataset


def named_models(
    sources: Sequence[Path],
    n_components: Sequence[int] | None = None,
    *,
    mask: Path | None = None,
) -> list[NamedModel]:
    """Load all models of several folders or files, each with a unique name.

    Parameters
    ----------
    sources : sequence of path
        Sources of models; see :meth:`opnmf_pipeline.stages.model.Model.load`.
    n_components : sequence of int, optional
        Numbers of components. Default: all that each folder has.
    mask : path, optional
        Mask of all sources that are a matrix W.

    Raises
    ------
    ModelError
        A model cannot be read, or there is only one.
    """
    found: list[tuple[Path, Model]] = []
    for source in sources:
        if sources.count(source) > 1:
            raise ModelError(TWICE_MSG.format(source=source))
        files = model_files(source, mask if is_matrix(source) else None)
        wanted = [k for k in files if n_components is None or k in n_components]
        found += [(source, Model.of_file(files[k])) for k in wanted]
    ks = [model.n_components for _, model in found]
    short, whole = (
        [f"{name(source)}, k = {k}" for (source, _), k in zip(found, ks, strict=True)]
        for name in (_stem, str)
    )
    names = short if len(set(short)) == len(short) else whole
    if len(found) < 2:
        raise ModelError(ONE_MODEL_MSG.format(name=", ".join(names) or "no model"))
    return [NamedModel(name, model) for name, (_, model) in zip(names, found, strict=True)]


def _stem(source: Path) -> str:
    return without_mark(source).partition(".")[0]


def compare(
    models: Sequence[NamedModel],
    root: Path,
    display: Display | None = None,
    *,
    n_null: int = 20,
    overwrite: bool = False,
) -> Compared:
    """Compare each pair of models, and write tables, figures and a report.

    Parameters
    ----------
    models : sequence of NamedModel
        Two or more models in one space.
    root : path
        Output folder.
    display : Display, optional
        Shows progress. Default: nothing is shown.
    n_null : int
        Number of random pairs for the agreement by chance; 0 for none.
    overwrite : bool
        Replace a comparison in the output folder.

    Raises
    ------
    ModelError
        The models cannot be compared.
    OutputError
        The output folder contains other files.
    """
    display = display or SilentDisplay()
    output = _writable(root, overwrite=overwrite)
    with TemporaryDirectory() as folder, _Messages() as messages:
        common = common_rows(models, Path(folder))
        display.note(f"common {common.mask.grid.elements}: {int(common.mask.inside.sum())}")
        pairs = compare_models(common, n_null, track=display.track)
        table = pd.DataFrame(
            {
                "name": [one.name for one in models],
                "n_components": [one.model.n_components for one in models],
                "compared": common.kept,
                "resampled": common.resampled,
                "sha256": [one.model.sha256 for one in models],
            }
        )
        page = render_comparison(
            ComparisonFacts(
                models=table.drop(columns="sha256"),
                grid=str(common.mask.grid),
                elements=common.mask.grid.elements,
                n_rows=int(common.mask.inside.sum()),
                n_null=n_null,
                measures=MEASURES,
                messages=messages.texts,
                pairs=[_facts(pair, models, common, Path(folder)) for pair in pairs],
                versions={"opnmf-pipeline": __version__, **library_versions()},
            )
        )
    return Compared(table, _write(output, models, table, pairs, page), output)


class _Messages(logging.Handler):
    """Keeps the warnings of the package, for the report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self) -> _Messages:
        logging.getLogger("opnmf_pipeline").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("opnmf_pipeline").removeHandler(self)


def _writable(root: Path, *, overwrite: bool) -> Dataset:
    """Return the output dataset; refuse a folder with other files."""
    output = Dataset(root)
    output.require_writable()
    if root.exists() and any(root.iterdir()):
        if not is_ours(root):
            raise OutputError(FOREIGN_MSG.format(root=root))
        if output.path("registry").exists():
            raise OutputError(OF_A_RUN_MSG.format(root=root))
        if not overwrite:
            raise OutputError(FULL_MSG.format(root=root))
    return output


def _write(
    output: Dataset,
    models: Sequence[NamedModel],
    table: pd.DataFrame,
    pairs: Sequence[Pair],
    page: str,
) -> pd.DataFrame:
    """Write all files; return the table of agreement."""
    names = [{"model_a": models[pair.a].name, "model_b": models[pair.b].name} for pair in pairs]
    agreement = pd.DataFrame(
        [{**name, **pair.found.measures} for name, pair in zip(names, pairs, strict=True)]
    )
    matches, overlaps = (
        pd.concat(
            [
                getattr(pair.found, kind).assign(**name)[[*name, *getattr(pair.found, kind)]]
                for name, pair in zip(names, pairs, strict=True)
            ],
            ignore_index=True,
        )
        for kind in ("matches", "overlaps")
    )
    output.write_text("dataset", dataset_description({"inputs": {}}, name=COMPARISON_NAME))
    output.write_text("bidsignore", BIDSIGNORE)
    known = {**PAIR_NAMES, **MODEL_COLUMNS}
    for name, content, columns in (
        ("models", table, MODEL_COLUMNS),
        ("agreement", agreement, PAIR_COLUMNS),
        ("matches", matches, MATCH_COLUMNS),
        ("overlaps", overlaps, OVERLAP_COLUMNS),
    ):
        described = {**known, **columns}
        output.write_text(name, table_text(content))
        output.write_text(
            f"{name}_json",
            json_text({str(one): {"Description": described[str(one)]} for one in content}),
        )
    output.write_text("report", page)
    return agreement


def _facts(pair: Pair, models: Sequence[NamedModel], common: Common, folder: Path) -> PairFacts:
    names = models[pair.a].name, models[pair.b].name
    return PairFacts(
        name_a=names[0],
        name_b=names[1],
        measures=pair.found.measures,
        matches=pair.found.matches,
        overlaps=pair.found.overlaps,
        parts=_draw(pair, names, common, folder),
    )


def _draw(pair: Pair, names: tuple[str, str], common: Common, folder: Path) -> list[Figure]:
    """Draw the parts of both models; those of B have the colours of their partners in A."""
    k_a, k_b = (common.weights[number].shape[1] for number in (pair.a, pair.b))
    matches = pair.found.matches
    matched = matches.dropna(subset="component_a").sort_values("component_a")["component_b"]
    single = matches.loc[matches["component_a"].isna(), "component_b"]
    orders = np.arange(1, k_a + 1), np.array([*matched, *single])
    alike = part_colours(k_a) == part_colours(k_b)[:k_a]
    pictures = space_of(common.mask_file).pictures
    if common.mask.in_standard_space:
        background = pictures.template_image()
    else:
        n_rows = int(common.mask.inside.sum())
        background = common.mask.unmasked(np.ones(n_rows, dtype=np.float32))
    endings = space_of(common.mask_file).images.ENDINGS
    figures = []
    for letter, name, number, order in zip("AB", names, (pair.a, pair.b), orders, strict=True):
        labels = winner_takes_all(common.weights[number][:, order - 1])
        file, picture = folder / f"dseg{endings['labels']}", folder / "dseg.png"
        common.mask.write_labels(labels, part_colours(len(order)), file)
        titles = [f"component {component}" for component in order]
        pictures.draw_parts(file, titles, background, picture)
        partners = " Matched parts of A and B have one colour." if alike and letter == "B" else ""
        figures.append(
            Figure(
                picture.read_bytes(),
                alt=f"Parts of {name}",
                caption=f"{letter}: parts of {name}.{partners}",
            )
        )
    return figures
