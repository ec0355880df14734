"""The first-order expansion against ordinary attention and its autograd derivative."""

import pytest
import torch

from coupling.models.attention_expansion import Attended, first_order

HEADS, KEY_HEADS, N, HEAD = 4, 2, 7, 5


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(HEADS, N, HEAD, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, KEY_HEADS, N, HEAD, generator=generator, dtype=torch.float64)
    return query, key, value


def causal_mask() -> torch.Tensor:
    return torch.full((N, N), -1e9, dtype=torch.float64).triu(1)[None, None]


def plain_attention(query, key, value, row, *, softcap=None, sinks=None):
    """One row of causal attention, written out."""
    key, value = (x.repeat_interleave(HEADS // KEY_HEADS, 0) for x in (key, value))
    logits = torch.einsum("hd,hnd->hn", query, key) * HEAD**-0.5
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits + causal_mask()[0, 0, row]
    if sinks is not None:
        logits = torch.cat([logits, sinks[:, None]], 1)
    weights = logits.softmax(-1)[:, :N]
    return torch.einsum("hn,hnd->hd", weights, value)


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("sinks", [None, torch.linspace(-1, 1, HEADS, dtype=torch.float64)])
def test_the_first_order_expansion_has_attention_s_value_and_derivative(softcap, sinks):
    query, key, value = inputs()
    row = 4
    seen = Attended(key, value, causal_mask(), HEAD**-0.5, softcap, sinks)
    matrix, output = first_order(seen, query[:, [row]], torch.tensor([row]))
    options = {"softcap": softcap, "sinks": sinks}
    assert torch.allclose(output[:, 0], plain_attention(query[:, row], key, value, row, **options))

    def moved(z: torch.Tensor) -> torch.Tensor:
        """Attention of the row as a function of its own query, key and value, one head at a time."""
        q, k, v = z.reshape(HEADS, 3, HEAD).unbind(1)
        heads = []
        for head in range(HEADS):
            group = head // (HEADS // KEY_HEADS)
            own_key, own_value = key.clone(), value.clone()
            own_key[group, row], own_value[group, row] = k[head], v[head]
            queries = query[:, row].clone()
            queries[head] = q[head]
            heads.append(plain_attention(queries, own_key, own_value, row, **options)[head])
        return torch.stack(heads)

    grouped = [x.repeat_interleave(HEADS // KEY_HEADS, 0)[:, row] for x in (key, value)]
    point = torch.stack([query[:, row], *grouped], 1).reshape(-1)
    derivative = torch.autograd.functional.jacobian(moved, point).reshape(HEADS, HEAD, HEADS, 3 * HEAD)
    for head in range(HEADS):
        assert torch.allclose(matrix[head].T, derivative[head, :, head], atol=1e-9)
