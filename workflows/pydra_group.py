#!/usr/bin/env python3
"""From a BIDS folder to component maps: a Pydra workflow to start one of your own from.

    python workflows/pydra_group.py BIDS_DIR CONFIG OUTPUT_DIR --nprocs 2

CONFIG is a YAML file of settings as for `opnmf-pipeline run`; BIDS_DIR takes the place of
`inputs.bids` in it. Run it again after a change, and only what depends on the change is computed.
"""

import argparse
import shutil
from pathlib import Path

from pydra.compose import workflow

from opnmf_pipeline import __version__
from opnmf_pipeline.config import load_config
from opnmf_pipeline.engines.pydra import OpnmfWorkflow, workflow_settings
from opnmf_pipeline.nodes.pydra import CollectCohort


@workflow.define(outputs=["maps_dirs", "mask_file", "metrics_file", "metrics_json"])
def GroupWorkflow(cohort: dict, settings: dict):
    """Collect the images and find components."""
    found = workflow.add(CollectCohort(**cohort))
    opnmf = workflow.add(
        OpnmfWorkflow(images=found.images, participants=found.participants, **settings)
    )
    return opnmf.maps_dirs, opnmf.mask_file, opnmf.metrics_file, opnmf.metrics_json


def main():
    """Read the arguments, run, and copy what was found."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("bids_dir", type=Path, help="BIDS dataset of preprocessed images")
    parser.add_argument("config", type=Path, help="YAML file of settings")
    parser.add_argument("output_dir", type=Path, help="folder for maps and tables")
    parser.add_argument("--nprocs", type=int, default=2, help="processes to use")
    args = parser.parse_args()
    bids_dir, output_dir = args.bids_dir.resolve(), args.output_dir.resolve()
    config = load_config(args.config, [f"inputs.bids={bids_dir}"])
    cohort = {"bids": str(bids_dir), "filters": config.inputs.filters}
    task = GroupWorkflow(cohort=cohort, settings=workflow_settings(config))
    # Pydra caches by inputs and not by our code: a new version computes anew
    cache_root = output_dir / f"work-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    outputs = task(worker="cf", n_procs=args.nprocs, cache_root=cache_root)
    for k, folder in zip(config.decomposition.n_components, outputs.maps_dirs, strict=True):
        shutil.copytree(folder, output_dir / "group" / f"k-{k}", dirs_exist_ok=True)
    for file in (outputs.mask_file, outputs.metrics_file, outputs.metrics_json):
        shutil.copy(file, output_dir / "group")


if __name__ == "__main__":
    main()
