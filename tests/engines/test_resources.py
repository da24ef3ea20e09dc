"""What a run may use: processors, threads and memory, as Linux and Slurm say it."""

import joblib
import psutil
import pytest

from opnmf_pipeline.config import ExecutionConfig, PipelineConfig
from opnmf_pipeline.engines import resources
from opnmf_pipeline.engines.resources import available_memory, n_procs_of, n_threads_of, threads_of
from opnmf_pipeline.engines.steps import steps_of

MIB = 2**20
MACHINE = 64 * 1024 * MIB
SLURM = ("CPUS_PER_TASK", "MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """16 processors and 64 GiB, no control groups and no Slurm."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    memory = psutil.virtual_memory()._replace(total=MACHINE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(resources, "CGROUP_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "CGROUP_ROOT", tmp_path / "sys")
    for name in SLURM:
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


@pytest.fixture
def groups(tmp_path):
    """Return a function that writes the groups of the process, and the limits of groups."""

    def write(of_process, limits):
        (tmp_path / "cgroup").write_text(of_process)
        for name, limit in limits.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{limit}\n")

    return write


def test_without_limits_the_machine_is_one():
    assert available_memory() == MACHINE


@pytest.mark.parametrize(
    ("of_process", "limits", "expected"),
    [
        # version 2: one hierarchy
        ("0::/user/job\n", {"user/job/memory.max": 512 * MIB}, 512 * MIB),
        ("0::/user/job\n", {"user/job/memory.max": "max"}, MACHINE),
        (
            "0::/user/job\n",
            {"user/job/memory.max": 900 * MIB, "user/memory.max": 300 * MIB},
            300 * MIB,
        ),
        (
            "0::/user/job\n",
            {"user/job/memory.max": "max", "user/memory.max": 300 * MIB},
            300 * MIB,
        ),
        ("0::/\n", {"memory.max": 700 * MIB}, 700 * MIB),  # a container sees its group as the root
        ("0::/user/job\n", {"user/other/memory.max": MIB}, MACHINE),
        # version 1: a hierarchy for each controller, and a huge number for no limit
        (
            "5:cpu,cpuacct:/job\n4:memory:/job\n",
            {"memory/job/memory.limit_in_bytes": 256 * MIB},
            256 * MIB,
        ),
        (
            "4:memory:/a/b\n",
            {
                "memory/a/b/memory.limit_in_bytes": 9223372036854771712,
                "memory/a/memory.limit_in_bytes": 400 * MIB,
            },
            400 * MIB,
        ),
        ("5:hugetlb,memory:/job\n", {"memory/job/memory.limit_in_bytes": MIB}, MIB),
        (
            "5:cpu,cpuacct:/other\n4:memory:/job\n",
            {"memory/other/memory.limit_in_bytes": MIB},
            MACHINE,
        ),
        # both: what the memory controller has is in version 1
        (
            "4:memory:/job\n0::/init\n",
            {"memory/job/memory.limit_in_bytes": 128 * MIB},
            128 * MIB,
        ),
    ],
)
def test_limits_of_control_groups(groups, of_process, limits, expected):
    groups(of_process, limits)
    assert available_memory() == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MEM_PER_NODE": "2048"}, 2048 * MIB),  # Slurm counts in MiB
        ({"MEM_PER_CPU": "1000", "CPUS_ON_NODE": "4"}, 4000 * MIB),
        ({"MEM_PER_CPU": "1000"}, MACHINE),
        ({"MEM_PER_NODE": "0"}, MACHINE),  # --mem=0: all of the node
        ({"MEM_PER_NODE": "999999999"}, MACHINE),
    ],
)
def test_memory_that_slurm_has_given(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert available_memory() == expected


def test_the_smallest_limit_counts(monkeypatch, groups):
    groups("0::/job\n", {"job/memory.max": 900 * MIB})
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "800")
    assert available_memory() == 800 * MIB
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    assert available_memory() == 900 * MIB


@pytest.mark.parametrize(
    ("given", "n_procs", "expected"),
    [
        ("", None, 16),
        ("4", None, 4),
        ("0", None, 16),
        ("99", None, 16),
        ("4", 8, 8),  # the setting has the last word
    ],
)
def test_processes(monkeypatch, given, n_procs, expected):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert n_procs_of(ExecutionConfig(n_procs=n_procs)) == expected


@pytest.mark.parametrize(
    ("n_procs", "omp_nthreads", "expected"), [(8, None, 8), (8, 3, 3), (2, 5, 2)]
)
def test_threads_of_a_fit(n_procs, omp_nthreads, expected):
    assert n_threads_of(ExecutionConfig(n_procs=n_procs, omp_nthreads=omp_nthreads)) == expected


def test_the_fits_of_a_step_share_the_processes():
    config = PipelineConfig.model_validate(
        {
            "inputs": {"bids": "data"},
            "decomposition": {"n_components": [2, 3, 4]},
            "selection": {"n_splits": 4},
        }
    )
    steps = {step.name: step for step in steps_of(config)}
    execution = ExecutionConfig(n_procs=13)
    threads = {name: threads_of(steps[name], execution) for name in steps}
    assert threads["decompose"] == 13 // 3
    assert threads["halves"] == 1  # 12 fits
    assert threads["mask"] == 13
    limited = ExecutionConfig(n_procs=13, omp_nthreads=2)
    assert threads_of(steps["decompose"], limited) == 2
    assert threads_of(steps["mask"], limited) == 13
    assert threads_of(steps["halves"], ExecutionConfig(n_procs=2)) == 1
