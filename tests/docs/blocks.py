"""The code blocks of a Markdown page."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT

NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None

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
            comment = NOT_RUN.fullmatch(previous.content.strip()) if previous else None
            reason = " ".join(comment["reason"].split()) if comment else None
            line = token.map[0] + 2  # that of the first line of code, counted from 1
            found.append(Block(page, line, token.info.strip(), token.content, reason))
        previous = token if token.type == "html_block" else None
    return found
