"""Settings of the engine, and of the machines and devices that it may use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from opnmf_pipeline.config.section import MOST_PROCESSES, Section

__all__ = ["DaskConfig", "ExecutionConfig"]


class DaskConfig(Section):
    """A Dask cluster that makes the passes over the matrix."""

    address: str | None = Field(
        None,
        description="Address of a Dask scheduler that is running, such as `tcp://node1:8786`.",
    )
    cluster: Literal["local", "htcondor", "lsf", "pbs", "sge", "slurm"] | None = Field(
        None,
        description="Cluster that is started for the run: local: processes on this machine; the "
        "others: jobs of this batch system (dask-jobqueue).",
    )
    n_workers: int = Field(
        2,
        ge=1,
        le=MOST_PROCESSES,
        description="Number of workers of `cluster`. Each holds its share of the matrix in memory.",
    )
    options: dict[str, Any] = Field(
        {},
        description="Arguments of the class of `cluster` in distributed or dask-jobqueue, such as "
        "`{cores: 8, memory: 32GB, walltime: '02:00:00'}`.",
    )

    @model_validator(mode="after")
    def _found_or_started(self) -> DaskConfig:
        if (self.address is None) == (self.cluster is None):
            raise ValueError("set `address` or `cluster`, one of the two")
        if self.address is not None and self.model_fields_set & {"n_workers", "options"}:
            raise ValueError("`n_workers` and `options` require `cluster`")
        return self


class ExecutionConfig(Section):
    """Which engine runs the stages, and which resources it may use."""

    engine: Literal["local", "nipype", "pydra"] = Field(
        "local",
        description="local: runs without a workflow engine; nipype: runs as a Nipype workflow; "
        "pydra: runs as a Pydra workflow.",
    )
    plugin: str | None = Field(
        None,
        description="Nipype plugin (default: MultiProc) or Pydra worker (default: cf).",
    )
    plugin_args: dict[str, Any] = Field(
        {}, description="Arguments of the Nipype plugin or Pydra worker."
    )
    n_procs: int | None = Field(
        None,
        ge=1,
        le=MOST_PROCESSES,
        description="Number of processes and threads. Default: all CPUs available to the process.",
    )
    omp_nthreads: int | None = Field(
        None,
        ge=1,
        le=MOST_PROCESSES,
        description="Maximum number of threads of one fit. Default: `n_procs` divided among the "
        "fits that run in parallel.",
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Memory limit, in GB (2**30 bytes). Default: the memory available to the job "
        "(the limit of the cgroup or of the Slurm job, otherwise the total memory of the machine).",
    )
    stop_on_first_crash: bool = Field(
        False,
        description="Stop at the first error. By default, stages that do not depend on the failed "
        "stage are completed. The engine pydra always completes them.",
    )
    resource_monitor: bool = Field(
        False,
        description="Write the memory and CPU use of the run, once per second, to "
        "logs/resources.tsv. Jobs that a scheduler runs on other machines are not included.",
    )
    work_dir: Path | None = Field(
        None,
        description="Folder of intermediate results. Default: `work` in output.dir.",
    )
    dask: DaskConfig | None = Field(
        None,
        description="Dask cluster whose workers read the images, hold the matrix and make the "
        "passes of the fits with maps and of candidates; all other work stays in this process. The "
        "workers must see the images and `work_dir`.",
    )

    device: str | None = Field(
        None,
        min_length=1,
        description="Device of torch, such as `cuda` or `cuda:1`, that makes the matrix products "
        "of the fits with maps and of candidates; all other work stays on the processor.",
    )

    @model_validator(mode="after")
    def _fits_elsewhere(self) -> ExecutionConfig:
        for name in "dask", "device":
            if getattr(self, name) is not None and self.engine != "local":
                raise ValueError(f"`{name}` requires `engine: local`; remove one of the two")
        if self.dask is not None and self.device is not None:
            raise ValueError("`dask` and `device` cannot be combined; remove one of the two")
        return self
