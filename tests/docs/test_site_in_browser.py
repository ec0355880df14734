"""The site in a real browser: nothing is cut off or missing, on a wide screen and on a narrow one."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.browser

sync_api = pytest.importorskip("playwright.sync_api", reason="no browser is driven against the lowest versions")

BROKEN = "[...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def address(site):
    """The site, served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("width", [400, 1280])
def test_every_page(site, address, width):
    program = shutil.which("chromium")
    assert program is not None, "these tests need chromium: apt-get install chromium"
    pages = sorted(path.parent.relative_to(site).as_posix() for path in site.rglob("index.html"))
    assert len(pages) > 20
    noise: list[str] = []
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: noise.append(message.text) if message.type == "error" else None)
        page.on(
            "request", lambda request: None if request.url.startswith((address, "data:")) else noise.append(request.url)
        )
        for name in pages:
            page.goto(f"{address}/{name}/", wait_until="load")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is cut off"
            assert page.evaluate(BROKEN) == [], name
            assert page.locator("nav.md-nav--primary a.md-nav__link").count() > 20, name
        browser.close()
    assert noise == []
