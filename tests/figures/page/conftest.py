"""Fixtures of the tests of the page in a browser."""

import pytest

from tests.figures.page import browser


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, in which other modules could not start theirs
def chromium():
    with browser.chromium() as running:
        yield running


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens a page; fails if the page uses the console or the network."""
    with browser.opening(chromium, tmp_path) as open_page:
        yield open_page
