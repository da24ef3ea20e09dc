"""Read YAML without changing what is written, and refuse files that are no settings.

A scalar without quotes stays text until its setting says that a number or a flag is expected:
a subject may be called ``007``, a site ``NO`` and a folder ``10:12``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from opnmf_pipeline.exceptions import ConfigError

__all__ = ["Plain", "parse_yaml", "read_yaml", "resolved"]

LARGEST_FILE = 1_000_000
LARGEST_DOCUMENT = 100_000
"""Most values in a file, where a value counts as often as aliases repeat it."""
DEEPEST = 50

MAP, SEQ, STR, NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "null"))
NULLS = re.compile(r"(~|null|Null|NULL|)\Z")
FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NO_NUMBERS = {".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}

NOT_YAML_MSG = "{source}: not valid YAML: {problem}"
UNREADABLE_MSG = "{path}: cannot be read ({reason}); check the path"
LARGE_MSG = f"the file is larger than {LARGEST_FILE} bytes"


class Plain(str):
    """A scalar that was written without quotes."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Resolve no scalar except null: what is a number depends on the setting."""

    yaml_implicit_resolvers = {first: [(NULL, NULLS)] for first in ("~", "n", "N", "")}  # noqa: RUF012


def _scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return Plain(node.value) if node.style is None else str(node.value)


_Loader.add_constructor(STR, _scalar)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; scalars without quotes are :class:`Plain`.

    Raises
    ------
    ConfigError
        The file cannot be read, is not YAML, or is larger or deeper than settings can be.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(UNREADABLE_MSG.format(path=path, reason="not a text file")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(UNREADABLE_MSG.format(path=path, reason=reason)) from None
    if len(content) > LARGEST_FILE:
        raise ConfigError(NOT_YAML_MSG.format(source=path, problem=LARGE_MSG))
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return the content of YAML text; ``source`` names it in messages."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, loader)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = f"{place}{error.problem or error.context}"
    except yaml.YAMLError as error:  # a character that YAML does not allow
        problem = str(error).splitlines()[0]
    except RecursionError:
        problem = f"lists or sections are nested more than {DEEPEST} deep"
    raise ConfigError(NOT_YAML_MSG.format(source=source, problem=problem))


def _check(root: yaml.Node, loader: yaml.SafeLoader) -> None:
    """Refuse tags, duplicate keys, and more values or levels than settings have."""
    to_do, n_values = [(root, 1)], 0
    while to_do:
        node, depth = to_do.pop()
        n_values += 1
        if depth > DEEPEST:
            raise _problem(node, f"lists or sections are nested more than {DEEPEST} deep")
        if n_values > LARGEST_DOCUMENT:
            raise _problem(node, f"more than {LARGEST_DOCUMENT} values; aliases count, too")
        if node.tag not in (MAP, SEQ, STR, NULL):
            raise _problem(node, f"the tag {node.tag.removeprefix(MAP[:-3])!r} is not supported")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            to_do += [(child, depth + 1) for _, child in node.value]
        elif isinstance(node, yaml.SequenceNode):
            to_do += [(child, depth + 1) for child in node.value]


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (STR, NULL):
            raise _problem(key, "a key must be text")
        if key.value in seen:  # YAML itself would silently keep the last one
            raise _problem(key, f"duplicate key {key.value!r}")
        seen.add(key.value)
        key.tag, key.style = STR, "'"


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def resolved(value: Any) -> Any:
    """Return a value of :func:`parse_yaml` with numbers and flags as in YAML 1.2.

    Examples
    --------
    >>> resolved([Plain("010"), Plain("1e3"), Plain("true"), Plain("yes"), "2"])
    [10, 1000.0, True, 'yes', '2']
    """
    if isinstance(value, dict):
        return {key: resolved(one) for key, one in value.items()}
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if not isinstance(value, Plain):
        return value
    if INTEGER.fullmatch(value):
        return int(value)
    if FLOAT.fullmatch(value):
        return float(value)
    return {**FLAGS, **NO_NUMBERS}.get(value, str(value))
