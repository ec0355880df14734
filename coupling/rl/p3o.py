"""P3O, batch-adaptive policy optimization: pure functions of log-probabilities.

Source: Fakoor, Aubry, Stranges, Smola, *Trust the Batch, On- or Off-Policy: Adaptive Policy Optimization for RL
Post-Training*, 2026 (arXiv 2605.12380); the effective sample size as a cap: Fakoor, Chaudhari, Smola, *P3O*, 2019
(arXiv 1905.01756).

All arithmetic is in float32, sums in float64, whatever the inputs. Masked positions never count, whatever they hold.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_LOG_RATIO = 300.0
"""Beyond it, either way, a log-ratio is cut: its square is then still a float64."""
LARGEST_KL_EXPONENT = 10.0
WITHOUT_FLOAT64 = ("mps",)
"""Types of devices that have no float64: what needs it is computed on the CPU."""
Metrics = dict[str, float]


def wide_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def widened(values: Tensor) -> Tensor:
    """In float64, detached, on ``wide_device``: moved first, since a cast is made where the values are."""
    return values.detach().to(wide_device(values.device)).double()


def ratio_statistics(ratio: Float[Tensor, "..."], mask: Tensor) -> Float[Tensor, " 3"]:
    """What the effective sample size of a batch is made of; sums over parts of the batch add up.

    Args:
        ratio: policy ratios ``r``, any shape, 0 and up; infinity stands for one too large for its dtype.
        mask: of the same shape; nonzero where a token counts.

    Returns:
        ``(sum r, sum r^2, n)`` in float64, over the tokens that count.

    Raises:
        ValueError: if the shapes differ.
    """
    ratio = widened(ratio)
    if mask.shape != ratio.shape:
        raise ValueError(f"the mask has the shape {tuple(mask.shape)}, the ratios {tuple(ratio.shape)}")
    counted = mask.bool().to(ratio.device)
    kept = ratio[counted].clamp(max=math.exp(LARGEST_LOG_RATIO))
    return torch.stack([kept.sum(), (kept**2).sum(), counted.sum().double()])


def sample_size(statistics: Float[Tensor, " 3"]) -> float:
    """The normalized effective sample size from ``ratio_statistics``, summed over micro-batches and ranks.

    Returns:
        ``(sum r)^2 / (n sum r^2)``, in [1/n, 1]; 1 where no token counts; NaN where a ratio is.
    """
    total, squares, count = statistics.tolist()
    if count == 0:
        return 1.0
    if squares == 0:  # every ratio has underflowed: nothing tells them apart
        return 1.0
    return min(total / count * (total / squares), 1.0)  # in this order NaN stays NaN


def effective_sample_size(ratio: Float[Tensor, "..."], mask: Tensor) -> float:
    """Normalized effective sample size ``(sum r)^2 / (n sum r^2)`` of policy ratios.

    Args:
        ratio: policy ratios ``r = pi / pi_behavior``, any shape, 0 and up.
        mask: of the same shape; nonzero where a token counts.

    Returns:
        In [1/n, 1] for n tokens that count: 1 where their ratios are equal, 1/n where one dwarfs the others; 1 where no
        token counts. For a batch in parts add ``ratio_statistics`` and use ``sample_size``.

    Raises:
        ValueError: if the shapes differ, or a ratio that counts is negative.

    Source: arXiv 2605.12380; Kish, *Survey Sampling*, 1965.
    """
    statistics = ratio_statistics(ratio, mask)
    if bool((ratio[mask.bool()] < 0).any()):
        raise ValueError("a ratio of probabilities is negative")
    return sample_size(statistics)


def log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """``logprobs - old_logprobs`` in float32 where the mask is set, and 0 elsewhere, cut at ``LARGEST_LOG_RATIO``."""
    difference = logprobs.float() - old_logprobs.detach().float()
    return torch.where(mask.bool(), difference, 0.0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)


def policy_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """``exp(logprobs - old_logprobs)`` in float64, detached, on ``wide_device``; 1 where the mask is not set."""
    return widened(log_ratio(logprobs, old_logprobs, mask)).exp()


def kl_to(logprobs: Tensor, anchor: Tensor, mask: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || anchor): ``(l - a) + exp(a - l) - 1``, exponent in [-10, 10]; 0 where masked.

    Not negative, but for rounding. Its gradient by ``l`` is ``1 - exp(a - l)``; 1 where the exponent is cut, and 0
    where the log-ratio itself is (see ``LARGEST_LOG_RATIO``).
    """
    difference = log_ratio(logprobs, anchor, mask)
    return difference + torch.exp((-difference).clamp(-LARGEST_KL_EXPONENT, LARGEST_KL_EXPONENT)) - 1


