"""The Dask cluster of a run: found at an address, or started for the run and closed after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import DaskConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.reading import read_elsewhere

__all__ = ["reading_on", "started"]

CLASSES = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
"""Classes of dask-jobqueue by the name of the batch system."""

NOT_INSTALLED_MSG = (
    'execution.dask: {name} is not installed; install it with pip install "opnmf-pipeline[dask]"'
)
NO_COMMAND_MSG = (
    "execution.dask.cluster: {kind}: this machine has no command {command}; start the run on a "
    "machine that can submit jobs, or set another cluster"
)
OPTIONS_MSG = "execution.dask.options: {kind}: {error}"
WAITING_MSG = "waiting until {n} Dask worker(s) have started ({kind})"


@contextmanager
def started(settings: DaskConfig, log_dir: Path, note: Callable[[str], None]) -> Iterator[str]:
    """Yield the address of a scheduler, whose cluster is closed at the end if the run started it.

    Parameters
    ----------
    settings : DaskConfig
        The cluster.
    log_dir : path
        Folder that gets the logs of the jobs of a batch system.
    note : callable
        Shows a line to the user: jobs may wait long in a queue.

    Raises
    ------
    ConfigError
        Dask or the batch system is not installed, or the cluster has no such option.
    """
    try:
        from distributed import Client

        cluster = None if settings.address else _cluster(settings, log_dir)
    except ModuleNotFoundError as error:
        raise ConfigError(NOT_INSTALLED_MSG.format(name=error.name)) from error
    except (TypeError, ValueError, RuntimeError) as error:  # so both Dask packages check options
        cause = error.__cause__ or error
        message = OPTIONS_MSG.format(kind=settings.cluster, error=cause)
        raise ConfigError(message) from error
    if cluster is None:
        yield str(settings.address)
        return
    with cluster, Client(cluster, set_as_default=False) as client:
        note(WAITING_MSG.format(n=settings.n_workers, kind=settings.cluster))
        client.wait_for_workers(settings.n_workers)
        yield cluster.scheduler_address


@contextmanager
def reading_on(address: str) -> Iterator[None]:
    """Have the workers of a scheduler read the images inside the with block, if they are many."""
    from opnmf_pipeline.decomposition.crew import Crew, connected

    with connected(address) as client, read_elsewhere(Crew(client, n_rows=1).each):
        yield


def _cluster(settings: DaskConfig, log_dir: Path) -> Any:
    """Return a new cluster, whose workers may not be there yet."""
    if settings.cluster == "local":
        from distributed import LocalCluster

        # any free port: a second run on this machine would get a warning
        options = {"dashboard_address": ":0", **settings.options}
        return LocalCluster(n_workers=settings.n_workers, **options)
    import dask_jobqueue

    kind = getattr(dask_jobqueue, CLASSES[str(settings.cluster)])
    command = kind.job_cls.submit_command.split()[0]
    if shutil.which(command) is None:  # else the run would wait for workers without end
        raise ConfigError(NO_COMMAND_MSG.format(kind=settings.cluster, command=command))
    # one process per job: its threads share the rows of X, and one set of sums leaves it
    cluster = kind(**{"processes": 1, "log_directory": str(log_dir), **settings.options})
    cluster.scale(settings.n_workers)
    return cluster
