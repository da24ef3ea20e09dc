"""Words for many images: their number, and their problems in one message; the log has all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opnmf_pipeline.exceptions import ImageError

__all__ = ["counted", "joined", "listed"]

logger = logging.getLogger(__name__)

N_NAMED = 10
"""Number of images that a message names."""
UNREADABLE_MSG = "{n} of {total} images cannot be used:\n{named}"


def counted(n: int, noun: str) -> str:
    """Return a number and a noun, in the singular or the plural.

    Examples
    --------
    >>> counted(1, "image"), counted(0, "image")
    ('1 image', '0 images')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(lines: Sequence[str]) -> str:
    """Return the first lines, each indented, and the number of the others; log all of them.

    Examples
    --------
    >>> print(listed(["a.nii: is empty", "b.nii: is empty"]))
      a.nii: is empty
      b.nii: is empty
    """
    rest = len(lines) - N_NAMED
    if rest > 0:
        logger.info("all %d images with a problem:\n%s", len(lines), "\n".join(lines))
    shown = [f"  {line}" for line in lines[:N_NAMED]]
    return "\n".join(shown + [f"  ... and {rest} more (the log lists all)"] * (rest > 0))


def joined(errors: Sequence[ImageError], total: int) -> ImageError:
    """Return one error for all images that cannot be used.

    Parameters
    ----------
    errors : sequence of ImageError
        One or more errors; each begins with the path of its image.
    total : int
        Number of images.
    """
    if len(errors) == 1:
        return errors[0]
    named = listed([str(error) for error in errors])
    return ImageError(UNREADABLE_MSG.format(n=len(errors), total=total, named=named))
