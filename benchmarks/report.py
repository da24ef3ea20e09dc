"""Write the tables of results, with the facts of the machine."""

import os
import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.bounds import BOUNDS
from benchmarks.measure import Measures

Results = dict[str, Measures]


def machine() -> list[str]:
    """Return the facts of the machine, one per line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
    blas = {f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info()}
    return [
        f"Processor: {cpu}, {os.cpu_count()} cores",
        f"System: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"NumPy {np.__version__}, {', '.join(sorted(blas))}",
    ]


def bounds_table(results: Results) -> str:
    """Return the table of bounds: one row per bound, one column per case; ✗ means missed."""
    head = ["bound", *results]
    rows = [
        [
            f"{bound.text} {bound.sign} {bound.limit:g}",
            *(_cell(*bound.check(found)) for found in results.values()),
        ]
        for bound in BOUNDS
    ]
    return _table(head, rows)


def measures_table(results: Results) -> str:
    """Return the table of all measures."""
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    head = ["measure", *results]
    rows = [
        [name, *(f"{found[name]:.5g}" if name in found else "n/a" for found in results.values())]
        for name in names
    ]
    return _table(head, rows)


def write(
    results: Results, slopes: dict[str, float], command: str, notes: list[str], path: Path
) -> None:
    """Write ``README.md``."""
    sections = [
        "# Benchmarks",
        f"Made by `{command}`.",
        "\n".join(f"* {line}" for line in [*machine(), *notes]),
        "## Bounds",
        "✗: the bound was missed. n/a: not measured.",
        bounds_table(results),
        "## Cost of one iteration",
        "Exponents of power laws: "
        + ", ".join(f"{name} {value:.2f}" for name, value in slopes.items())
        + ".",
        "![seconds per iteration](scaling.png)",
        "## Measures",
        measures_table(results),
    ]
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _cell(value: float | None, kept: bool | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" + ("" if kept else " ✗")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
