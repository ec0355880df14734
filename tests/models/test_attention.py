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


def causal(dtype=torch.float32, n=N):
    return torch.full((n, n), torch.finfo(dtype).min, dtype=dtype).triu(1)[None, None]


def test_a_causal_mask_is_told_from_others(monkeypatch):
    monkeypatch.setattr(attention, "MASK_ROWS", 3)
    for mask in (causal(), causal(torch.bfloat16), causal() == 0, causal() * 2):
        assert attention.is_causal(mask)
    window = causal().clone()
    window[..., -1, 0] = window[..., 0, -1]
    soft = causal().clone()
    soft[..., 0, -1] = -5
    positions = causal() + torch.arange(float(N))
    several = torch.cat([causal(), window], 1)
    for mask in (window, soft, positions, several, causal()[..., -1:, :], causal()[0], torch.zeros(1, 1, N, N)):
        assert not attention.is_causal(mask)


def test_the_causal_kernel_gives_what_the_mask_gives(monkeypatch):
    """It is used where the mask says no more, and looked for once in a mask that all blocks share."""
    query, key, value = inputs()
    kernel, looks = torch.nn.functional.scaled_dot_product_attention, []
    given, looked = [], attention.is_causal
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **options: given.append(options) or kernel(*args, **options),
    )
    monkeypatch.setattr(attention, "is_causal", lambda mask: looks.append(mask) or looked(mask))
    tape, mask = Tape(), causal(torch.float64)
    for block in range(2):
        tape.block = block
        seen = Attended(key, value, mask, HEAD**-0.5, None, None)
        output = tape.record(torch.nn.Identity(), query[None], key[None], value[None], seen, {})
        weights, _ = seen.weights(query)
        expected = weights @ value.repeat_interleave(HEADS // KEY_HEADS, 0)
        assert torch.allclose(output[0].transpose(0, 1), expected, atol=1e-12)
    assert len(looks) == 1
    assert [(options["is_causal"], options["attn_mask"]) for options in given] == [(True, None)] * 2
    seen = Attended(key, value, causal_mask(), HEAD**-0.5, None, None)
    tape.record(torch.nn.Identity(), query[None], key[None], value[None], seen, {})
    assert not given[-1]["is_causal"]
    assert given[-1]["attn_mask"] is seen.mask
