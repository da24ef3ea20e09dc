"""Names of components in files."""

from __future__ import annotations

import re

__all__ = ["component_names", "is_component"]

NAME = re.compile(r"component\d{2,}")


def component_names(n_components: int) -> list[str]:
    """Return the names of components, numbered from 1 with leading zeros.

    Examples
    --------
    >>> component_names(10)[-2:]
    ['component09', 'component10']
    """
    width = max(2, len(str(n_components)))
    return [f"component{number:0{width}d}" for number in range(1, n_components + 1)]


def is_component(name: str) -> bool:
    """Tell whether a name is one of :func:`component_names`.

    Examples
    --------
    >>> [is_component(name) for name in ("component01", "component", "bankssts")]
    [True, False, False]
    """
    return NAME.fullmatch(name) is not None
