"""``opnmf-bids``: convert the arguments of the BIDS App to settings, and run one of its levels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from opnmf_pipeline.cli.display import Terminal
from opnmf_pipeline.cli.parser import given
from opnmf_pipeline.cli.run import require_convergence, run_and_print, shown
from opnmf_pipeline.config import Override, PipelineConfig, load_config, read_yaml, resolved
from opnmf_pipeline.exceptions import ConfigError, FileError
from opnmf_pipeline.files import read_object
from opnmf_pipeline.images.bids import check_dataset
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.runs.boilerplate import boilerplate
from opnmf_pipeline.runs.project import filters_of, project

__all__ = ["execute", "settings_of"]

IMAGE_QUERY = "image"
"""Name of the query to use if a filter file has several queries."""
RESAMPLE_OF_PARTICIPANT_MSG = (
    "--resample applies only to the participant level; at the group level, use "
    "--set matrix.resample=to-first"
)
GROUP_FLAGS = ("boilerplate_only", "resource_monitor", "strict")
PLUGIN_KEYS = ("engine", "plugin", "plugin_args")

FILTER_FILE_MSG = "--bids-filter-file: {path}: {reason}"
QUERIES_MSG = (
    f"has the queries {{names}}; give the name {IMAGE_QUERY!r} to the query that selects the "
    "images, or keep only one query"
)
MODEL_OF_GROUP_MSG = (
    "--model applies only to the participant level; the group level learns the components"
)
PLUGIN_OF_PARTICIPANT_MSG = (
    "--use-plugin applies only to the group level; at the participant level, start one job for "
    "each --participant-label"
)
PLUGIN_FILE_MSG = "--use-plugin: {path}: expected the keys {keys}, got {got}"


def execute(args: argparse.Namespace) -> None:
    """Run the requested level."""
    if args.analysis_level == "group":
        _run_group(args)
    else:
        _run_participant(args)


def _run_group(args: argparse.Namespace) -> None:
    if args.model is not None:
        raise ConfigError(MODEL_OF_GROUP_MSG)
    if args.resample:
        raise ConfigError(RESAMPLE_OF_PARTICIPANT_MSG)
    config = settings_of(args)
    _validate(args)
    if args.boilerplate_only:
        print(boilerplate(config), end="")
        return
    summary = run_and_print(config, quiet=args.quiet, verbose=args.verbose)
    require_convergence(summary, strict=args.strict)


def _run_participant(args: argparse.Namespace) -> None:
    for flag in GROUP_FLAGS:
        if getattr(args, flag):
            name = flag.replace("_", "-")
            raise ConfigError(f"--{name} applies only to the group level; remove --{name}")
    if args.use_plugin is not None:
        raise ConfigError(PLUGIN_OF_PARTICIPANT_MSG)
    model = (args.model or args.output_dir).absolute()
    config = settings_of(args, filters_of(model))
    _validate(args)
    console = Terminal(quiet=args.quiet)
    with shown(console, args.verbose) as display:
        done = project(config, model, display, resample=args.resample)
    ks = ", ".join(map(str, done.ks))
    console.print(f"\n{counted(done.n_images, 'image')}, k = {ks}")
    console.print(f"loadings  {done.output.root}", soft_wrap=True)


def _validate(args: argparse.Namespace) -> None:
    if not args.skip_bids_validation:
        check_dataset(args.bids_dir)


def settings_of(args: argparse.Namespace, filters: dict[str, Any] | None = None) -> PipelineConfig:
    """Return the settings of the file; arguments replace the settings of the file.

    Parameters
    ----------
    args : Namespace
        Arguments of the command line.
    filters : dict, optional
        Filters to use if the settings file has no filters.
    """
    items = given(
        {
            "inputs.database_dir": args.bids_database_dir,
            "inputs.filters": _filters(args) or None,
            "output.dir": args.output_dir,
            "output.overwrite": args.overwrite or None,
            "decomposition.random_state": args.random_seed,
            "selection.random_state": args.random_seed,
            "execution.n_procs": args.nprocs,
            "execution.omp_nthreads": args.omp_nthreads,
            "execution.memory_gb": args.mem,
            "execution.stop_on_first_crash": args.stop_on_first_crash or None,
            "execution.resource_monitor": args.resource_monitor or None,
            "execution.work_dir": args.work_dir,
            **{f"execution.{key}": value for key, value in _plugin(args.use_plugin).items()},
        }
    )
    named: list[Override] = list(args.overrides)
    known, people = _named_inputs(args), args.bids_dir / "participants.tsv"
    if "features" not in known:  # BIDS_DIR replaces any other source of images
        named.append(("inputs.bids", args.bids_dir))
    elif "participants" not in known and people.is_file():
        named.append(("inputs.participants", people))
    if filters and not load_config(args.config_file, named).inputs.filters:
        named.append(("inputs.filters", filters))
    return load_config(args.config_file, [*named, *items])


def _named_inputs(args: argparse.Namespace) -> set[str]:
    """Return the settings ``inputs`` that the file and ``--set`` name, such as ``features``."""
    content = resolved(read_yaml(args.config_file)) if args.config_file else None
    inputs = content.get("inputs") if isinstance(content, dict) else None
    settings = (override.partition("=")[0] for override in args.overrides)
    of_file = inputs if isinstance(inputs, dict) else ()
    return {*of_file, *(name.removeprefix("inputs.") for name in settings)}


def _filters(args: argparse.Namespace) -> dict[str, Any]:
    filters = {} if args.bids_filter_file is None else _read_filters(args.bids_filter_file)
    for entity, prefix, labels in (
        ("sub", "sub-", args.participant_label),
        ("ses", "ses-", args.session_label),
    ):
        if labels:
            filters[entity] = [label.removeprefix(prefix) for label in labels]
    return filters


def _read_filters(path: Path) -> dict[str, Any]:
    """Read entity filters from JSON: the named queries of fMRIPrep, or one set of filters."""
    try:
        content = read_object(path)
    except FileError as error:
        raise ConfigError(f"--bids-filter-file: {error}") from None
    queries = {name: value for name, value in content.items() if isinstance(value, dict)}
    if not queries:
        return content
    if IMAGE_QUERY in queries:
        return dict(queries[IMAGE_QUERY])
    if len(content) > 1:
        reason = QUERIES_MSG.format(names=", ".join(content))
        raise ConfigError(FILTER_FILE_MSG.format(path=path, reason=reason))
    return dict(next(iter(queries.values())))


def _plugin(path: Path | None) -> dict[str, Any]:
    """Read a Nipype plugin file. The engine is Nipype unless the file sets `engine`."""
    if path is None:
        return {}
    content = resolved(read_yaml(path))
    if not isinstance(content, dict) or not set(content) <= set(PLUGIN_KEYS):
        got = ", ".join(map(str, content)) if isinstance(content, dict) else repr(content)
        raise ConfigError(
            PLUGIN_FILE_MSG.format(path=path, keys=", ".join(PLUGIN_KEYS), got=got or "nothing")
        )
    return {"engine": "nipype", **content}
