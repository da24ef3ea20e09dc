"""Time to index a dataset and find its cohort, compared with pybids if it is installed.

``python -m benchmarks.indexing`` writes datasets of empty files with the file names of fMRIPrep,
and prints the tables of INDEXING.md.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.report import machine
from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.images.bids import find_images
from opnmf_pipeline.images.cohort import find_cohort

SPACE = "space-MNI152NLin2009cAsym_res-2"
FILES = (
    "{s}_desc-preproc_T1w.nii.gz",
    "{s}_desc-preproc_T1w.json",
    "{s}_desc-brain_mask.nii.gz",
    "{s}_dseg.nii.gz",
    "{s}_label-GM_probseg.nii.gz",
    "{s}_label-WM_probseg.nii.gz",
    "{s}_label-CSF_probseg.nii.gz",
    f"{{s}}_{SPACE}_desc-preproc_T1w.nii.gz",
    f"{{s}}_{SPACE}_desc-preproc_T1w.json",
    f"{{s}}_{SPACE}_desc-brain_mask.nii.gz",
    f"{{s}}_{SPACE}_label-GM_probseg.nii.gz",
    f"{{s}}_{SPACE}_label-WM_probseg.nii.gz",
    f"{{s}}_{SPACE}_label-CSF_probseg.nii.gz",
    "{s}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
    "{s}_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5",
    "{s}_hemi-L_thickness.shape.gii",
    "{s}_hemi-R_thickness.shape.gii",
)
PYBIDS_SUBJECTS = 2_000
"""Number of subjects of the largest dataset that pybids indexes."""
FILTERS = {"label": "GM", "suffix": "probseg", "space": "MNI152NLin2009cAsym"}
PYBIDS = """
import sys, time
from bids import BIDSLayout
from bids.layout import BIDSLayoutIndexer
start = time.perf_counter(), time.process_time()
indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
layout = BIDSLayout(sys.argv[1], indexer=indexer, is_derivative=True)
images = layout.get(label="GM", suffix="probseg", space="MNI152NLin2009cAsym", extension=".nii.gz")
print(len(images), time.perf_counter() - start[0], time.process_time() - start[1])
"""


def write_dataset(root: Path, n_subjects: int) -> None:
    """Write empty files of ``n_subjects``, 17 each, and the table of participants."""
    rows = ["participant_id\tage\tsex"]
    for number in range(n_subjects):
        subject = f"sub-{number:05d}"
        folder = root / subject / "anat"
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name.format(s=subject)).touch()
        rows.append(f"{subject}\t{20 + number % 60}\t{'FM'[number % 2]}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    description = {
        "Name": "synthetic",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "synthetic"}],
    }
    (root / "dataset_description.json").write_text(json.dumps(description))


class Seconds(NamedTuple):
    """Wall-clock and CPU time in seconds; CPU time is more reliable on a shared machine."""

    wall: float
    cpu: float


def seconds(call: Callable[[], object]) -> Seconds:
    start = Seconds(time.perf_counter(), time.process_time())
    call()
    return Seconds(time.perf_counter() - start.wall, time.process_time() - start.cpu)


def measure(root: Path, n_subjects: int, index_dir: Path) -> dict[str, Seconds]:
    """Return the seconds of each method; the file names are in the disk cache."""
    whole = InputsConfig(bids=root, filters=FILTERS)
    kept = InputsConfig(bids=root, filters=FILTERS, database_dir=index_dir)
    one = InputsConfig(bids=root, filters={**FILTERS, "sub": "00007"})
    find_images(root, {**FILTERS, "sub": "00001"})  # imports
    times = {
        "index, images only": seconds(lambda: find_images(root, FILTERS)),
        "index and cohort": seconds(lambda: find_cohort(whole)),
        "index and cohort, index is stored": seconds(lambda: find_cohort(kept)),
        "cohort from the stored index": seconds(lambda: find_cohort(kept)),
        "cohort of one subject": seconds(lambda: find_cohort(one)),
    }
    assert len(find_cohort(kept)[0]) == n_subjects
    return times


def pybids_seconds(root: Path, n_subjects: int) -> Seconds:
    """Return the seconds of pybids, measured in a separate process."""
    command = [sys.executable, "-c", PYBIDS, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, wall, cpu = done.stdout.split()[-3:]
    assert int(number) == n_subjects
    return Seconds(float(wall), float(cpu))


def main() -> None:
    """Print a table of seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexing", description=__doc__)
    parser.add_argument("--subjects", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--folder", type=Path, help="folder to write the datasets in")
    args = parser.parse_args()
    columns: dict[int, dict[str, Seconds]] = {}
    for n_subjects in args.subjects:
        with TemporaryDirectory(dir=args.folder) as folder:
            root = Path(folder) / "fmriprep"
            write_dataset(root, n_subjects)
            columns[n_subjects] = measure(root, n_subjects, Path(folder) / "index")
            if importlib.util.find_spec("bids") and n_subjects <= PYBIDS_SUBJECTS:
                columns[n_subjects]["pybids, images only"] = pybids_seconds(root, n_subjects)
            shutil.rmtree(root)
    print("\n".join(f"* {line}" for line in machine()))
    head = " | ".join(f"{n_subjects:,} subjects" for n_subjects in columns)
    print(f"\n| wall-clock seconds (CPU seconds) | {head} |")
    print("| --- |" + " --- |" * len(columns))
    for name in columns[args.subjects[0]]:
        found = [times.get(name) for times in columns.values()]
        cells = ["n/a" if one is None else f"{one.wall:.2f} ({one.cpu:.2f})" for one in found]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
