"""P3O on TRL: ``GRPOTrainer`` with another loss, and nothing else changed.

Generation, vLLM, rewards, PEFT, accelerate, DeepSpeed, checkpoints and trackers are TRL's.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from jaxtyping import Float
from torch import Tensor
from trl import GRPOTrainer  # pyright: ignore[reportPrivateImportUsage] (TRL exports it lazily)

from coupling.rl.config import P3OConfig
from coupling.rl.p3o import (
    Metrics,
    ess_from_statistics,
    finite_tokens,
    float64_device,
    nan_if_lost,
    p3o_loss,
    policy_ratio,
    ratio_statistics,
)

PROCESSED = "processed_logprobs"
"""vLLM's name for log-probabilities after temperature and everything else that shapes what it samples from."""
QUANTILES = (0.05, 0.5, 0.95)
"""The levels of the logged quantiles of the policy ratio."""
LOGGED_MEANS = ("kl_behavior", "cap_fraction", "kl_from_behavior", "ratio_mean")
"""The metrics of ``p3o_loss`` that are means over tokens, so that micro-batches and ranks can be averaged."""
MULTIMODAL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""The entries of TRL's batches that a model that takes images needs, besides the tokens."""


class StepStatistics(NamedTuple):
    """An optimization step's tokens, over all micro-batches and ranks.

    Attributes:
        ess: the effective sample size of their ratios.
        n_tokens: how many count.
    """

    ess: float
    n_tokens: float


