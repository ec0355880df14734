"""Settings resolved for one prompt."""

import numpy as np
import pytest

import coupling
from coupling.plan import resolve_tokens
from tests.helpers import TOKENS, make_ids, make_model


def test_tokens_by_name():
    assert resolve_tokens("last", 5) == [4]
    assert resolve_tokens("all", 3) == [0, 1, 2]
    assert resolve_tokens(-2, 5) == [3]
    assert resolve_tokens((3, "last", 0, -1), 5) == [0, 3, 4]


def test_context_compares_tokens_on_the_right_side_only():
    model = make_model("llama")
    later = coupling.measure(model, make_ids(), k=2, kind="context-input", fixed_token=8)
    assert np.isfinite(later.mismatch.isel(norm=0)).any(["prompt", "k", "block", "other_token"]).values.tolist() == [
        t >= 8 for t in range(TOKENS)
    ]
    earlier = coupling.measure(model, make_ids(), k=2, kind="context-output", fixed_token=2)
    assert np.isfinite(earlier.mismatch.isel(norm=0)).any(["prompt", "k", "block", "other_token"]).values.tolist() == [
        t <= 2 for t in range(TOKENS)
    ]


def test_a_single_block_model_is_refused():
    import transformers

    from tests.helpers import GROUPED

    model = transformers.LlamaModel(transformers.LlamaConfig(**(GROUPED | {"num_hidden_layers": 1})))
    with pytest.raises(coupling.CouplingError, match="at least two blocks"):
        coupling.measure(model, make_ids(), k=2)
    assert coupling.measure(model, make_ids(), k=2, kind="self", tokens=(1, 2)).sizes["block"] == 1
