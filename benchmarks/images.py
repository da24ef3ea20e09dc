"""Time and memory of a whole run, from images on the disk to the report, for growing cohorts.

``python -m benchmarks.images FOLDER`` writes 1000 images with voxels of 2 mm into FOLDER, if they
are not there, and runs `opnmf-pipeline run` on the first 125, 250, 500 and 1000 of them. The page
cache of the images is dropped before each run. Prints the seconds of each stage, and the largest
memory of all processes of the run together.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from benchmarks.report import machine
from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.images.simulation import simulate_cohort

SIZES = (125, 250, 500, 1000)
LINE = re.compile(r"^(?P<time>\S+ \S+) .*outcome - INFO - (?P<stage>[a-z]+)(, k = \d+)? computed$")
"""The line of the log that says that a stage has ended."""
STEP = 0.1
"""Seconds from one look at the memory to the next."""


def main(argv: list[str] | None = None) -> int:
    """Write the images, run, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.images")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--voxel-size", type=float, default=2.0)
    parser.add_argument("--n-components", type=int, default=20)
    args = parser.parse_args(argv)
    images = cohort(args.folder / "images", max(args.sizes), args.voxel_size)
    print(*machine(), sep="\n")
    found = []
    for n in args.sizes:
        with TemporaryDirectory(dir=args.folder) as folder:
            found.append(run(images[:n], Path(folder), args.n_components))
        print(f"{n} images:", ", ".join(f"{name} {value:.1f}" for name, value in found[-1].items()))
    stages = [name for name in found[-1] if name not in {"memory, MB", "matrix, MB"}]
    for name in stages:
        seconds = [each[name] for each in found]
        slope, offset = np.polyfit(args.sizes, seconds, 1)
        print(f"{name}: {offset:.1f} s + {1000 * slope:.1f} s per 1000 images")
    return 0


def cohort(folder: Path, n_subjects: int, voxel_size: float) -> list[Path]:
    """Return the images of a simulated cohort, which is written if it is not there."""
    if not (folder / "participants.tsv").exists():
        options = SimulationConfig(
            n_subjects=n_subjects, n_components=20, voxel_size=voxel_size, random_state=0
        )
        simulate_cohort(folder, options)
    return sorted(folder.glob("sub-*/anat/*.nii.gz"))


def run(images: list[Path], folder: Path, k: int) -> dict[str, float]:
    """Return the seconds of each stage, and the memory, of a run in a process of its own."""
    table = folder / "cohort.tsv"
    rows = [f"{image.name.split('_')[0]}\t{image}" for image in images]
    table.write_text("\n".join(["participant_id\tpath", *rows]) + "\n")
    for image in images:
        with image.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    settings = [f"inputs.table={table}", "mask.method=mean", "mask.threshold=0.1"]
    settings.append(f"decomposition.n_components={k}")
    config = folder / "config.yaml"
    config.write_text("inputs: {}\n")
    command = [str(Path(sys.executable).with_name("opnmf-pipeline")), "run", str(config)]
    command += ["--output", str(folder / "out"), "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    begin, peak = datetime.now(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)))
            time.sleep(STEP)
    if process.returncode:
        raise SystemExit(process.returncode)
    whole = (datetime.now() - begin).total_seconds()
    matrix = next((folder / "out" / "work").rglob("matrix.npy")).stat().st_size
    log = (folder / "out" / "logs" / "opnmf-pipeline.log").read_text()
    return {
        **stage_seconds(log, begin),
        "whole run": whole,
        "memory, MB": peak / 1e6,
        "matrix, MB": matrix / 1e6,
    }


def memory(process: psutil.Process) -> int:
    """Return the bytes that a process and those that it started hold, shared pages counted once."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total


def stage_seconds(log: str, begin: datetime) -> dict[str, float]:
    """Return the seconds from the end of each stage to the end of the next one."""
    seconds: dict[str, float] = {}
    for line in log.splitlines():
        if found := LINE.match(line):
            end = datetime.fromisoformat(found["time"].replace(",", "."))
            seconds[found["stage"]] = (end - begin).total_seconds()
            begin = end
    return seconds


if __name__ == "__main__":
    sys.exit(main())