def p3o_loss(
    logprobs: Float[Tensor, "batch token"],
    old_logprobs: Float[Tensor, "batch token"],
    advantages: Tensor,
    mask: Bool[Tensor, "batch token"] | Float[Tensor, "batch token"],
    *,
    ess: float | None = None,
) -> tuple[Float[Tensor, ""], Metrics]:
    """P3O's loss, averaged over the tokens that count.

    Per token ``-sg(min(r, ess)) * logp * A + (1 - ess) * kl`` with ``r = exp(logp - logp_b)``, ``sg`` stop-gradient,
    and ``kl = (logp - logp_b) + exp(logp_b - logp) - 1`` (see ``kl_to``). Neither the cap nor ``ess`` has a gradient.

    Args:
        logprobs: log-probabilities of the tokens under the policy that is trained.
        old_logprobs: under the behavior policy that sampled them; detached here.
        advantages: (batch, token), (batch, 1) or (batch,); detached here.
        mask: nonzero where a token counts; positions that do not may hold anything.
        ess: the effective sample size of the whole optimization batch, where this is a part of it (a micro-batch, a
            rank); default: of this batch.

    Returns:
        The loss (0, with a zero gradient, where no token counts), and metrics over the tokens that count: ``ess``,
        ``kl_behavior`` (mean of ``kl``), ``cap_fraction`` (share with ``r > ess``), ``ratio_mean``, ``ratio_max``,
        ``approx_kl`` (mean of ``r - 1 - log r``, an estimate of KL(behavior || policy) from the behavior's samples).

    Raises:
        ValueError: if the shapes do not fit, or ``ess`` is not in (0, 1].

    Source: arXiv 2605.12380, whose objective this is; the per-token form is in the project's design.
    """
    counted, advantage = _checked(logprobs, [old_logprobs], advantages, mask)
    ratio = policy_ratio(logprobs, old_logprobs, counted)
    size = effective_sample_size(ratio, counted) if ess is None else _checked_size(ess)
    kl = kl_to(logprobs, old_logprobs, counted)
    return _assemble(logprobs, advantage, counted, ratio, size, kl, kl, {"ess": size})


def mixture_logprobs(
    behavior_logprobs: Float[Tensor, "..."],
    proximal_logprobs: Float[Tensor, "..."],
    ess_behavior: float,
    ess_proximal: float,
) -> Float[Tensor, "..."]:
    """``log((w_b pi_b + w_p pi_p) / (w_b + w_p))`` with weights ``w = 1 - ess``, in float32.

    The staler an anchor, the more it holds. Equal weights where both are 0.
    """
    weights = torch.tensor([1 - ess_behavior, 1 - ess_proximal], dtype=torch.float64).clamp(min=0)
    weights = weights / weights.sum() if weights.sum() > 0 else torch.full((2,), 0.5, dtype=torch.float64)
    logs = weights.log().float().tolist()  # -inf for an anchor of no weight
    return torch.logaddexp(behavior_logprobs.float() + logs[0], proximal_logprobs.float() + logs[1])


