"""``opnmf-pipeline report``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from opnmf_pipeline.dataset.description import COMPARISON_NAME, LOADINGS_NAME, is_ours, read_json
from opnmf_pipeline.dataset.folder import Dataset, OutputFolder
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.runs.export import is_export
from opnmf_pipeline.runs.page import write_report

__all__ = ["execute"]

COMMANDS = {LOADINGS_NAME: "project", COMPARISON_NAME: "compare"}
"""Other commands that write a report, by the name of their dataset."""
OTHER_MSG = (
    "{root}: is the output of `opnmf-pipeline {command}`, and `report` is for the output of a run; "
    "its report is {page}; to write it again, repeat `{command}` with the same arguments and "
    "--overwrite"
)
NO_PAGE_MSG = (
    "{root}: contains loadings of single images on the components of a model, which have no "
    "report; `opnmf-pipeline project` writes one"
)


EXPORT_MSG = (
    "{root}: is the output of `opnmf-pipeline export`, which has no report; give the output folder "
    "of the run"
)
READ_ONLY_MSG = (
    "{root}: cannot be written, and the report is a file in it; copy the folder to a place where "
    "you can write, and give the copy"
)


def execute(args: argparse.Namespace) -> None:
    """Rewrite the report of a finished run."""
    _refuse_other_commands(args.folder)
    if args.folder.is_dir() and not os.access(args.folder, os.W_OK):
        raise OutputError(READ_ONLY_MSG.format(root=args.folder))
    print(write_report(OutputFolder.of_run(args.folder)))


def _refuse_other_commands(root: Path) -> None:
    """Say what a folder is that another command wrote, and where its report is."""
    folder = Dataset(root)
    if folder.path("registry").exists():
        return
    if is_export(root):
        raise OutputError(EXPORT_MSG.format(root=root))
    if not is_ours(root):
        return
    command = COMMANDS.get(str(read_json(folder.path("dataset")).get("Name")))
    page = folder.path("report")
    if command is not None:
        message = OTHER_MSG if page.exists() else NO_PAGE_MSG
        raise OutputError(message.format(root=root, command=command, page=page))
