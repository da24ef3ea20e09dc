"""Names of components in files."""

from __future__ import annotations

__all__ = ["component_names"]


def component_names(n_components: int) -> list[str]:
    """Return the names of components, numbered from 1 with leading zeros.

    Examples
    --------
    >>> component_names(10)[-2:]
    ['component09', 'component10']
    """
    width = max(2, len(str(n_components)))
    return [f"component{number:0{width}d}" for number in range(1, n_components + 1)]