def p3o_mixture_loss(
    logprobs: Float[Tensor, "batch token"],
    behavior_logprobs: Float[Tensor, "batch token"],
    proximal_logprobs: Float[Tensor, "batch token"],
    advantages: Tensor,
    mask: Bool[Tensor, "batch token"] | Float[Tensor, "batch token"],
    *,
    ess: tuple[float, float] | None = None,
) -> tuple[Float[Tensor, ""], Metrics]:
    """P3O with two anchors: the behavior policy that sampled, and a proximal policy, a recent copy of the trained one.

    Per token ``-sg(min(r_b, c)) * logp * A + (1 - c) * kl(policy, mixture)``, ``c`` the smaller of the two effective
    sample sizes, and the mixture of ``mixture_logprobs``. Where both anchors are one policy this is ``p3o_loss``.

    Args:
        logprobs: log-probabilities of the tokens under the policy that is trained.
        behavior_logprobs: under the policy that sampled them.
        proximal_logprobs: under the proximal policy.
        advantages: as in ``p3o_loss``.
        mask: as in ``p3o_loss``.
        ess: (behavior, proximal) of the whole optimization batch; default: of this batch.

    Returns:
        The loss and metrics as in ``p3o_loss``, ``ess`` the smaller one, with ``ess_behavior``, ``ess_proximal`` and
        ``kl_mixture`` besides.

    Raises:
        ValueError: if the shapes do not fit, or an ``ess`` is not in (0, 1].

    Source: arXiv 2605.12380, the variant with a proximal policy.
    """
    counted, advantage = _checked(logprobs, [behavior_logprobs, proximal_logprobs], advantages, mask)
    ratio = policy_ratio(logprobs, behavior_logprobs, counted)
    if ess is None:
        proximal = policy_ratio(logprobs, proximal_logprobs, counted)
        ess = effective_sample_size(ratio, counted), effective_sample_size(proximal, counted)
    sizes = [_checked_size(value) for value in ess]
    zero = torch.zeros((), device=logprobs.device)
    behavior, near = (torch.where(counted, given.detach().float(), zero)
                       for given in (behavior_logprobs, proximal_logprobs))  # fmt: skip
    kl = kl_to(logprobs, mixture_logprobs(behavior, near, *sizes), counted)
    with torch.no_grad():
        kl_behavior = kl_to(logprobs, behavior_logprobs, counted)
        extra = {"ess": min(sizes), "ess_behavior": sizes[0], "ess_proximal": sizes[1],
                 "kl_mixture": _mean(kl, counted)}  # fmt: skip
    return _assemble(logprobs, advantage, counted, ratio, min(sizes), kl, kl_behavior, extra)


def _assemble(
    logprobs: Tensor, advantage: Tensor, counted: Tensor, ratio: Tensor, ess: float, kl: Tensor, kl_behavior: Tensor,
    extra: Metrics,
) -> tuple[Tensor, Metrics]:  # fmt: skip
    """The mean over the tokens that count of the capped score function and the regularizer."""
    policy = torch.where(counted, logprobs.float(), 0.0)
    weight = ratio.clamp(max=ess).float().to(policy.device)
    per_token = torch.where(counted, -weight * policy * advantage + (1 - ess) * kl, 0.0)
    loss = per_token.sum() / counted.sum().clamp(min=1)
    with torch.no_grad():
        kept = ratio[counted.to(ratio.device)]
        metrics = extra | {
            "kl_behavior": _mean(kl_behavior, counted),
            "cap_fraction": float((kept > ess).double().mean()) if len(kept) else 0.0,
            "ratio_mean": float(kept.mean()) if len(kept) else 1.0,
            "ratio_max": float(kept.max()) if len(kept) else 1.0,
            "approx_kl": float((kept - 1 - kept.log()).mean()) if len(kept) else 0.0,
        }
    return loss, metrics


def _mean(values: Tensor, counted: Tensor) -> float:
    values = widened(values)
    kept = values[counted.to(values.device)]
    return float(kept.mean()) if len(kept) else 0.0


def _checked(logprobs: Tensor, others: list[Tensor], advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mask as booleans and the advantages as (batch, token), NaN-proof where nothing counts."""
    for name, given in [("old log-probabilities", other) for other in others] + [("mask", mask)]:
        if given.shape != logprobs.shape:
            raise ValueError(
                f"the {name} have the shape {tuple(given.shape)}, the log-probabilities {tuple(logprobs.shape)}"
            )
    advantage = advantages.detach().float()
    if advantage.ndim == 1 and logprobs.ndim == 2:
        advantage = advantage[:, None]
    try:
        advantage = advantage.expand(logprobs.shape)
    except RuntimeError:
        raise ValueError(
            f"the advantages have the shape {tuple(advantages.shape)}, which does not fit {tuple(logprobs.shape)}"
        ) from None
    counted = mask.detach().bool()
    return counted, torch.where(counted, advantage, 0.0)


def _checked_size(ess: float) -> float:
    if not (0 < ess <= 1) and ess == ess:  # NaN passes: a diverged policy gives a NaN loss, not an exception
        raise ValueError(f"ess is {ess}, but must be in (0, 1]")
    return float(ess)
