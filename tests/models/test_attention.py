"""What the recording attention keeps, and what it refuses."""

import pytest
import torch

from coupling.models import attention
from coupling.models.attention import Tape
from coupling.models.attention_expansion import Attended

HEADS, KEY_HEADS, N, HEAD = 4, 2, 7, 5


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(HEADS, N, HEAD, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, KEY_HEADS, N, HEAD, generator=generator, dtype=torch.float64)
    return query, key, value


def causal_mask() -> torch.Tensor:
    return torch.full((N, N), -1e9, dtype=torch.float64).triu(1)[None, None]


def test_a_module_that_is_called_twice_is_noticed():
    query, key, value = inputs()
    tape, module = Tape(), torch.nn.Identity()
    seen = Attended(key, value, causal_mask(), HEAD**-0.5, None, None)
    for block, calls in ((0, 1), (1, 2)):
        tape.block = block
        for _ in range(calls):
            tape.record(module, query[None], key[None], value[None], seen, {})
    assert tape.foreign == {1: "one attention module is called several times"}


def test_the_attention_function_works_only_inside_a_recording():
    query, key, value = inputs()
    with pytest.raises(RuntimeError, match="only inside coupling"):
        attention._attention(torch.nn.Identity(), query[None], key[None], value[None], None)
