"""Stage ``collect``: from a BIDS dataset, a table or a glob pattern to ``cohort.tsv``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import InputsConfig, SimulationConfig
from opnmf_pipeline.dataset.description import participants_json, read_json
from opnmf_pipeline.dataset.names import OUTPUTS
from opnmf_pipeline.images.bids import mixed_entities
from opnmf_pipeline.images.cohort import find_cohort, read_cohort, row_names
from opnmf_pipeline.images.measures import find_measures, images_of
from opnmf_pipeline.images.simulation import simulate_cohort
from opnmf_pipeline.stages.stage import IMAGES, PARTICIPANTS, Call, Field, Kind, Stage
from opnmf_pipeline.tables import cut_off, write_table

__all__ = ["COHORT_FILE", "COLLECT_COHORT", "collect_cohort", "simulate", "simulated_inputs"]

logger = logging.getLogger(__name__)

MIXED_MSG = (
    "the file names of the images have different entities (%s); if these images must not be "
    "compared, select some of them with inputs.filters"
)


def collect_cohort(options: InputsConfig, out_file: Path) -> Path:
    """Pair every subject with its image and write the table of the cohort.

    Parameters
    ----------
    options : InputsConfig
        Names a BIDS dataset, a table or a glob pattern.
    out_file : path
        TSV to write: ``participant_id``, ``image`` (absolute path), covariates. With several
        measures, ``image_NAME`` of each of them takes the place of ``image``.

    Returns
    -------
    path
        ``out_file``.

    Raises
    ------
    CohortError
        See :func:`opnmf_pipeline.images.cohort.find_cohort`.
    FileError
        ``dataset_description.json`` or ``participants.json`` contains no JSON object.
    """
    if options.measures is None:
        cohort, dropped = find_cohort(options)
        images = [cohort["image"].tolist()]
    else:
        cohort, dropped = find_measures(options)
        images = [images_of(cohort, name) for name in options.names]
    if dropped:
        logger.warning("left out %d subject(s) without an image: %s", len(dropped), dropped)
    for mixed in filter(None, map(mixed_entities, images)):
        logger.warning(MIXED_MSG, mixed)
    _check_metadata(options)
    for name in cohort:
        if cut := cut_off(cohort[name]):
            logger.warning("%s: %d value(s) such as %s are read as %d", name, *cut)
    logger.info("cohort of %d subjects", len(cohort))
    write_table(cohort, out_file)
    return out_file


def _check_metadata(options: InputsConfig) -> None:
    """Read the files that the output dataset quotes: an error at the end of a run is too late."""
    if (descriptions := participants_json(options)) is not None:
        read_json(descriptions)
    if options.bids is not None:
        read_json(options.bids / OUTPUTS["dataset"].path)


def simulate(options: SimulationConfig, out_dir: Path) -> Path:
    """Simulate a cohort.

    Parameters
    ----------
    options : SimulationConfig
        Size and noise of the cohort.
    out_dir : path
        BIDS derivatives dataset to write.

    Returns
    -------
    path
        ``out_dir``.
    """
    simulate_cohort(out_dir, options)
    return out_dir


def simulated_inputs(folder: Path) -> InputsConfig:
    """Return the settings ``inputs`` for a cohort that :func:`simulate` wrote to a folder."""
    return InputsConfig(bids=folder, filters={"label": ["GM"], "suffix": ["probseg"]})


def _run(call: Call) -> dict[str, Any]:
    cohort_file = collect_cohort(call.section(InputsConfig), call.folder / "cohort.tsv")
    cohort = read_cohort(cohort_file)
    images, participants = cohort["image"].tolist(), row_names(cohort)
    return {"cohort_file": cohort_file, "images": images, "participants": participants}


COHORT_FILE = Field(Kind.TABLE, "table of the subjects: participant_id, image, covariates (TSV)")

COLLECT_COHORT = Stage(
    name="CollectCohort",
    summary="Pair every subject with its image.",
    run=_run,
    folder="cohort",
    inputs={},
    outputs={"cohort_file": COHORT_FILE, "images": IMAGES, "participants": PARTICIPANTS},
    settings={
        InputsConfig: (
            *("simulation", "features", "feature_names", "features_as"),  # other stages
            "masks",  # belong to the stage mask
            "measures",  # one call for each of them
            "on_empty",  # the mask is not known yet
            "on_missing_covariate",  # nor is the adjustment
        )
    },
    kinds={"bids": Kind.PLACE, "database_dir": Kind.PLACE, "glob": Kind.TEXT},
    exclusive=("bids", "table", "glob"),
    requires={"filters": "bids"},
    cached=False,  # a cache would not notice new files in the folder of the user
)
