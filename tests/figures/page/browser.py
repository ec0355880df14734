"""Chromium, driven by Playwright: what the tests of the page in a browser share."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (1280, 400)
SCHEMES = ("light", "dark")


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's chromium, without the network."""
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright  # not needed where browsers are not
    program = shutil.which("chromium")
    assert program is not None, "these tests need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@contextmanager
def opening(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens a page's text from a file in a new profile; fails if it used the console or the network."""
    noise: list[str] = []
    contexts = []

    def open_page(text: str, *, width: int = 1280, fragment: str = "", **options: Any) -> Any:
        path = folder / "report.html"
        path.write_text(text)
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: noise.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("request", lambda request: _note(noise, request.url, path))
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-drawn=yes]", timeout=120_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def _note(noise: list[str], url: str, path: Path) -> None:
    if url.split("#")[0] != path.as_uri() and not url.startswith(("data:", "blob:")):
        noise.append(url)


def serious(page: Any) -> list[str]:
    """What axe-core finds on a page that is serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
