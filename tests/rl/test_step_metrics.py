"""What is logged of a step: the same numbers however it is split, and both scopes of the effective sample size."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from coupling.rl import p3o_loss, ratio_statistics
from coupling.rl.step_metrics import StepMetrics


def collect(parts):
    collected = StepMetrics(Accelerator(cpu=True))
    for logprobs, old, mask in parts:
        _, metrics = p3o_loss(logprobs, old, torch.zeros(len(mask)), mask)
        ratio = torch.exp(logprobs - old)
        statistics = torch.stack([ratio_statistics(ratio, mask), ratio_statistics(torch.ones_like(ratio), mask)])
        collected.add(metrics, statistics, ratio, None, mask)
    return collected.finish(), collected


def test_the_metrics_are_those_of_all_tokens():
    generator = torch.Generator().manual_seed(0)
    logprobs, old = (-torch.rand(8, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(8, 5, generator=generator) < 0.6
    rows = (slice(0, 3), slice(3, 8))
    logged, collected = collect([(logprobs[part], old[part], mask[part]) for part in rows])
    ratio = torch.exp(logprobs - old)[mask].numpy()
    sizes = []
    for part in (slice(0, 8), *rows):
        r = torch.exp(logprobs - old)[part][mask[part]].numpy()
        sizes.append(r.sum() ** 2 / len(r) / (r**2).sum())
    assert logged["p3o/ess"] == pytest.approx(sizes[0])
    assert logged["p3o/ess_micro"] == pytest.approx(np.mean(sizes[1:]))
    assert (logged["p3o/ess_proximal"], logged["p3o/ess_proximal_micro"]) == (1, 1)
    assert logged["p3o/ratio_mean"] == pytest.approx(ratio.mean())
    assert logged["p3o/ratio_max"] == pytest.approx(ratio.max())
    assert logged["p3o/ratio_q95"] == pytest.approx(np.quantile(ratio, 0.95))
    assert logged["p3o/kl_behavior"] == pytest.approx((np.log(ratio) + 1 / ratio - 1).mean(), rel=1e-5)
    assert logged["p3o/nonfinite"] == 0
    assert collected.parts == []


def test_a_step_without_tokens_has_no_quantiles():
    logged, _ = collect([(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))])
    assert logged["p3o/ess"] == logged["p3o/ess_micro"] == 1
    assert not any("ratio_q" in name or "ratio_max" in name for name in logged)
