#!/usr/bin/env python3
"""Compute component maps of a BIDS folder with Pydra: a template for your own workflow.

    python workflows/pydra_group.py BIDS_DIR CONFIG OUTPUT_DIR --nprocs 2

CONFIG is a YAML file of settings, as for `opnmf-pipeline run`. BIDS_DIR replaces `inputs.bids` in
this file. After a change, a second run computes only what depends on the change.
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
    """Read the arguments, run, and copy the results."""
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
    # Pydra does not notice a new version of the code, so each version has its own folder
    cache_root = output_dir / f"work-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    outputs = task(worker="cf", n_procs=args.nprocs, cache_root=cache_root)
    for k, folder in zip(config.decomposition.n_components, outputs.maps_dirs, strict=True):
        shutil.copytree(folder, output_dir / "group" / f"k-{k}", dirs_exist_ok=True)
    for file in (outputs.mask_file, outputs.metrics_file, outputs.metrics_json):
        shutil.copy(file, output_dir / "group")


if __name__ == "__main__":
    main()
