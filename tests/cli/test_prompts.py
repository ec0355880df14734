"""The prompts that options name; tests/cli/test_analyze.py runs them."""

import json

from coupling.cli.prompts import prompts_of


def test_prompts_of_options(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": text}) for text in "abc"))
    assert prompts_of(str(rows), None, None, None, None, 2, chat=False).texts == ["a", "b"]
    assert prompts_of(None, None, str(rows), None, None, 1, chat=False).texts == ["a"]
    assert prompts_of(None, None, None, None, None, None, chat=False) is None  # the bundled set that fits the model
