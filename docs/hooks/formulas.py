"""Draw formulas while the site is built, so that no page has to fetch a script that would do it.

Pages write a fenced block ``math``, which a repository's own view renders as well. Docstrings write ``.. math::``.
Both are TeX; matplotlib draws them as SVG in the color of the text.
"""

import html
import io
import re
import zlib
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig

FENCE = re.compile(r"^```math\n(?P<tex>.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^(?P<indent> *)\.\. math:: (?P<tex>.*(?:\n(?P=indent) +\S.*)*)$", re.MULTILINE)
INK = "#010203"
"""A color that is replaced by that of the surrounding text."""
UNIT = 12.0
"""The size of the letters in points; it is written as 1 em."""
INLINE, DISPLAY = r"\frac", r"\dfrac"
"""matplotlib draws a fraction small, as in a line of text, unless it is told otherwise."""


class FormulaExtension(Extension):
    """A Markdown extension for both ways to write a formula."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Markdown's name)
        """Draw formulas before anything else reads their text."""
        md.preprocessors.register(_Formulas(md), "formulas", 28)


class _Formulas(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        text = "\n".join(lines)
        for pattern in (FENCE, DIRECTIVE):
            text = pattern.sub(self._stash, text)
        return text.split("\n")

    def _stash(self, match: re.Match[str]) -> str:
        return "\n" + self.md.htmlStash.store(draw(" ".join(match["tex"].split()))) + "\n"


def draw(tex: str) -> str:
    """A formula as a paragraph of HTML that contains an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "formula", "mathtext.fontset": "stix"}):
        figure = Figure(figsize=(0.01, 0.01))
        figure.text(0, 0, f"${tex.replace(INLINE, DISPLAY)}$", fontsize=UNIT, color=INK)
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.03, transparent=True, metadata={"Date": None}
        )
    svg = buffer.getvalue()[buffer.getvalue().index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<(metadata|\?xml).*?(</\1>|\?>)", "", svg, flags=re.DOTALL)
    unique = f"f{zlib.crc32(tex.encode()):08x}-"  # a page with several formulas has no two equal ids
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{unique}", svg)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    assert size is not None  # matplotlib writes the size in this form
    width, height = float(size[1]) / UNIT, float(size[2]) / UNIT
    shown = f'style="width: {width:.2f}em; height: {height:.2f}em" role="img" aria-label="{html.escape(tex)}"'
    return f'<div class="formula">{" ".join(svg.replace(size[0], shown, 1).split())}</div>'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the extension to those of the site, which docstrings use as well."""
    extensions: list[Any] = config.markdown_extensions
    extensions.append(FormulaExtension())
    return config