class P3OTrainer(GRPOTrainer):
    """``trl.GRPOTrainer`` whose loss is P3O's (see ``coupling.rl.p3o_loss``).

    The effective sample size is that of the whole optimization batch: all micro-batches and all ranks, from one
    reduction of ``(sum r, sum r^2, n)``. If gradients are accumulated over rollouts that are not fresh, a first pass
    over the step's micro-batches, without gradients, computes it. The behavior policy's log-probabilities are those
    that the sampling engine returned; if it returned none, those of the policy when it generated.

    Logs, besides TRL's: ``p3o/ess``, ``p3o/kl_behavior`` and ``p3o/kl_from_behavior`` (nats per token, of the
    policy from the behavior policy and the other way round),
    ``p3o/cap_fraction``, ``p3o/nonfinite`` (how many tokens were left out because a log-probability of them is not
    finite), ``p3o/ratio_mean``, ``p3o/ratio_max`` and the quantiles of the ratio ``p3o/ratio_q05``,
    ``p3o/ratio_q50``, ``p3o/ratio_q95``; each over the tokens of the whole step, all micro-batches and all ranks.

    Args:
        *args: as for ``trl.GRPOTrainer``.
        **kwargs: as for ``trl.GRPOTrainer``; ``args`` is a ``P3OConfig``.

    Raises:
        TypeError: if ``args`` is not a ``P3OConfig``.
        ValueError: if a vLLM server's log-probabilities are not those of the distribution that it samples from.

    Source: arXiv 2605.12380.
    """

    _tag_names = ["trl", "p3o"]  # noqa: RUF012 (the base class declares a list)
    _name = "P3O"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, P3OConfig):
            raise TypeError(f"P3OTrainer takes a P3OConfig, and was given {type(config).__name__}")
        super().__init__(*args, **kwargs)
        if self.use_vllm and self.vllm_mode == "server":
            self._check_server()
        self._forget_steps()

    def _forget_steps(self) -> None:
        """Forget everything about steps that are not complete."""
        self._batch = StepStatistics(ess=1.0, n_tokens=0.0)
        self._micro_batches_left = 0
        self._micro_batches: list[tuple[Metrics, Tensor, float]] = []

    def _check_server(self) -> None:
        """Refuse a server whose log-probabilities the loss cannot use.

        TRL only warns of this, and only if its own importance sampling correction is on; P3O's loss is built on these
        log-probabilities.
        """
        logprobs_mode: list[Any] = [None]
        if self.accelerator.is_main_process:
            information = self.vllm_generation.vllm_client.get_server_info()
            logprobs_mode = [information.get("model_config", {}).get("logprobs_mode")]
        broadcast_object_list(logprobs_mode, from_process=0)
        if logprobs_mode[0] != PROCESSED:
            raise ValueError(
                f"the vLLM server gives {logprobs_mode[0] or 'unknown'} instead of {PROCESSED}, so P3O's ratios would "
                f"not be relative to the policy that it samples from; restart it with --logprobs-mode {PROCESSED}"
            )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as TRL does; a second call generates new rollouts and begins with a new optimization step."""
        self._forget_steps()
        self._step, self._buffered_inputs = 0, None
        return super().train(*args, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of one micro-batch on one rank, weighted so that the step's gradient is that of the batch's mean."""
        mode = "train" if self.model.training else "eval"  # type: ignore[union-attr]
        n_micro_batches = self.current_gradient_accumulation_steps if mode == "train" else 1
        if n_micro_batches > 1 and self._micro_batches_left == 0:  # an optimization step begins
            self._batch = self._look_ahead(model, n_micro_batches)
            self._micro_batches_left = n_micro_batches
        given = counted_mask(inputs)
        logprobs, entropies, router_loss = self._forward(model, inputs, entropy=True)
        behavior = behavior_logprobs(inputs, logprobs)
        mask = finite_tokens(given, logprobs, behavior)
        ratio = policy_ratio(logprobs, behavior, mask)
        if n_micro_batches > 1:
            self._micro_batches_left -= 1
            batch = self._batch
        else:  # this micro-batch is the whole step on this rank, so its own forward pass has all ratios
            batch = self._reduce(ratio_statistics(ratio, mask))
        mean, metrics = p3o_loss(logprobs, behavior, inputs["advantages"], given, ess=batch.ess)
        if batch.n_tokens == 0:
            mean = nan_if_lost(mean, given, mask)
        # The gradients of W ranks are averaged and those of micro-batches summed. The mean over all N tokens is
        # sum over micro-batches of 1/W sum over ranks of share * mean, where share = n W / N for a part of n tokens.
        share = mask.sum() * self.accelerator.num_processes / max(batch.n_tokens, 1.0)
        loss = self._with_reference_kl(mean * share, share, inputs, logprobs, mask, mode)
        loss = self._with_router_loss(loss, router_loss, n_micro_batches, mode)
        self._remember(metrics, ratio, entropies, mask)
        if n_micro_batches == 1 or self._micro_batches_left == 0:
            self._log_step(mode, batch.ess)
        return loss

    def _forward(self, model: Any, inputs: dict[str, Any], *, entropy: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """Log-probabilities of the completion's tokens, (batch, token); entropies; a router's auxiliary loss."""
        return self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].size(1),
            compute_entropy=entropy,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs.get(name) for name in MULTIMODAL_INPUTS},
        )

    @torch.no_grad()
    def _look_ahead(self, model: Any, n_micro_batches: int) -> StepStatistics:
        """The effective sample size and number of tokens of the optimization step that begins.

        The first micro-batch's loss already needs the effective sample size of all of them: it is the cap of every
        token's ratio, and 1 - ess weighs the regularizer. It is not additive over micro-batches, and after a backward
        pass it is too late to change either. So one more forward pass over each micro-batch, without gradients, adds
        up ``(sum r, sum r^2, n)``; the weights do not change before the step ends, so its ratios are those of the loss.
        """
        # TRL keeps the micro-batches of a generation, and takes number _step modulo steps_per_generation next.
        first = self._step % self.args.steps_per_generation  # type: ignore[attr-defined]
        buffered: list[dict[str, Any]] = self._buffered_inputs or []
        if len(buffered) < first + n_micro_batches:
            raise RuntimeError(
                f"the optimization step needs {n_micro_batches} micro-batches beginning with number {first}, but the "
                f"generation has only {len(buffered)}"
            )
        total = torch.zeros(3, dtype=torch.float64, device=float64_device(self.accelerator.device))
        for inputs in buffered[first : first + n_micro_batches]:
            mask = counted_mask(inputs)
            if behavior_logprobs(inputs, None) is None:  # sampled by the present weights: every ratio is 1
                ratio = torch.ones(mask.shape, device=mask.device)
            else:
                logprobs, *_ = self._forward(model, inputs, entropy=False)
                behavior = behavior_logprobs(inputs, logprobs)
                mask = finite_tokens(mask, logprobs, behavior)
                ratio = policy_ratio(logprobs, behavior, mask)
            total += ratio_statistics(ratio, mask)
        return self._reduce(total)

    def _reduce(self, statistics: Float[Tensor, " 3"]) -> StepStatistics:
        """Add up ``(sum r, sum r^2, n)`` over the ranks, and compute ``ess = (sum r)^2 / (n sum r^2)`` of the sums."""
        total: Any = self.accelerator.reduce(statistics, reduction="sum")
        return StepStatistics(ess=ess_from_statistics(total), n_tokens=float(total[2]))

    def _with_reference_kl(
        self, loss: Tensor, share: Tensor, inputs: dict[str, Any], logprobs: Tensor, mask: Tensor, mode: str
    ) -> Tensor:
        """The loss plus ``beta`` times TRL's own regularizer to the reference model, averaged like the loss itself."""
        if self.beta == 0.0:
            return loss
        difference = torch.where(mask.bool(), inputs["ref_per_token_logps"] - logprobs, 0.0)
        per_token = torch.exp(difference) - difference - 1  # exp(l_ref - l) - (l_ref - l) - 1
        reference_kl = per_token.sum() / mask.sum().clamp(min=1)
        self._log_rank_mean(mode, "kl", reference_kl)
        return loss + self.beta * reference_kl * share

    def _with_router_loss(self, loss: Tensor, router_loss: Tensor, n_micro_batches: int, mode: str) -> Tensor:
        """The loss plus the auxiliary loss that balances a mixture of experts, as TRL adds it."""
        if not self.aux_loss_enabled:
            return loss
        self._log_rank_mean(mode, "aux_loss", router_loss)
        return loss + self.router_aux_loss_coef * router_loss / n_micro_batches

    def _log_rank_mean(self, mode: str, name: str, value: Tensor) -> None:
        """Keep the mean over ranks of a number for TRL's next log."""
        by_rank: Any = self.accelerator.gather(value.detach())
        self._metrics[mode][name].append(by_rank.mean().item())

    def _remember(self, metrics: Metrics, ratio: Tensor, entropies: Tensor | None, mask: Tensor) -> None:
        """Keep a micro-batch's means over tokens, and its ratios, until the step ends.

        Args:
            metrics: of ``p3o_loss``.
            ratio: the policy ratios, (batch, token), in float64.
            entropies: of the next-token distributions, (batch, token), in nats.
            mask: (batch, token); nonzero where a token counts.
        """
        counted = mask.bool()
        ratios = ratio[counted.to(ratio.device)]
        means = {f"p3o/{name}": metrics[name] for name in LOGGED_MEANS}
        if entropies is not None:
            means["entropy"] = float(entropies.detach()[counted].mean()) if len(ratios) else 0.0
        self._micro_batches.append((means, ratios, metrics["nonfinite"]))

    def _log_step(self, mode: str, ess: float) -> None:
        """Keep the metrics of the whole step, all micro-batches and all ranks, for TRL's next log."""
        log = self._metrics[mode]
        log["p3o/ess"].append(ess)
        device = float64_device(self.accelerator.device)
        # The mean over all tokens is sum n mean / sum n, over micro-batches and ranks with n tokens each.
        weighted = [
            torch.tensor(
                [*(len(ratios) * mean for mean in means.values()), len(ratios), nonfinite],
                dtype=torch.float64,
                device=device,
            )
            for means, ratios, nonfinite in self._micro_batches
        ]
        total: Any = self.accelerator.reduce(torch.stack(weighted).sum(dim=0), reduction="sum")
        names = self._micro_batches[0][0]
        for name, value in zip(names, (total[:-2] / total[-2].clamp(min=1)).tolist(), strict=True):
            log[name].append(value)
        log["p3o/nonfinite"].append(float(total[-1]))
        ratios = self._gather_ratios(torch.cat([ratios for _, ratios, _ in self._micro_batches]))
        self._micro_batches = []
        if len(ratios):
            log["p3o/ratio_max"].append(float(ratios.max()))
            # NumPy's quantile, because PyTorch's does not accept more than 2^24 numbers
            quantiles = np.quantile(ratios.cpu().numpy(), QUANTILES)
            for level, value in zip(QUANTILES, quantiles.tolist(), strict=True):
                log[f"p3o/ratio_q{round(100 * level):02d}"].append(value)

    def _gather_ratios(self, ratios: Float[Tensor, " n"]) -> Float[Tensor, " total"]:
        """The ratios of all ranks; quantiles of a whole cannot be computed from those of its parts."""
        device = float64_device(self.accelerator.device)
        # Ranks have different numbers of tokens, and gather needs equal lengths: fill up with NaN, then remove it.
        lengths: Any = self.accelerator.gather(torch.tensor([len(ratios)], device=device))
        padded = torch.full((int(lengths.max()),), torch.nan, dtype=torch.float64, device=device)
        padded[: len(ratios)] = ratios
        gathered: Any = self.accelerator.gather(padded)
        return gathered[~gathered.isnan()]


def counted_mask(inputs: dict[str, Any]) -> Tensor:
    """Nonzero where a completion's token counts: it is neither padding nor written by a tool; (batch, token)."""
    mask = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def behavior_logprobs(inputs: dict[str, Any], logprobs: Tensor | None) -> Any:
    """Log-probabilities under the policy that sampled the tokens, in nats, (batch, token).

    Args:
        inputs: a micro-batch of TRL. ``sampling_per_token_logps`` are those that the sampling engine returned, NaN for
            tokens that it could not score; ``old_per_token_logps`` those of the policy when it generated, which TRL
            computes only if the weights change before the tokens are used.
        logprobs: those of the present policy, (batch, token); None if they are not known yet.

    Returns:
        The engine's, and where it has none those of the policy when it generated, which are the present policy's,
        detached, if its weights have not changed since. None if they are the present policy's and not known yet.
    """
    own = inputs.get("old_per_token_logps")
    if own is None and logprobs is not None:
        own = logprobs.detach()
    sampled = inputs.get("sampling_per_token_logps")
    if sampled is None:
        return own
    return sampled if own is None else torch.where(sampled.isnan(), own, sampled)
