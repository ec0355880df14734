"""P3O and P4O against the authors' formulas, written here in NumPy and float64, without this package's functions.

The formulas are those of FeynRL (github.com/FeynRL-project/FeynRL at 4f7eafe): ``compute_policy_loss`` and
``calculate_ess`` in ``algs/P3O/p3o.py`` and ``algs/P4O/p4o.py``, ``compute_kl_distance`` in ``algs/RL/common.py``.
Their sum over a micro-batch is divided by the number of tokens of the whole step (``normalize_loss``). Gradients are
with respect to log-probabilities, in closed form, and the closed forms are checked by finite differences.
"""

import numpy as np
import pytest
import torch

from coupling.rl import P3OTrainer, P4OTrainer, p3o_loss, p3o_mixture_loss
from tests.tiny_policy import make_trainer

MICRO, ROWS, TOKENS = 4, 6, 9


def batch(seed, spread=0.6):
    """(micro-batch, row, token): log-probabilities of policy, behavior and proximal policy, advantages, mask."""
    generator = np.random.default_rng(seed)
    shape = (MICRO, ROWS, TOKENS)
    policy = -3 * generator.random(shape)
    behavior = policy + spread * generator.standard_t(3, shape)
    proximal = policy + 0.1 * generator.standard_normal(shape)
    advantages = np.broadcast_to(generator.standard_normal((MICRO, ROWS, 1)), shape)
    mask = generator.random(shape) < 0.7
    return policy, behavior, proximal, advantages, mask


def sample_size(policy, anchor, mask):
    """The authors' ess: the squared sum of ratios, divided by the sum of squares (plus 1e-8) and by their number."""
    ratio = np.exp(policy - anchor)[mask]
    return ratio.sum() ** 2 / ((ratio**2).sum() + 1e-8) / len(ratio)


def kl_distance(policy, anchor):
    """Their regularizer, whose exponent is cut to [-10, 10]."""
    return policy - anchor + np.exp(np.clip(anchor - policy, -10, 10)) - 1


def kl_slope(policy, anchor):
    """Its derivative with respect to the policy's log-probability; the cut exponent has none."""
    return 1 - np.where(np.abs(anchor - policy) <= 10, np.exp(anchor - policy), 0)


def mixture(behavior, proximal, sizes):
    """log((w_b pi_b + w_p pi_p) / (w_b + w_p)) with w = 1 - ess."""
    weights = [1 - size for size in sizes]
    return np.log((weights[0] * np.exp(behavior) + weights[1] * np.exp(proximal)) / sum(weights))


def authors(policy, behavior, anchor, cap, advantages, mask, weights=None):
    """The sum over tokens of their loss, and its gradient; ``weights`` replaces the capped ratio if it is given."""
    capped = np.minimum(np.exp(policy - behavior), cap) if weights is None else weights
    loss = -capped * policy * advantages + (1 - cap) * kl_distance(policy, anchor)
    gradient = -capped * advantages + (1 - cap) * kl_slope(policy, anchor)
    return (loss * mask).sum(), gradient * mask


def golden(data, scope, *, mixed):
    """The step's loss, the gradient of each log-probability, and each micro-batch's ess (behavior, proximal)."""
    policy, behavior, proximal, advantages, mask = data
    anchors = (behavior, proximal) if mixed else (behavior,)
    whole = tuple(sample_size(policy, anchor, mask) for anchor in anchors)
    loss, gradient, sizes = 0.0, np.zeros_like(policy), []
    for i in range(MICRO):
        own = tuple(sample_size(policy[i], anchor[i], mask[i]) for anchor in anchors)
        size = whole if scope == "batch" else own
        anchor = mixture(behavior[i], proximal[i], size) if mixed else behavior[i]
        part, gradient[i] = authors(policy[i], behavior[i], anchor, min(size), advantages[i], mask[i])
        loss += part
        sizes.append(size)
    return loss / mask.sum(), gradient / mask.sum(), sizes


