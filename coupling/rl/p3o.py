"""P3O, batch-adaptive policy optimization: pure functions of log-probabilities.

Log-probabilities are natural logarithms, in nats; a policy ratio is ``r = pi / pi_behavior`` of one sampled token.
Ratios, their sums and the metrics are in float64, the loss in float32, whatever the inputs. Masked positions never
count, whatever values they have.

Sources: Fakoor, Aubry, Stranges, Smola, *Trust the Batch, On- or Off-Policy: Adaptive Policy Optimization for RL
Post-Training*, 2026 (arXiv 2605.12380); the effective sample size as a cap: Fakoor, Chaudhari, Smola, *P3O*, 2019
(arXiv 1905.01756).

This file is longer than 300 lines because the docstrings of the two objectives state their formulas in full.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from coupling.choices import KL_ESTIMATORS, KLEstimator

LARGEST_LOG_RATIO = 300.0
"""Log-ratios are clamped to this magnitude, so that the square of a ratio still is a finite float64."""
LARGEST_KL_EXPONENT = 10.0
"""The exponent in the KL estimate is clamped to this magnitude."""
WITHOUT_FLOAT64 = ("mps",)
"""Types of devices that have no float64: what needs it is computed on the CPU."""
Metrics = dict[str, float]


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU if the device has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def to_float64(values: Tensor) -> Tensor:
    """Detached float64 values on ``float64_device``; they move first, because a cast happens on the source device."""
    return values.detach().to(float64_device(values.device)).double()


def ratio_statistics(ratio: Float[Tensor, "..."], mask: Tensor) -> Float[Tensor, " 3"]:
    """The three sums that determine the effective sample size of a batch.

    They are additive: the statistics of a batch are the sum of those of its micro-batches and ranks. The effective
    sample size itself is not, so parts of a batch must be combined here.

    Args:
        ratio: policy ratios ``r``, any shape, not negative; infinity stands for one that its dtype cannot represent.
        mask: of the same shape; nonzero where a token counts.

    Returns:
        ``(sum r, sum r^2, n)`` over the n tokens that count, in float64.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> ratio_statistics(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 1, 0])).tolist()
        [3.0, 5.0, 2.0]
    """
    ratio = to_float64(ratio)
    if mask.shape != ratio.shape:
        raise ValueError(f"the mask has the shape {tuple(mask.shape)}, the ratios {tuple(ratio.shape)}")
    counted = mask.bool().to(ratio.device)
    r = ratio[counted].clamp(max=math.exp(LARGEST_LOG_RATIO))
    return torch.stack([r.sum(), (r**2).sum(), counted.sum().double()])


def ess_from_statistics(statistics: Float[Tensor, " 3"]) -> float:
    """The normalized effective sample size of a batch from its ``ratio_statistics``.

    Args:
        statistics: ``(sum r, sum r^2, n)``, added up over all micro-batches and ranks.

    Returns:
        ``(sum r)^2 / (n sum r^2)``, in [1/n, 1]; 1 if no token counts; NaN if a ratio is NaN.
    """
    total, squares, count = statistics.tolist()
    if count == 0:
        return 1.0
    if squares == 0:  # all ratios have underflowed to 0, and are equal as far as float64 can tell
        return 1.0
    # (sum r)^2 / (n sum r^2) as a product of two quotients, because (sum r)^2 alone could overflow.
    # NaN must stay NaN, and min(x, 1.0) returns x if x is NaN; min(1.0, x) would return 1.
    return min(total / count * (total / squares), 1.0)


def effective_sample_size(ratio: Float[Tensor, "..."], mask: Tensor) -> float:
    """Normalized effective sample size ``(sum r)^2 / (n sum r^2)`` of policy ratios.

    For a batch in parts, add up the ``ratio_statistics`` of the parts and call ``ess_from_statistics``.

    Args:
        ratio: policy ratios ``r = pi / pi_behavior``, any shape, not negative.
        mask: of the same shape; nonzero where a token counts.

    Returns:
        A number without unit in [1/n, 1], where n tokens count: 1 if their ratios are equal, 1/n if one ratio is far
        larger than all others; 1 if no token counts.

    Raises:
        ValueError: if the shapes differ, or a ratio that counts is negative.

    Source: arXiv 2605.12380; Kish, *Survey Sampling*, 1965.

    Example:
        >>> import torch
        >>> ratio, mask = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 1, 0])
        >>> round(effective_sample_size(ratio, mask), 6)  # (1 + 2)^2 / (2 (1 + 4))
        0.9
    """
    statistics = ratio_statistics(ratio, mask)
    if bool((ratio[mask.bool()] < 0).any()):
        raise ValueError("a ratio of probabilities is negative")
    return ess_from_statistics(statistics)


def log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """``log r = logprobs - old_logprobs`` in float32, clamped to ``LARGEST_LOG_RATIO``; 0 where masked."""
    difference = logprobs.float() - old_logprobs.detach().float()
    return torch.where(mask.bool(), difference, 0.0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)


def finite_tokens(mask: Tensor, *logprobs: Tensor) -> Bool[Tensor, "..."]:
    """Where a token counts and all its log-probabilities are finite.

    A probability of 0 (minus infinity) under one policy, or a NaN, says nothing about the others, but would decide the
    effective sample size of a whole batch alone.

    Args:
        mask: nonzero where a token counts.
        *logprobs: of the same shape.

    Example:
        >>> import torch
        >>> finite_tokens(torch.tensor([1, 1, 0]), torch.tensor([-1.0, -torch.inf, -1.0])).tolist()
        [True, False, False]
    """
    counted = mask.detach().bool()
    for given in logprobs:
        counted = counted & torch.isfinite(given.detach())
    return counted


def policy_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """``r = exp(logprobs - old_logprobs)`` in float64, detached, on ``float64_device``; 1 where masked."""
    return to_float64(log_ratio(logprobs, old_logprobs, mask)).exp()


def kl_estimate(
    logprobs: Tensor, anchor_logprobs: Tensor, mask: Tensor, *, estimator: KLEstimator = "k3"
) -> Float[Tensor, "..."]:
    """The regularizer of each token, in nats, which pulls the policy to an anchor.

    ``l`` is the token's log-probability under the policy, ``a`` under the anchor, and ``r = exp(l - a)``.

    ``k3``, the authors' form: ``(l - a) + exp(a - l) - 1``. It estimates KL(policy || anchor) without bias for tokens
    that the policy sampled. For tokens that the anchor sampled, as in P3O, it does not: its mean is then far larger
    where the policies are far apart. Its derivative with respect to ``l`` is ``1 - 1/r``: bounded by 1 where the policy
    has become likelier to produce the token (r > 1), but growing as ``1/r`` where it has become less likely, so
    that few tokens decide the gradient of a batch. The exponent ``a - l`` is cut to [-10, 10]
    (``LARGEST_KL_EXPONENT``), as in the authors' code. Where it is cut, the derivative is 1: for r > e^10 that is right
    (``1 - 1/r``), but for r < e^-10 it points away from the anchor, since it makes the token less likely still.

    ``weighted``: ``sg(min(r, 1))`` times the same form, where ``sg`` stops the gradient. The derivative is
    ``r - 1`` for r < 1 and ``1 - 1/r`` for r > 1, so that it is between -1 and 1 and points to the anchor everywhere;
    no exponent is cut. Near the anchor both forms agree.

    Where the log-ratio is clamped (``LARGEST_LOG_RATIO``), the derivative is 0. No value is negative, except for
    rounding.

    Args:
        logprobs: under the policy that is trained; any shape.
        anchor_logprobs: under the anchor; the same shape; detached here.
        mask: of the same shape; nonzero where a token counts.
        estimator: "k3" or "weighted".

    Returns:
        The regularizer, of the same shape, in float32; 0 where masked.

    Raises:
        ValueError: if there is no such estimator.

    Source: arXiv 2605.12380, and its authors' code for the cut; k3: Schulman, *Approximating KL divergence*, 2020.
    """
    difference = log_ratio(logprobs, anchor_logprobs, mask)  # l - a = log r
    if estimator == "k3":
        exponent = (-difference).clamp(-LARGEST_KL_EXPONENT, LARGEST_KL_EXPONENT)  # a - l
        return difference + torch.exp(exponent) - 1
    if estimator != "weighted":
        raise ValueError(f"`kl_estimator` is {estimator!r}, but must be one of {', '.join(KL_ESTIMATORS)}")
    # w (log r - 1) + w / r, where w = sg(min(r, 1)); w / r is one exponential, because 1/r alone could overflow
    log_weight = difference.detach().clamp(max=0.0)
    return log_weight.exp() * (difference - 1) + torch.exp(log_weight - difference)


def p3o_loss(
    logprobs: Float[Tensor, "batch token"],
    old_logprobs: Float[Tensor, "batch token"],
    advantages: Tensor,
    mask: Bool[Tensor, "batch token"] | Float[Tensor, "batch token"],
    *,
    ess: float | None = None,
    kl_estimator: KLEstimator = "k3",
) -> tuple[Float[Tensor, ""], Metrics]:
    """P3O's loss: the mean over the tokens that count of ``-sg(min(r, ess)) * logp * A + (1 - ess) * kl``.

    ``r = exp(logp - logp_b)`` is the ratio to the behavior policy, ``sg`` the stop-gradient, ``A`` the advantage, and
    ``kl = (logp - logp_b) + exp(logp_b - logp) - 1`` (see ``kl_estimate``). Neither the cap nor ``ess`` has a gradient.

    The scope of ``ess`` is what is given here. Call the function on each micro-batch without ``ess``, and each has its
    own, as in the authors' code; give the ``ess`` of the whole optimization batch, and all parts share one.

    Args:
        logprobs: log-probabilities of the sampled tokens under the policy that is trained, in nats.
        old_logprobs: under the behavior policy that sampled them; detached here.
        advantages: one for each token, (batch, token), or for each completion, (batch, 1) or (batch,); detached here.
        mask: nonzero where a token counts; the other positions may have any values.
        ess: the effective sample size of the whole optimization batch, if this is only a part of it (a micro-batch, a
            rank); default: that of this batch.
        kl_estimator: the form of ``kl``: "k3", the authors', or "weighted".

    A token of which a log-probability is not finite does not count; ``nonfinite`` says how many there are.

    Returns:
        The loss (0, with a zero gradient, if no token counts; NaN if tokens count, but none of the batch is finite),
        and metrics over the tokens that count: ``ess``; ``kl_behavior``, the mean of k3 in nats per token, whatever
        the estimator; ``cap_fraction``, the share of tokens with ``r > ess``; ``ratio_mean``; ``ratio_max``;
        ``kl_from_behavior``, the mean of ``r - 1 - log r``, an estimate of KL(behavior || policy) in nats per token
        from samples of the behavior policy; ``nonfinite``.

    Raises:
        ValueError: if the shapes do not match, ``ess`` is not in (0, 1], or there is no such estimator.

    Source: arXiv 2605.12380.

    Example:
        >>> import torch
        >>> logprobs = torch.log(torch.tensor([[0.2, 0.4]]))
        >>> old_logprobs = torch.log(torch.tensor([[0.2, 0.2]]))  # r = 1 and 2
        >>> loss, metrics = p3o_loss(logprobs, old_logprobs, torch.tensor([1.0]), torch.ones(1, 2))
        >>> round(float(loss), 4), round(metrics["ess"], 4), round(metrics["kl_behavior"], 4)
        (1.1462, 0.9, 0.0966)
    """
    given, advantage = _checked(logprobs, {"old log-probabilities": old_logprobs}, advantages, mask)
    counted = finite_tokens(given, logprobs, old_logprobs)
    ratio = policy_ratio(logprobs, old_logprobs, counted)
    cap = effective_sample_size(ratio, counted) if ess is None else _checked_ess(ess)
    kl = kl_estimate(logprobs, old_logprobs, counted, estimator=kl_estimator)
    loss = _mean_loss(logprobs, advantage, counted, ratio, cap, kl)
    if ess is None:
        loss = nan_if_lost(loss, given, counted)
    with torch.no_grad():
        k3 = kl if kl_estimator == "k3" else kl_estimate(logprobs, old_logprobs, counted)
    metrics = {"ess": cap} | _ratio_metrics(ratio, counted, cap) | {"kl_behavior": _mean(k3, counted)}
    return loss, metrics | {"nonfinite": float(given.sum() - counted.sum())}


def mixture_logprobs(
    behavior_logprobs: Float[Tensor, "..."],
    proximal_logprobs: Float[Tensor, "..."],
    ess_behavior: float,
    ess_proximal: float,
) -> Float[Tensor, "..."]:
    """``log((w_b pi_b + w_p pi_p) / (w_b + w_p))`` with weights ``w = 1 - ess``, in float32.

    The staler a policy, the larger its weight. The weights are equal if both are 0.

    Args:
        behavior_logprobs: log-probabilities of the tokens under the behavior policy, in nats.
        proximal_logprobs: under the proximal policy; the same shape.
        ess_behavior: effective sample size of the ratios to the behavior policy.
        ess_proximal: of those to the proximal policy.

    Source: arXiv 2605.12380.
    """
    weights = torch.tensor([1 - ess_behavior, 1 - ess_proximal], dtype=torch.float64).clamp(min=0)
    weights = weights / weights.sum() if weights.sum() > 0 else torch.full((2,), 0.5, dtype=torch.float64)
    log_behavior, log_proximal = weights.log().float().tolist()  # -inf for a policy of weight 0
    # log(w_b pi_b + w_p pi_p) = logaddexp(log w_b + log pi_b, log w_p + log pi_p)
    return torch.logaddexp(behavior_logprobs.float() + log_behavior, proximal_logprobs.float() + log_proximal)


def p3o_mixture_loss(
    logprobs: Float[Tensor, "batch token"],
    behavior_logprobs: Float[Tensor, "batch token"],
    proximal_logprobs: Float[Tensor, "batch token"],
    advantages: Tensor,
    mask: Bool[Tensor, "batch token"] | Float[Tensor, "batch token"],
    *,
    ess: tuple[float, float] | None = None,
    kl_estimator: KLEstimator = "k3",
) -> tuple[Float[Tensor, ""], Metrics]:
    """P3O with two anchors: the behavior policy that sampled, and a proximal policy, a recent copy of the trained one.

    The loss is the mean over the tokens that count of ``-sg(min(r_b, c)) * logp * A + (1 - c) * kl``, where ``c`` is
    the smaller of the two effective sample sizes and ``kl`` is ``kl_estimate`` to the mixture of ``mixture_logprobs``.
    If both anchors are the same policy, this is ``p3o_loss``.

    Args:
        logprobs: log-probabilities of the sampled tokens under the policy that is trained, in nats.
        behavior_logprobs: under the policy that sampled them; detached here.
        proximal_logprobs: under the proximal policy; detached here.
        advantages: as in ``p3o_loss``.
        mask: as in ``p3o_loss``.
        ess: (behavior, proximal) of the whole optimization batch; default: those of this batch.
        kl_estimator: the form of ``kl``; its ratio is the one to the mixture.

    Returns:
        The loss and the metrics of ``p3o_loss``, ``ess`` being the smaller one; a token counts if all three of its
        log-probabilities are finite. Also ``ess_behavior``,
        ``ess_proximal``, and ``kl_mixture``, the mean of k3 to the mixture in nats per token.

    Raises:
        ValueError: if the shapes do not match, an ``ess`` is not in (0, 1], or there is no such estimator.

    Source: arXiv 2605.12380, the variant with a proximal policy.

    Example:
        >>> import torch
        >>> logprobs, behavior, proximal = torch.log(torch.tensor([[0.2, 0.4], [0.2, 0.2], [0.2, 0.3]])).split(1)
        >>> loss, metrics = p3o_mixture_loss(logprobs, behavior, proximal, torch.tensor([1.0]), torch.ones(1, 2))
        >>> round(float(loss), 4), round(metrics["ess_behavior"], 4), round(metrics["ess_proximal"], 4)
        (1.1443, 0.9, 0.98)
    """
    anchors = {"behavior log-probabilities": behavior_logprobs, "proximal log-probabilities": proximal_logprobs}
    given, advantage = _checked(logprobs, anchors, advantages, mask)
    counted = finite_tokens(given, logprobs, *anchors.values())
    part_of_batch = ess is not None
    ratio = policy_ratio(logprobs, behavior_logprobs, counted)
    if ess is None:
        proximal_ratio = policy_ratio(logprobs, proximal_logprobs, counted)
        ess = effective_sample_size(ratio, counted), effective_sample_size(proximal_ratio, counted)
    ess_behavior, ess_proximal = (_checked_ess(value) for value in ess)
    cap = min(ess_behavior, ess_proximal)  # c: the staler anchor decides
    zero = torch.zeros((), device=logprobs.device)
    behavior, proximal = (
        torch.where(counted, anchor.detach().float(), zero) for anchor in (behavior_logprobs, proximal_logprobs)
    )
    mixture = mixture_logprobs(behavior, proximal, ess_behavior, ess_proximal)
    kl = kl_estimate(logprobs, mixture, counted, estimator=kl_estimator)
    loss = _mean_loss(logprobs, advantage, counted, ratio, cap, kl)
    if not part_of_batch:
        loss = nan_if_lost(loss, given, counted)
    with torch.no_grad():
        kl_behavior = kl_estimate(logprobs, behavior_logprobs, counted)
        kl_mixture = kl if kl_estimator == "k3" else kl_estimate(logprobs, mixture, counted)
    metrics = {"ess": cap, "ess_behavior": ess_behavior, "ess_proximal": ess_proximal}
    metrics |= _ratio_metrics(ratio, counted, cap) | {"nonfinite": float(given.sum() - counted.sum())}
    return loss, metrics | {"kl_behavior": _mean(kl_behavior, counted), "kl_mixture": _mean(kl_mixture, counted)}


def nan_if_lost(loss: Tensor, given: Tensor, counted: Tensor) -> Tensor:
    """NaN in place of the loss of a batch whose tokens are all not finite: a policy that diverged has to be seen."""
    return loss if not given.any() or counted.any() else loss * torch.nan


def _mean_loss(
    logprobs: Tensor, advantage: Tensor, counted: Tensor, ratio: Tensor, ess: float, kl: Tensor
) -> Float[Tensor, ""]:
    """The mean over the tokens that count of the capped score function and the regularizer."""
    # Replacing masked values before the product keeps a NaN there out of the gradient as well.
    policy = torch.where(counted, logprobs.float(), 0.0)
    # sg(min(r, ess)): policy_ratio has no gradient
    weight = ratio.clamp(max=ess).float().to(policy.device)
    # -sg(min(r, ess)) * logp * A + (1 - ess) * kl
    per_token = torch.where(counted, -weight * policy * advantage + (1 - ess) * kl, 0.0)
    return per_token.sum() / counted.sum().clamp(min=1)


def _ratio_metrics(ratio: Tensor, counted: Tensor, ess: float) -> Metrics:
    """What the ratios of the tokens that count are like; the values for equal policies if no token counts."""
    r = ratio[counted.to(ratio.device)]
    if not len(r):
        return {"cap_fraction": 0.0, "ratio_mean": 1.0, "ratio_max": 1.0, "kl_from_behavior": 0.0}
    return {
        "cap_fraction": float((r > ess).double().mean()),
        "ratio_mean": float(r.mean()),
        "ratio_max": float(r.max()),
        "kl_from_behavior": float((r - 1 - r.log()).mean()),
    }


def _mean(values: Tensor, counted: Tensor) -> float:
    """The mean in float64 over the tokens that count; 0 if there are none."""
    values = to_float64(values)
    kept = values[counted.to(values.device)]
    return float(kept.mean()) if len(kept) else 0.0


def _checked(
    logprobs: Tensor, anchors: dict[str, Tensor], advantages: Tensor, mask: Tensor
) -> tuple[Bool[Tensor, "batch token"], Float[Tensor, "batch token"]]:
    """The mask as booleans, and one advantage for each token, 0 where masked.

    Args:
        logprobs: (batch, token).
        anchors: what messages call them -> log-probabilities that must have the same shape.
        advantages: (batch, token), (batch, 1) or (batch,).
        mask: (batch, token).

    Raises:
        ValueError: if the shapes do not match.
    """
    for name, given in (anchors | {"mask": mask}).items():
        if given.shape != logprobs.shape:
            verb = "has" if name == "mask" else "have"
            raise ValueError(
                f"the {name} {verb} the shape {tuple(given.shape)}, the log-probabilities {tuple(logprobs.shape)}"
            )
    advantage = advantages.detach().float()
    if advantage.ndim == 1 and logprobs.ndim == 2:
        advantage = advantage[:, None]
    try:
        advantage = advantage.expand(logprobs.shape)
    except RuntimeError:
        raise ValueError(
            f"the advantages have the shape {tuple(advantages.shape)}, which does not match {tuple(logprobs.shape)}"
        ) from None
    counted = mask.detach().bool()
    return counted, torch.where(counted, advantage, 0.0)


def _checked_ess(ess: float) -> float:
    if not (0 < ess <= 1) and ess == ess:  # NaN passes: a diverged policy gives a NaN loss, not an exception
        raise ValueError(f"`ess` is {ess}, but must be in (0, 1]")
    return float(ess)
