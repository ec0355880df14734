"""``python -m benchmarks.long_prompt``: its figures, on a short prompt."""

import json

import numpy as np

from benchmarks import long_prompt


def test_the_figures_are_written(tmp_path, capsys):
    out = tmp_path / "figures.json"
    long_prompt.main(["--layers", "2", "--hidden", "192", "--tokens", "40", "--out", str(out)])
    figures = json.loads(out.read_text())
    assert figures == json.loads(capsys.readouterr().out)
    assert (figures["tokens"], figures["blocks"], figures["width"]) == (40, 2, 192)
    whole = figures["forward_seconds"] + figures["short_seconds"]
    assert np.isclose(figures["first_ratio"], figures["first_seconds"] / whole)
    assert np.isclose(figures["again_ratio"], figures["again_seconds"] / whole)


def test_the_model_has_the_proportions_of_smollm2():
    model = long_prompt.build(1, 576, 16)
    config = model.config
    assert (config.intermediate_size, config.num_attention_heads, config.num_key_value_heads) == (1536, 9, 3)
