"""``opnmf-pipeline check``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.adjustment.summary import Summary
from opnmf_pipeline.cli.display import Terminal
from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.cli.run import shown
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.reporting.change import summarize_change
from opnmf_pipeline.reporting.measures import summarize_measures
from opnmf_pipeline.runs.plan import make_plan

__all__ = ["execute"]

SHALLOW = "only the headers were read; --deep also reads and checks the values"
DEEP = "headers and values are as a run needs them"


def execute(args: argparse.Namespace) -> None:
    """Validate settings, inputs and output folder, and print the plan."""
    config = load_config(args.config, overrides(args))
    with shown(Terminal(), verbose=False) as display:
        plan = make_plan(config, deep=args.deep, track=display.track)
    mapped = config.decomposition.n_components
    compared = [k for k in config.ranks if k not in mapped]
    about = "about" if args.deep else "at most"
    change = config.matrix.change
    rows = {
        "subjects": f"{plan.n_subjects}",
        **({"change": summarize_change(change.settings(), plan.n_subjects)} if change else {}),
        **_measures(config),
        "images": DEEP if args.deep else SHALLOW,
        **({"masks": f"missing voxels: {counted(plan.n_masks, 'image')}"} if plan.n_masks else {}),
        "grid": str(plan.grid),
        **({"space": plan.space} if plan.space else {}),
        plan.grid.elements: f"{about} {plan.n_voxels}: {plan.mask}",
        **({"missing": _missing(plan.missing)} if any(plan.missing.values()) else {}),
        "matrix": f"{about} {_size(plan.matrix_bytes)} on disk",
        "memory": f"{about} {_size(plan.memory_bytes)}",
        **(_models(plan.adjustment) if plan.adjustment else {}),
        "components": ", ".join(map(str, mapped)),
        **({"to compare": ", ".join(map(str, compared))} if compared else {}),
        "fits to make": f"{plan.n_fits} ({config.decomposition.solver})",
        "output": str(config.output.dir or "not set; set it with --output"),
    }
    for name, value in rows.items():
        print(f"{name:14}{value}")


def _measures(config: PipelineConfig) -> dict[str, str]:
    """Return the line about several measures."""
    measures = config.matrix.measures
    if measures is None:
        return {}
    return {"measures": summarize_measures(config.inputs.names, measures.stack, measures.scale)}


def _models(summary: Summary) -> dict[str, str]:
    """Return the lines about the adjustment of the matrix."""
    found = {}
    if summary.columns:
        columns = ", ".join(summary.columns)
        n_columns = 1 + len(summary.columns)
        found["design"] = f"{n_columns} columns, rank {summary.rank}: intercept, {columns}"
    if summary.collinear:
        found["collinear"] = ", ".join(summary.collinear)
    if summary.batches:
        counts = (f"{name} ({n} subjects)" for name, n in summary.batches.items())
        found["batches"] = ", ".join(counts)
    return found


def _missing(shares: dict[str, float]) -> str:
    """Say how much is missing: the mean, and the image that lacks most."""
    name, most = max(shares.items(), key=lambda item: item[1])
    some = sum(share > 0 for share in shares.values())
    mean = sum(shares.values()) / len(shares)
    return f"{mean:.1%} of the values, in {counted(some, 'image')}; {name} lacks most ({most:.0%})"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