def ours(data, sizes, scope, *, mixed):
    """The same by this package, from the losses of the micro-batches, which have this package's own ess."""
    policy, *others = (torch.tensor(np.array(value)) for value in data)
    behavior, proximal, advantages, mask = others
    policy.requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    metrics = []
    for i in range(MICRO):
        anchors = (behavior[i], proximal[i]) if mixed else (behavior[i],)
        given = (sizes[i] if mixed else sizes[i][0]) if scope == "batch" else None
        function = p3o_mixture_loss if mixed else p3o_loss
        mean, found = function(policy[i], *anchors, advantages[i], mask[i], ess=given)
        total = total + mean.double() * mask[i].sum() / mask.sum()
        metrics.append(found)
    (gradient,) = torch.autograd.grad(total, policy)
    return float(total.detach()), gradient.numpy(), metrics


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("mixed", [False, True], ids=["p3o", "p4o"])
@pytest.mark.parametrize("scope", ["batch", "micro"])
def test_loss_gradient_and_ess_are_the_authors(scope, mixed, seed):
    data = batch(seed)
    loss, gradient, sizes = golden(data, scope, mixed=mixed)
    found, found_gradient, metrics = ours(data, sizes, scope, mixed=mixed)
    assert found == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(found_gradient, gradient, rtol=2e-6, atol=1e-7)
    for (size, *_), row in zip(sizes, metrics, strict=True):
        assert row["ess_behavior" if mixed else "ess"] == pytest.approx(size, rel=1e-6)


def test_the_closed_form_of_the_gradient_is_right():
    policy, behavior, _, advantages, mask = batch(3, spread=4)
    policy[0, 0, 0], behavior[0, 0, 0], mask[0, 0, 0] = -14.0, -0.5, True  # beyond the cut
    assert (np.abs(policy - behavior)[mask] > 10).any()
    cap = sample_size(policy, behavior, mask)
    capped = np.minimum(np.exp(policy - behavior), cap)  # their stop-gradient
    _, gradient = authors(policy, behavior, behavior, cap, advantages, mask, capped)
    for index in np.argwhere(mask)[:40]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = policy.copy()
            moved[tuple(index)] += step
            ends.append(authors(moved, behavior, behavior, cap, advantages, mask, capped)[0])
        slope = (ends[0] - ends[1]) / 2e-6
        assert slope == pytest.approx(gradient[tuple(index)], rel=1e-4, abs=1e-4)


def test_the_two_scopes_differ_where_ratios_have_heavy_tails():
    # log-ratios of Student's t with 3 degrees of freedom at scale 0.1, in 64 micro-batches
    generator = np.random.default_rng(0)
    shape = (64, 16, 128)
    policy, mask = np.zeros(shape), np.ones(shape, dtype=bool)
    behavior = -0.1 * generator.standard_t(3, shape)
    whole = sample_size(policy, behavior, mask)
    own = [sample_size(policy[i], behavior[i], mask[i]) for i in range(64)]
    assert whole < np.mean(own) - 0.1
    found = [p3o_loss(*map(torch.tensor, (policy[i], behavior[i], policy[i], mask[i])))[1]["ess"] for i in range(64)]
    assert found == pytest.approx(own, rel=1e-6)


@pytest.mark.parametrize("scope", ["batch", "micro"])
@pytest.mark.parametrize("mixed", [False, True], ids=["p3o", "p4o"])
def test_the_trainer_computes_them(scope, mixed, tmp_path, monkeypatch):
    """The trainer's micro-batches, with the model's log-probabilities replaced by given ones."""
    data = batch(5)
    loss, gradient, _ = golden(data, scope, mixed=mixed)
    policy, behavior, proximal, advantages, mask = (torch.tensor(np.array(value)) for value in data)
    policy.requires_grad_()
    parts = [
        {
            "completion_mask": mask[i],
            "sampling_per_token_logps": behavior[i],
            "old_per_token_logps": proximal[i],
            "advantages": advantages[i],
            "index": i,
        }
        for i in range(MICRO)
    ]
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": MICRO, "ess_scope": scope}
    trainer = make_trainer(tmp_path, trainer_class=P4OTrainer if mixed else P3OTrainer, **options)
    forwarded = []

    def forward(model, inputs, *, entropy):
        forwarded.append(inputs["index"])
        return policy[inputs["index"]], None, None

    monkeypatch.setattr(trainer, "_forward", forward)
    trainer._buffered_inputs, trainer._step = parts, 0
    trainer.current_gradient_accumulation_steps = MICRO
    trainer.model.train()
    total = sum(trainer._compute_loss(trainer.model, part) for part in parts)
    (found,) = torch.autograd.grad(total, policy)
    assert float(total.detach()) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(found.numpy(), gradient, rtol=2e-6, atol=1e-7)
    assert len(forwarded) == (2 * MICRO if scope == "batch" else MICRO)  # no look-ahead pass
    log = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    per_part = golden(data, "micro", mixed=mixed)[2]
    assert log["p3o/ess"] == pytest.approx(sample_size(data[0], data[1], data[4]), rel=1e-6)
    assert log["p3o/ess_micro"] == pytest.approx(np.mean([size[0] for size in per_part]), rel=1e-6)
    if mixed:
        assert log["p3o/ess_proximal"] == pytest.approx(sample_size(data[0], data[2], data[4]), rel=1e-6)
        assert log["p3o/kl_mixture"] > 0
