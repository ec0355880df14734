"""How directions look on a terminal."""

import io

import numpy as np
import pytest

from coupling.cli.output import PlainConsole
from coupling.cli.render.directions import print_directions
from coupling.shared_directions import Directions, read_directions


@pytest.mark.parametrize("width", [40, 100])
def test_each_vector_is_three_lines(width):
    axes = np.eye(64)
    vectors = {block: Directions(np.full(1, 1.5), axes[:, [3]], axes[:, [block]]) for block in (4, 6)}
    table = read_directions(vectors, lambda block, side, one: one.T, lambda item: f"[red] {item}\n", top=2)
    table.attrs |= {"model": "m", "prompt": 0, "text": "a", "token": 2, "token_text": " b", "items": "tokens"}
    text = io.StringIO()
    print_directions(table, PlainConsole(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert lines[0] == "m, prompt 0 (a) at token 2 ·b"
    assert lines[2:6] == [
        "block 4 writes",
        "  0  s 1.50, nearest 6:0 (+1.00), shared with block 6",
        "      toward  [red]·3↵  [red]·63↵",
        "     against  [red]·0↵  [red]·1↵",
    ]
    assert lines[-1].startswith("shared: an absolute cosine of at least 0.")
