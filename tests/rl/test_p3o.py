"""The P3O objective: worked cases, bounds and invariances, gradients by hand, and batches in parts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupling.rl import effective_sample_size, mixture_logprobs, p3o_loss, p3o_mixture_loss, ratio_statistics
from coupling.rl.p3o import ess_from_statistics, kl_estimate

ratios = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40)


def tensors(seed=0, shape=(4, 7), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logprobs = -3 * torch.rand(shape, generator=generator, dtype=dtype)
    old = logprobs + 0.5 * torch.randn(shape, generator=generator, dtype=dtype)
    advantages = torch.randn(shape[0], generator=generator, dtype=dtype)
    mask = torch.rand(shape, generator=generator) < 0.7
    return logprobs, old, advantages, mask


def test_a_case_worked_by_hand():
    # r = (1, 2, 4), the last masked: ess = 3^2 / (2 * 5) = 0.9; min(r, ess) = (0.9, 0.9)
    logprobs = torch.log(torch.tensor([[0.2, 0.4, 0.4]]))
    old = torch.log(torch.tensor([[0.2, 0.2, 0.1]]))
    loss, metrics = p3o_loss(logprobs, old, torch.tensor([[1.0, -2.0, 5.0]]), torch.tensor([[1, 1, 0]]))
    first = -0.9 * math.log(0.2) * 1
    second = -0.9 * math.log(0.4) * -2 + 0.1 * (math.log(2) + 0.5 - 1)
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-6)
    assert metrics["ess"] == pytest.approx(0.9)
    assert metrics["kl_behavior"] == pytest.approx((math.log(2) - 0.5) / 2)
    assert metrics["cap_fraction"] == 1.0
    assert metrics["ratio_mean"] == pytest.approx(1.5)
    assert metrics["ratio_max"] == pytest.approx(2)
    assert metrics["kl_from_behavior"] == pytest.approx((2 - 1 - math.log(2)) / 2)


def test_on_policy_the_loss_is_the_score_function_estimator():
    logprobs, _, advantages, mask = tensors()
    logprobs.requires_grad_()
    loss, metrics = p3o_loss(logprobs, logprobs, advantages, mask)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert metrics["ess"] == 1
    assert metrics["cap_fraction"] == 0
    expected = torch.where(mask, -advantages[:, None].expand_as(mask), 0.0) / mask.sum()
    assert torch.allclose(gradient, expected.double(), atol=1e-7)


@pytest.mark.parametrize("ess", [None, 0.3, 1.0])
def test_the_gradient_is_the_one_derived_by_hand(ess):
    logprobs, old, advantages, mask = tensors()
    logprobs.requires_grad_()
    loss, metrics = p3o_loss(logprobs, old, advantages, mask, ess=ess)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    ratio = torch.exp(logprobs - old).detach()
    kept = ratio[mask].numpy()
    size = kept.sum() ** 2 / (len(kept) * (kept**2).sum()) if ess is None else ess
    assert metrics["ess"] == pytest.approx(size, rel=1e-6)
    expected = -ratio.clamp(max=size) * advantages[:, None] + (1 - size) * (1 - 1 / ratio)
    expected = torch.where(mask, expected, 0.0) / mask.sum()
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_the_exponent_of_the_kl_estimate_is_clamped_and_its_gradient_too():
    logprobs = torch.tensor([[-40.0, -1.0]], requires_grad=True)
    old = torch.tensor([[-1.0, -40.0]])
    loss, metrics = p3o_loss(logprobs, old, torch.zeros(1), torch.ones(1, 2), ess=0.5)
    expected = [-39 + math.exp(10) - 1, 39 + math.exp(-10) - 1]
    assert metrics["kl_behavior"] == pytest.approx(np.mean(expected))
    assert float(loss.detach()) == pytest.approx(0.5 * np.mean(expected))
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert torch.allclose(gradient, torch.tensor([[0.25, 0.25]]))


def test_masked_positions_never_count():
    logprobs, old, advantages, mask = tensors()
    loss, metrics = p3o_loss(logprobs, old, advantages, mask)
    for junk in (math.nan, math.inf, -math.inf, 1e30):
        bad_logprobs = torch.where(mask, logprobs, junk).requires_grad_()
        bad = p3o_loss(bad_logprobs, torch.where(mask, old, -junk), torch.where(mask, advantages[:, None], junk), mask)
        assert float(bad[0]) == float(loss)
        assert bad[1] == metrics
        (gradient,) = torch.autograd.grad(bad[0], bad_logprobs)
        assert torch.isfinite(gradient).all()
        assert (gradient[~mask] == 0).all()


def test_the_loss_is_zero_if_no_token_counts():
    logprobs, old, advantages, _ = tensors()
    logprobs.requires_grad_()
    for function, extra in ((p3o_loss, ()), (p3o_mixture_loss, (old,))):
        loss, metrics = function(logprobs, old, *extra, advantages, torch.zeros(4, 7))
        (gradient,) = torch.autograd.grad(loss, logprobs)
        assert float(loss) == 0
        assert (gradient == 0).all()
        assert metrics["ess"] == 1
        assert all(math.isfinite(value) for value in metrics.values())


def test_ratios_that_overflow_give_finite_losses():
    huge = torch.tensor([[0.0, -1.0, -1.0]])
    old = torch.tensor([[-800.0, -1.0, -1.0]])  # e^800 is not a float
    loss, metrics = p3o_loss(huge.requires_grad_(), old, torch.ones(1), torch.ones(1, 3))
    assert metrics["ess"] == pytest.approx(1 / 3)
    assert math.isfinite(float(loss))
    assert torch.isfinite(torch.autograd.grad(loss, huge)[0]).all()
    assert effective_sample_size(torch.tensor([math.inf, 1.0, 0.0, 0.0]), torch.ones(4)) == pytest.approx(0.25)
    assert effective_sample_size(torch.tensor([1e38, 1e38]), torch.ones(2)) == pytest.approx(1)
    assert effective_sample_size(torch.zeros(3), torch.ones(3)) == 1
    assert math.isnan(effective_sample_size(torch.tensor([math.nan, 1.0]), torch.ones(2)))  # a diverged policy is seen


def test_bfloat16_inputs_are_computed_in_float32():
    logprobs, old, advantages, mask = tensors(dtype=torch.float32)
    low = [tensor.bfloat16() for tensor in (logprobs, old, advantages)]
    loss, metrics = p3o_loss(*low, mask)
    wide, wide_metrics = p3o_loss(*(tensor.float() for tensor in low), mask)
    assert loss.dtype == torch.float32
    assert float(loss) == float(wide)
    assert metrics == wide_metrics


@given(ratios)
@settings(deadline=None, max_examples=200)
def test_the_effective_sample_size_is_between_1_over_n_and_1(values):
    ratio = torch.tensor(values, dtype=torch.float64)
    size = effective_sample_size(ratio, torch.ones(len(values)))
    assert 1 / len(values) - 1e-9 <= size <= 1


@given(ratios, st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_the_effective_sample_size_ignores_scale_order_and_masked_tokens(values, scale, random):
    ratio = torch.tensor(values, dtype=torch.float64)
    size = effective_sample_size(ratio, torch.ones(len(values)))
    assert effective_sample_size(scale * ratio, torch.ones(len(values))) == pytest.approx(size, rel=1e-9)
    order = list(range(len(values)))
    random.shuffle(order)
    assert effective_sample_size(ratio[order], torch.ones(len(values))) == pytest.approx(size, rel=1e-9)
    padded = torch.cat([ratio, torch.full((5,), 1e9, dtype=torch.float64)])
    mask = torch.cat([torch.ones(len(values)), torch.zeros(5)])
    assert effective_sample_size(padded, mask) == pytest.approx(size, rel=1e-9)


@given(st.integers(1, 50), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_equal_ratios_give_1_and_one_dominant_ratio_gives_1_over_n(n, value):
    equal = torch.full((n,), value, dtype=torch.float64)
    assert effective_sample_size(equal, torch.ones(n)) == pytest.approx(1)
    dominated = torch.cat([torch.tensor([1e30], dtype=torch.float64), equal])
    assert effective_sample_size(dominated, torch.ones(n + 1)) == pytest.approx(1 / (n + 1))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_micro_batches_give_the_loss_and_gradient_of_one_batch(parts):
    logprobs, old, advantages, mask = tensors(shape=(8, 5))
    whole = logprobs.clone().requires_grad_()
    loss, _ = p3o_loss(whole, old, advantages, mask)
    (expected,) = torch.autograd.grad(loss, whole)
    ratio = torch.exp(logprobs - old)
    rows = torch.arange(8).chunk(parts)
    size = ess_from_statistics(sum(ratio_statistics(ratio[index], mask[index]) for index in rows))
    split = logprobs.clone().requires_grad_()
    losses = [p3o_loss(split[index], old[index], advantages[index], mask[index], ess=size)[0] for index in rows]
    total = sum(loss * mask[index].sum() for loss, index in zip(losses, rows, strict=True)) / mask.sum()
    (gradient,) = torch.autograd.grad(total, split)
    assert float(total) == pytest.approx(float(loss), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_the_mixture_loss_agrees_with_the_formula_written_by_hand():
    logprobs, old, advantages, mask = tensors()
    near = logprobs + 0.1 * torch.randn(logprobs.shape, generator=torch.Generator().manual_seed(1)).double()
    moving = logprobs.clone().requires_grad_()
    loss, metrics = p3o_mixture_loss(moving, old, near, advantages, mask)
    (gradient,) = torch.autograd.grad(loss, moving)
    sizes = []
    for anchor in (old, near):
        ratio = torch.exp(logprobs - anchor)[mask]
        sizes.append(float(ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum())))
    assert (metrics["ess_behavior"], metrics["ess_proximal"]) == pytest.approx(tuple(sizes), rel=1e-6)
    assert metrics["ess"] == min(metrics["ess_behavior"], metrics["ess_proximal"])
    weights = np.array([1 - sizes[0], 1 - sizes[1]]) / (2 - sum(sizes))
    mixture = torch.log(weights[0] * torch.exp(old) + weights[1] * torch.exp(near))
    assert torch.allclose(mixture_logprobs(old, near, *sizes).double(), mixture, atol=1e-6)
    cap, ratio = min(sizes), torch.exp(logprobs - old)
    difference = logprobs - mixture
    kl = difference + torch.exp(-difference) - 1
    per_token = -ratio.clamp(max=cap) * logprobs * advantages[:, None] + (1 - cap) * kl
    assert float(loss) == pytest.approx(float(per_token[mask].mean()), rel=1e-5)
    by_hand = -ratio.clamp(max=cap) * advantages[:, None] + (1 - cap) * (1 - torch.exp(-difference))
    assert torch.allclose(gradient, torch.where(mask, by_hand, 0.0) / mask.sum(), atol=1e-6)


def test_the_mixture_of_two_equal_policies_is_the_plain_objective():
    logprobs, old, advantages, mask = tensors()
    plain, mixed = (
        p3o_loss(logprobs, old, advantages, mask),
        p3o_mixture_loss(logprobs, old, old, advantages, mask),
    )
    assert float(mixed[0]) == pytest.approx(float(plain[0]), rel=1e-6)
    fresh = p3o_mixture_loss(logprobs, logprobs, logprobs, advantages, mask)
    assert float(fresh[0]) == pytest.approx(float(p3o_loss(logprobs, logprobs, advantages, mask)[0]), rel=1e-6)


def test_shapes_that_do_not_match_are_refused():
    logprobs, old, advantages, mask = tensors()
    with pytest.raises(ValueError, match=r"the mask has the shape \(4, 3\)"):
        p3o_loss(logprobs, old, advantages, mask[:, :3])
    with pytest.raises(ValueError, match="old log-probabilities"):
        p3o_loss(logprobs, old[:2], advantages, mask)
    with pytest.raises(ValueError, match="proximal log-probabilities"):
        p3o_mixture_loss(logprobs, old, old[:2], advantages, mask)
    with pytest.raises(ValueError, match="advantages"):
        p3o_loss(logprobs, old, advantages[:3], mask)
    with pytest.raises(ValueError, match=r"`ess` is 1\.5"):
        p3o_loss(logprobs, old, advantages, mask, ess=1.5)


def test_a_mask_of_another_shape_and_negative_ratios_are_refused():
    ratio = torch.tensor([[1.0, 1.0], [9.0, 9.0]])
    with pytest.raises(ValueError, match=r"mask has the shape \(2,\), the ratios \(2, 2\)"):
        effective_sample_size(ratio, torch.ones(2))
    with pytest.raises(ValueError, match="negative"):
        effective_sample_size(-ratio, torch.ones(2, 2))
    assert effective_sample_size(torch.tensor([-1.0, 1.0]), torch.tensor([0, 1])) == 1  # masked values may be anything


@pytest.mark.parametrize("junk", [-math.inf, math.inf, math.nan])
@pytest.mark.parametrize("where", ["policy", "behavior"])
def test_one_token_that_is_not_finite_is_left_out_and_counted(junk, where):
    logprobs, old, advantages, mask = tensors()
    place = tuple(int(index) for index in mask.nonzero()[0])
    without = mask.clone()
    without[place] = False
    expected, metrics = p3o_loss(logprobs, old, advantages, without)
    bad_logprobs, bad_old = logprobs.clone(), old.clone()
    (bad_logprobs if where == "policy" else bad_old)[place] = junk
    bad_logprobs.requires_grad_()
    loss, bad_metrics = p3o_loss(bad_logprobs, bad_old, advantages, mask)
    assert float(loss.detach()) == float(expected)
    assert bad_metrics == metrics | {"nonfinite": 1.0}
    assert torch.isfinite(torch.autograd.grad(loss, bad_logprobs)[0]).all()
    mixed = p3o_mixture_loss(bad_logprobs, bad_old, logprobs, advantages, mask)
    assert float(mixed[0].detach()) == float(p3o_mixture_loss(logprobs, old, logprobs, advantages, without)[0])
    assert mixed[1]["nonfinite"] == 1


def test_a_batch_without_finite_tokens_is_seen():
    logprobs, old, advantages, mask = tensors()
    for function, extra in ((p3o_loss, ()), (p3o_mixture_loss, (old,))):
        loss, metrics = function(torch.full_like(logprobs, math.nan), old, *extra, advantages, mask)
        assert math.isnan(float(loss))
        assert metrics["nonfinite"] == mask.sum()


def test_the_weighted_regularizer_has_the_gradient_derived_by_hand_and_points_to_the_anchor():
    log_ratios = torch.tensor([[-200.0, -40.0, -11.0, -3.0, -0.5, 0.0, 0.5, 3.0, 11.0, 40.0]], dtype=torch.float64)
    logprobs = log_ratios.clone().requires_grad_()
    anchor, mask = torch.zeros_like(log_ratios), torch.ones_like(log_ratios)
    values = kl_estimate(logprobs, anchor, mask, estimator="weighted")
    (gradient,) = torch.autograd.grad(values.sum(), logprobs)
    r = log_ratios.exp()
    expected = torch.where(r < 1, r * log_ratios - r + 1, log_ratios + 1 / r - 1)
    assert torch.allclose(values.detach().double(), expected, atol=1e-6, rtol=1e-6)
    assert torch.allclose(gradient, torch.where(r < 1, r - 1, 1 - 1 / r), atol=1e-6)
    assert (gradient * log_ratios >= 0).all()  # a step against the gradient goes to the anchor
    moving = log_ratios.clone().requires_grad_()
    (authors,) = torch.autograd.grad(kl_estimate(moving, anchor, mask).sum(), moving)
    cut = log_ratios.abs() > 10
    assert (authors[cut] == 1).all()  # also where r < e^-10, and there it points away
    assert torch.allclose(authors[~cut], 1 - 1 / r[~cut], rtol=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_weighted_regularizer_in_the_losses(mixed):
    logprobs, old, advantages, mask = tensors()
    anchors = (old, old) if mixed else (old,)
    function, ess = (p3o_mixture_loss, (0.5, 0.5)) if mixed else (p3o_loss, 0.5)
    plain, metrics = function(logprobs, *anchors, advantages, mask, ess=ess)
    weighted, same = function(logprobs, *anchors, advantages, mask, ess=ess, kl_estimator="weighted")
    log_ratio = logprobs - old
    k3 = log_ratio + torch.exp(-log_ratio) - 1
    difference = 0.5 * ((log_ratio.exp().clamp(max=1) - 1) * k3)[mask].mean()
    assert float(weighted - plain) == pytest.approx(float(difference), rel=1e-5)
    assert same == metrics  # what is logged does not depend on the estimator
    with pytest.raises(ValueError, match="`kl_estimator` is 'k2', but must be one of k3, weighted"):
        function(logprobs, *anchors, advantages, mask, kl_estimator="k2")
