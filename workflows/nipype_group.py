#!/usr/bin/env python3
"""Compute component maps of a BIDS folder with Nipype: a template for your own workflow.

    python workflows/nipype_group.py BIDS_DIR CONFIG OUTPUT_DIR --nprocs 2

CONFIG is a YAML file of settings, as for `opnmf-pipeline run`. BIDS_DIR replaces `inputs.bids` in
this file. After a change, a second run computes only what depends on the change.
"""

import argparse
from pathlib import Path

from nipype.interfaces.io import DataSink
from nipype.pipeline.engine import Node, Workflow

from opnmf_pipeline import __version__
from opnmf_pipeline.config import load_config
from opnmf_pipeline.engines.nipype import init_opnmf_wf
from opnmf_pipeline.nodes.nipype import CollectCohort

FIELDS = ["mask_file", "components_file", "labels_file", "labels_table", "loadings_file"]
FIELDS += ["sidecars", "metrics_file", "metrics_json"]


def init_group_wf(bids_dir, config, output_dir):
    """Return the workflow: collect the images, find components, copy the results."""
    filters = config.inputs.filters
    collect = Node(CollectCohort(bids=str(bids_dir), filters=filters), name="collect")
    sink = Node(DataSink(base_directory=str(output_dir)), name="sink")
    sink.inputs.substitutions = [("_n_components_", "k-")]
    opnmf = init_opnmf_wf(config)
    # Nipype does not notice a new version of the code, so each version has its own folder
    workflow = Workflow("group", base_dir=str(output_dir / f"work-{__version__}"))
    workflow.config["execution"] = {"hash_method": "content", "poll_sleep_duration": 0.2}
    copied = [(f"outputnode.{field}", f"group.@{field}") for field in FIELDS]
    inputs = [(name, f"inputnode.{name}") for name in ("images", "participants")]
    workflow.connect([(collect, opnmf, inputs), (opnmf, sink, copied)])
    return workflow


def main():
    """Read the arguments and run."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("bids_dir", type=Path, help="BIDS dataset of preprocessed images")
    parser.add_argument("config", type=Path, help="YAML file of settings")
    parser.add_argument("output_dir", type=Path, help="folder for maps and tables")
    parser.add_argument("--nprocs", type=int, default=2, help="processes to use")
    parser.add_argument("--plugin", default="MultiProc", help="Nipype plugin, such as SLURM")
    args = parser.parse_args()
    bids_dir, output_dir = args.bids_dir.resolve(), args.output_dir.resolve()
    config = load_config(args.config, [f"inputs.bids={bids_dir}"])
    workflow = init_group_wf(bids_dir, config, output_dir)
    workflow.run(args.plugin, plugin_args={"n_procs": args.nprocs})


if __name__ == "__main__":
    main()
