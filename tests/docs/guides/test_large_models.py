"""The guide's figures of a streamed run are those of a recorded run of the benchmark."""

import json

from tests.docs.pages import text_of
from tests.helpers import ROOT

PAGE = "guides/large-models.md"


def test_what_a_streamed_run_takes():
    measured = json.loads((ROOT / "benchmarks/recorded/streaming.json").read_text())
    text = text_of(PAGE)
    size, block = measured["checkpoint_bytes"] / 1e9, measured["block_bytes"] / 1e6
    assert f"a random checkpoint of {size:.1f} GB in float16, {measured['blocks']} blocks of {block:.0f} MB" in text
    assert f"width {measured['width']}, with {measured['prompts']} prompts" in text
    peak, interpreter = measured["peak_bytes"] / 1e9, measured["interpreter_bytes"] / 1e9
    assert f"at most {peak:.2f} GB beyond the {interpreter:.2f} GB of the interpreter" in text
    assert f"{measured['seconds']:.0f} s; the benchmark ends a process that takes more than" in text
    assert f"more than {measured['limit_bytes'] / 1e9:.0f} GB beyond them" in text
    assert measured["reads_of_a_block"] == [1, 2]
    assert measured["threads"] == 1
    assert "every block is read at most twice for the measurement, and the last one once" in text
