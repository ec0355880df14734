"""How an estimate reads."""

import pytest

from coupling.cli.render.estimate import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.5, "9.5 s"), (12, "12 s"), (119, "119 s"), (600, "10 minutes"), (86400, "24.0 hours")],
)
def test_times_have_their_largest_unit(seconds, text):
    assert duration(seconds) == text
