"""Inputs of the Nipype interfaces: the options as traits, and the files that several take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    InputMultiObject,
    Undefined,
    traits,
)

from opnmf_pipeline.config import Section
from opnmf_pipeline.nodes.fields import FIELDS, Option, options_of

__all__ = [
    "images_input",
    "make_input_spec",
    "mask_input",
    "matrix_input",
    "n_components_input",
    "num_threads_input",
    "option_traits",
    "participants_input",
]

SPECS_MODULE = "opnmf_pipeline.nodes.nipype"
"""Where specifications live: processes find the class of a pickled one there by its name."""


def _trait(option: Option, **metadata: Any) -> Any:
    metadata["desc"] = option.description
    if option.default is not None:
        metadata["usedefault"] = True
    default = option.default
    if option.choices:
        choices = option.choices if default is None else (default, *option.choices)
        return traits.Enum(*dict.fromkeys(choices), **metadata)
    if option.kind is Path:
        return File(exists=True, **metadata)
    if option.low is not None or option.high is not None:
        low, high = (None if end is None else option.kind(end) for end in (option.low, option.high))
        value = low if default is None else default
        return traits.Range(low, high, value, exclude_low=option.open_low, **metadata)
    kinds = {str: traits.Str, int: traits.Int, float: traits.Float, dict: traits.Dict}
    return kinds[option.kind](Undefined if default is None else default, **metadata)


def option_traits(
    section: type[Section], *, prefix: str = "", without: tuple[str, ...] = ()
) -> Any:
    """Return the traits of the settings of a section, by name."""
    options = options_of(section, without=without)
    return {prefix + option.name: _trait(option) for option in options}


def make_input_spec(
    name: str, *options: dict[str, Any], **inputs: Any
) -> type[BaseInterfaceInputSpec]:
    """Return an input specification; make it a global of that name in ``SPECS_MODULE``."""
    fields = dict(inputs)
    for group in options:
        fields |= group
    return type(name, (BaseInterfaceInputSpec,), {"__module__": SPECS_MODULE, **fields})


def images_input() -> Any:
    """Return the input for the images of the subjects."""
    return InputMultiObject(File(exists=True), mandatory=True, desc=FIELDS["images"])


def participants_input() -> Any:
    """Return the input for the identifiers of the subjects."""
    return traits.List(traits.Str, mandatory=True, desc=FIELDS["participants"])


def mask_input() -> Any:
    """Return the input for the mask."""
    return File(exists=True, mandatory=True, desc=FIELDS["mask_file"])


def matrix_input() -> Any:
    """Return the input for the matrix."""
    return Directory(exists=True, mandatory=True, desc=FIELDS["matrix_dir"])


def n_components_input() -> Any:
    """Return the input for the number of components."""
    return traits.Range(1, None, 10, mandatory=True, desc=FIELDS["n_components"])


def num_threads_input() -> Any:
    """Return the input for the number of threads, which is no part of what a result is."""
    return traits.Range(1, None, 1, usedefault=True, nohash=True, desc=FIELDS["num_threads"])
