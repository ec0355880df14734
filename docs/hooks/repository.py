"""Let pages include files of the repository, and link to files outside of docs/.

A page writes ``<!-- include CONTRIBUTING.md -->`` for the text of a file. A link to a file outside of docs/ is written
relative to the page, so that it works in the repository's own view; on the site a picture is copied beside the
pages, and any other file becomes a link to the repository.
"""

import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PICTURES = "pictures/studies"
"""Where the site has the pictures that come from outside of docs/."""
INCLUDE = re.compile(r"^<!-- include (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
"""The target of a Markdown link to a file; not an address, which has a colon, and not an anchor on the same page."""

log = logging.getLogger("mkdocs.hooks.repository")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace what a page includes, and the links that leave docs/."""
    source = Path(page.file.abs_src_path or "")

    def include(match: re.Match[str]) -> str:
        included = ROOT / match[1]
        return _with_links(included.read_text(encoding="utf-8"), included, source, config, files)

    return INCLUDE.sub(include, _with_links(markdown, source, source, config, files))


def _with_links(text: str, written_in: Path, page: Path, config: MkDocsConfig, files: Files) -> str:
    """A text whose links are relative to the file that it was written in, with links for the page that shows it."""

    def target(match: re.Match[str]) -> str:
        file = (written_in.parent / match["path"]).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):
            log.warning("%s links to %s, which does not exist", written_in.relative_to(ROOT), match["path"])
            return match[0]
        if file.is_relative_to(DOCS):
            shown = os.path.relpath(file, page.parent)
        elif file.suffix in (".png", ".svg"):
            shown = os.path.relpath(DOCS / _publish(file, config, files), page.parent)
        else:
            shown = f"{config.extra['repository']}/blob/main/{file.relative_to(ROOT).as_posix()}"
        return shown + (match["anchor"] or "")

    return LINK.sub(target, text)


def _publish(picture: Path, config: MkDocsConfig, files: Files) -> str:
    """Put a picture from outside of docs/ on the site; the path that it has there."""
    path = f"{PICTURES}/{picture.name}"
    if files.get_file_from_path(path) is None:
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return path
