"""Several measures of each subject: their images, and tables of features among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from opnmf_pipeline.config import InputsConfig, PipelineConfig
from opnmf_pipeline.images.measures import image_column
from opnmf_pipeline.stages.spaces import SPACES, space_of

__all__ = ["images_in", "may_have_atlas", "tables_of", "with_tables"]

OF_TABLES = ("features", "feature_names", "features_as")


def images_in(cohort: pd.DataFrame, inputs: InputsConfig) -> list[str]:
    """Return the images of a cohort; with several measures, those of the first measure first."""
    columns = [name for name in ("image", *map(image_column, inputs.names)) if name in cohort]
    return [path for column in columns for path in cohort[column]]


def tables_of(images: Sequence[str], inputs: InputsConfig) -> dict[str, str]:
    """Return the tables of the user that the files of subjects come from, by the path of the file.

    Parameters
    ----------
    images : sequence of str
        Images of :func:`images_in`.
    inputs : InputsConfig
        The settings; without ``features``, nothing is returned.
    """
    parts = [inputs.of_measure(name) for name in inputs.names] or [inputs]
    n_each = len(images) // len(parts)
    return {
        image: ", ".join(map(str, part.features))
        for number, part in enumerate(parts)
        if part.features is not None
        for image in images[number * n_each : (number + 1) * n_each]
    }


def may_have_atlas(config: PipelineConfig, images: Iterable[str]) -> bool:
    """Tell whether an atlas can describe the maps of these images.

    It cannot describe measures of several kinds, such as volumes and surfaces, nor several tables.
    """
    kinds = {id(space_of(path)) for path in images}
    measures = config.matrix.measures
    stacked = measures is not None and measures.stack == "voxels"
    return len(kinds) == 1 and not (stacked and id(SPACES["tables"]) in kinds)


def with_tables(
    inputs: InputsConfig, split: Callable[[InputsConfig], InputsConfig]
) -> InputsConfig:
    """Return the settings ``inputs`` whose measures name one file per subject.

    Parameters
    ----------
    inputs : InputsConfig
        Settings with ``measures``, which may have ``features``.
    split : callable
        Takes the settings of one measure with ``features``, writes one file per subject, and
        returns the settings that name these files.
    """
    measures = []
    for measure in inputs.measures or ():
        one = inputs.of_measure(measure.name)
        if one.features is not None:
            done = split(one)
            tables = {"table": done.table, "path_column": done.path_column}
            measure = measure.model_copy(update={**dict.fromkeys(OF_TABLES), **tables})
        measures.append(measure)
    return inputs.model_copy(update={**dict.fromkeys(OF_TABLES), "measures": tuple(measures)})
