"""The code blocks of a Markdown page."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT

COMMENT = re.compile(r"<!-- (?P<what>not run|first): (?P<text>.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, and what a comment before it says."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None = None
    """Why it is left out."""
    first: str | None = None
    """A command to run before it."""

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages():
    """Return the pages whose blocks are run: the README and all that is written in docs/."""
    found = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/howto").glob("*.md")]
    return [ROOT / "README.md", *sorted(found)]


def blocks(page):
    """Return the blocks of a page, directives of Sphinx left out."""
    found, previous = [], None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and not token.info.startswith("{"):
            comment = COMMENT.fullmatch(previous.content.strip()) if previous else None
            said = {comment["what"].replace(" ", "_"): comment["text"]} if comment else {}
            line = token.map[0] + 2  # that of the first line of code, counted from 1
            found.append(Block(page, line, token.info.strip(), token.content, **said))
        previous = token if token.type == "html_block" else None
    return found
