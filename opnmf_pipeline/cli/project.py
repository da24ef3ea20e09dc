"""``opnmf-pipeline project``."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from opnmf_pipeline.cli.display import Terminal
from opnmf_pipeline.cli.parser import given
from opnmf_pipeline.cli.run import shown
from opnmf_pipeline.config import Override, PipelineConfig, load_config
from opnmf_pipeline.images.filelist import named_images
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.images.tables import is_image
from opnmf_pipeline.images.tables.sources import EXCEL
from opnmf_pipeline.runs.project import Projected, Row, filters_of, project
from opnmf_pipeline.stages.model import OUTSIDE

__all__ = ["execute"]

SETTINGS_ENDINGS = (".yaml", ".yml")
TABLE_ENDINGS = (".csv", ".tsv", *EXCEL)
"""Endings of tables of many subjects; a table of one subject is an image."""


def execute(args: argparse.Namespace) -> None:
    """Project images on the components of a model, and print where the tables are."""
    model = args.model.absolute()
    config, rows = _images(args, model)
    console = Terminal(quiet=args.quiet)
    with shown(console, args.verbose) as display:
        done = project(
            config,
            model,
            display,
            rows=rows,
            n_components=args.n_components,
            mask=args.mask,
            resample=args.resample,
            combined=True,
        )
    _print(done, console)


def _images(args: argparse.Namespace, model: Path) -> tuple[PipelineConfig, list[Row] | None]:
    """Return the settings, and the images if these are named one by one."""
    flags: list[Override] = [
        *given(
            {
                "output.dir": args.output,
                "output.overwrite": args.overwrite or None,
                "execution.n_procs": args.nprocs,
                "inputs.participants": args.participants,
            }
        )
    ]
    first = Path(args.images[0])
    if len(args.images) == 1 and first.suffix in SETTINGS_ENDINGS:
        return load_config(first, flags), None
    if len(args.images) == 1 and first.is_dir():
        inputs: list[Override] = [("inputs.bids", first), ("inputs.filters", filters_of(model))]
        return load_config(None, [*inputs, *flags]), None
    if all(_is_table(image) for image in args.images):
        return load_config(None, [("inputs.features", args.images), *flags]), None
    found = named_images(_expanded(args.images))
    rows = [Row(*row) for row in zip(found["row"], found["image"], strict=True)]
    # The settings record where the images are; the list itself is in the sidecars
    folder = os.path.commonpath([str(Path(row.image).parent) for row in rows])
    return load_config(None, [("inputs.glob", Path(folder) / "**"), *flags]), rows


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLE_ENDINGS) and not is_image(path)


def _expanded(images: Sequence[str]) -> list[str]:
    """Return the files of patterns in quotation marks, which the shell has not expanded."""
    found = []
    for image in images:
        # Path.glob accepts no absolute pattern
        there = [image] if Path(image).exists() else sorted(glob.glob(image, recursive=True))  # noqa: PTH207
        found += there or [image]
    return found


def _print(done: Projected, console: Terminal) -> None:
    console.print(f"\n{counted(done.n_images, 'image')}, k = {', '.join(map(str, done.ks))}")
    for k, table in done.tables.items():
        if OUTSIDE in table and (n_outside := int(table[OUTSIDE].sum())):
            outside = counted(n_outside, "image")
            console.print(f"k = {k}: errors outside the range of the cohort: {outside}")
    console.print(f"tables    {done.output.path('loadings', done.ks[0]).parent}", soft_wrap=True)
    console.print(f"report    {done.output.path('report')}", soft_wrap=True)
