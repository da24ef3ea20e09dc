"""Stage ``collect``: from a dataset, a table or a pattern to ``cohort.tsv``."""

from __future__ import annotations

import logging
from pathlib import Path

from opnmf_pipeline.config import InputsConfig, SimulationConfig
from opnmf_pipeline.images.cohort import find_cohort, write_cohort
from opnmf_pipeline.images.simulation import simulate_cohort

__all__ = ["collect_cohort", "simulate", "simulated_inputs"]

logger = logging.getLogger(__name__)


def collect_cohort(options: InputsConfig, out_file: Path) -> Path:
    """Pair every subject with its image and write the table of the cohort.

    Parameters
    ----------
    options : InputsConfig
        Names a BIDS dataset, a table or a glob pattern.
    out_file : path
        TSV to write: ``participant_id``, ``image`` (absolute path), covariates.

    Returns
    -------
    path
        ``out_file``.

    Raises
    ------
    CohortError
        See :func:`opnmf_pipeline.images.cohort.find_cohort`.
    """
    cohort, dropped = find_cohort(options)
    if dropped:
        logger.warning("%d subject(s) without an image left out: %s", len(dropped), dropped)
    logger.info("cohort of %d subjects", len(cohort))
    write_cohort(cohort, out_file)
    return out_file


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
    """Return the inputs that name a cohort of :func:`simulate`."""
    return InputsConfig(bids=folder, filters={"label": "GM", "suffix": "probseg"})
