"""P3O on TRL: ``GRPOTrainer`` with another loss, and nothing else changed.

Generation, vLLM, rewards, PEFT, accelerate, DeepSpeed, checkpoints and trackers are TRL's.
"""

import warnings
from typing import Any, NamedTuple

import torch
from accelerate.utils import broadcast_object_list
from jaxtyping import Float
from torch import Tensor
from trl import GRPOTrainer  # pyright: ignore[reportPrivateImportUsage] (TRL exports it lazily)

from coupling.rl.config import P3OConfig
from coupling.rl.dropout import has_dropout, without_dropout
from coupling.rl.p3o import (
    Metrics,
    ess_from_statistics,
    finite_tokens,
    nan_if_lost,
    p3o_loss,
    p3o_mixture_loss,
    policy_ratio,
    ratio_statistics,
)
from coupling.rl.rollouts import MULTIMODAL_INPUTS, behavior_logprobs, counted_mask, proximal_logprobs
from coupling.rl.step_metrics import StepMetrics
from coupling.rl.truncation import truncation, unseen_warning

PROCESSED = "processed_logprobs"
"""vLLM's name for log-probabilities after temperature and everything else that shapes what it samples from."""


class TokenStatistics(NamedTuple):
    """The tokens of a micro-batch or of an optimization step, over all ranks.

    Attributes:
        ess: the effective sample size of their ratios to each anchor.
        n_tokens: how many count.
    """

    ess: tuple[float, ...]
    n_tokens: float


class P3OTrainer(GRPOTrainer):
    """``trl.GRPOTrainer`` whose loss is P3O's (see ``coupling.rl.p3o_loss``).

    With ``ess_scope="batch"``, the effective sample size is that of the whole optimization batch: all micro-batches and
    all ranks, from one reduction of ``(sum r, sum r^2, n)``. If gradients are accumulated over rollouts that are not
    fresh, a first pass over the step's micro-batches, without gradients, computes it. With ``ess_scope="micro"``, each
    micro-batch has its own, over all ranks, as in the authors' code, and there is no such pass. Either way the loss is
    the mean over all tokens of the step.

    The behavior policy's log-probabilities are those that the sampling engine returned; if it returned none, those of
    the policy when it generated. They are the policy's without dropout, and so are those that the loss compares with
    them: where a model has dropout, one more forward pass without it gives the values, and the pass with dropout the
    gradient. Where TRL samples by itself, it samples without dropout as well.

    Logs, besides TRL's: ``p3o/ess`` (of the whole batch, whatever the loss uses) and ``p3o/ess_micro`` (the mean over
    micro-batches of each one's own); ``p3o/kl_behavior`` and ``p3o/kl_from_behavior`` (nats per token, of the policy
    from the behavior policy and the other way round), ``p3o/cap_fraction`` (the share of ratios above the cap that the
    loss used), ``p3o/nonfinite`` (how many tokens were left out because a log-probability of them is not finite),
    ``p3o/ratio_mean``, ``p3o/ratio_max`` and the quantiles of the ratio ``p3o/ratio_q05``, ``p3o/ratio_q50``,
    ``p3o/ratio_q95``; each over the tokens of the whole step, all micro-batches and all ranks. Where sampling is
    truncated (such as by ``top_k``) and the sampler gives no log-probabilities, ratios cannot show it: this is warned
    of once, and ``p3o/truncation_unseen`` is logged as 1.

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
    _warned = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, P3OConfig):
            raise TypeError(f"P3OTrainer takes a P3OConfig, and was given {type(config).__name__}")
        super().__init__(*args, **kwargs)
        if self.use_vllm and self.vllm_mode == "server":
            self._check_server()
        self._drops: bool = has_dropout(self.model)  # type: ignore[arg-type]
        self._truncation = truncation(config)
        self._forget_steps()

    def _forget_steps(self) -> None:
        """Forget everything about steps that are not complete."""
        self._batch = TokenStatistics(ess=(), n_tokens=0.0)
        self._micro_batches_left = 0
        self._step_metrics = StepMetrics(self.accelerator)

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

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, without dropout: the policy that samples is the one whose log-probabilities are compared."""
        if not self._drops:
            return super()._generate_single_turn(*args, **kwargs)
        with without_dropout(self.model):  # type: ignore[arg-type]
            return super()._generate_single_turn(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; but the values of log-probabilities are those without dropout, and only their gradient is with it.

        With the mask of dropout in the values, a ratio would differ from 1 before any weight has changed.
        """
        if not self._drops:
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        with torch.no_grad(), without_dropout(model):
            exact = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if not torch.is_grad_enabled():
            return exact
        noisy = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        # the value of the one with the gradient of the other; l - sg(l) is exactly 0
        return exact[0] + (noisy[0] - noisy[0].detach()), *noisy[1:]

    def _anchors(self, inputs: dict[str, Any], logprobs: Tensor | None) -> tuple[Any, ...]:
        """Log-probabilities under the policies that the loss compares with; see ``behavior_logprobs``."""
        return (behavior_logprobs(inputs, logprobs),)

    def _objective(
        self, logprobs: Tensor, anchors: tuple[Tensor, ...], advantages: Tensor, mask: Tensor, ess: tuple[float, ...]
    ) -> tuple[Tensor, Metrics]:
        """The mean loss over a micro-batch's tokens, and its metrics."""
        (behavior,), (size,) = anchors, ess
        return p3o_loss(logprobs, behavior, advantages, mask, ess=size, kl_estimator=self.args.kl_estimator)  # type: ignore[attr-defined]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of one micro-batch on one rank, weighted so that the step's gradient is that of the batch's mean."""
        mode = "train" if self.model.training else "eval"  # type: ignore[union-attr]
        n_micro_batches = self.current_gradient_accumulation_steps if mode == "train" else 1
        if n_micro_batches > 1 and self._micro_batches_left == 0:  # an optimization step begins
            self._batch = self._look_ahead(model, n_micro_batches)
            self._micro_batches_left = n_micro_batches
        given = counted_mask(inputs)
        logprobs, entropies, router_loss = self._forward(model, inputs, entropy=True)
        anchors = self._anchors(inputs, logprobs)
        mask, ratio, statistics = self._compare(logprobs, anchors, given)
        if n_micro_batches > 1:
            self._micro_batches_left -= 1
            scope = self._batch if self._of_batch else self._reduce(statistics)
            n_tokens = self._batch.n_tokens
        else:  # this micro-batch is the whole step on this rank, so its own forward pass has all ratios
            scope = self._reduce(statistics)
            n_tokens = scope.n_tokens
        mean, metrics = self._objective(logprobs, anchors, inputs["advantages"], given, scope.ess)
        if scope.n_tokens == 0:
            mean = nan_if_lost(mean, given, mask)
        # The gradients of W ranks are averaged and those of micro-batches summed. The mean over all N tokens is
        # sum over micro-batches of 1/W sum over ranks of share * mean, where share = n W / N for a part of n tokens.
        share = mask.sum() * self.accelerator.num_processes / max(n_tokens, 1.0)
        loss = self._with_reference_kl(mean * share, share, inputs, logprobs, mask, mode)
        loss = self._with_router_loss(loss, router_loss, n_micro_batches, mode)
        self._step_metrics.add(metrics, statistics, ratio, entropies, mask)
        if n_micro_batches == 1 or self._micro_batches_left == 0:
            self._log_step(mode, unseen=bool(self._truncation) and inputs.get("sampling_per_token_logps") is None)
        return loss

    @property
    def _of_batch(self) -> bool:
        """Whether all micro-batches of a step share one effective sample size."""
        return self.args.ess_scope == "batch"  # type: ignore[attr-defined]

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

    def _compare(
        self, logprobs: Tensor, anchors: tuple[Tensor, ...], given: Tensor
    ) -> tuple[Tensor, Tensor, Float[Tensor, "anchor 3"]]:
        """Where a token counts and is finite, its ratio to the first anchor, and ``(sum r, sum r^2, n)`` to each."""
        mask = finite_tokens(given, logprobs, *anchors)
        ratios = [policy_ratio(logprobs, anchor, mask) for anchor in anchors]
        return mask, ratios[0], torch.stack([ratio_statistics(ratio, mask) for ratio in ratios])

    @torch.no_grad()
    def _look_ahead(self, model: Any, n_micro_batches: int) -> TokenStatistics:
        """The number of tokens of the optimization step that begins, and its effective sample size where one is shared.

        The first micro-batch's loss already needs the effective sample size of all of them: it is the cap of every
        token's ratio, and 1 - ess weighs the regularizer. It is not additive over micro-batches, and after a backward
        pass it is too late to change either. So one more forward pass over each micro-batch, without gradients, adds
        up ``(sum r, sum r^2, n)``; the weights do not change before the step ends, so its ratios are those of the loss.
        Where each micro-batch has its own, tokens are only counted: those whose log-probabilities by the anchors are
        finite.
        """
        # TRL keeps the micro-batches of a generation, and takes number _step modulo steps_per_generation next.
        first = self._step % self.args.steps_per_generation  # type: ignore[attr-defined]
        buffered: list[dict[str, Any]] = self._buffered_inputs or []
        if len(buffered) < first + n_micro_batches:
            raise RuntimeError(
                f"the optimization step needs {n_micro_batches} micro-batches beginning with number {first}, but the "
                f"generation has only {len(buffered)}"
            )
        parts = [self._ahead(model, inputs) for inputs in buffered[first : first + n_micro_batches]]
        return self._reduce(torch.stack(parts).sum(dim=0))

    def _ahead(self, model: Any, inputs: dict[str, Any]) -> Float[Tensor, "anchor 3"]:
        """``(sum r, sum r^2, n)`` of one micro-batch of the look-ahead pass for each anchor."""
        given, anchors = counted_mask(inputs), self._anchors(inputs, None)
        known = [anchor for anchor in anchors if anchor is not None]
        # sampled by the present weights, so that every ratio is 1; or only the number of tokens is of interest
        if not self._of_batch or not known:
            ones = torch.ones(given.shape, device=given.device)
            return torch.stack([ratio_statistics(ones, finite_tokens(given, *known))] * len(anchors))
        logprobs, *_ = self._forward(model, inputs, entropy=False)
        return self._compare(logprobs, self._anchors(inputs, logprobs), given)[2]

    def _reduce(self, statistics: Float[Tensor, "anchor 3"]) -> TokenStatistics:
        """Add up ``(sum r, sum r^2, n)`` over the ranks, and compute ``ess = (sum r)^2 / (n sum r^2)`` of the sums."""
        total: Any = self.accelerator.reduce(statistics, reduction="sum")
        return TokenStatistics(ess=tuple(ess_from_statistics(row) for row in total), n_tokens=float(total[0, 2]))

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

    def _log_step(self, mode: str, *, unseen: bool) -> None:
        """Keep the metrics of the whole step for TRL's next log.

        Args:
            mode: "train" or "eval".
            unseen: whether sampling was truncated in a way that the ratios do not show.
        """
        log = self._metrics[mode]
        for name, value in self._step_metrics.finish().items():
            log[name].append(value)
        if unseen:
            log["p3o/truncation_unseen"].append(1.0)
            if not self._warned:
                self._warned = True
                warnings.warn(unseen_warning(self._truncation), stacklevel=2)


class P4OTrainer(P3OTrainer):
    """``P3OTrainer`` with two anchors, the authors' P4O (see ``coupling.rl.p3o_mixture_loss``).

    The behavior policy is as in ``P3OTrainer``: where an engine or a ``rollout_func`` gave log-probabilities, those.
    The proximal policy is the trained one as it was when the rollouts arrived, before the updates that are made on
    them. So both anchors are the same where the policy sampled by itself, and then this is P3O; and the proximal policy
    differs from the present one only from the second update on the same rollouts on (``num_iterations``, or
    ``steps_per_generation`` above ``gradient_accumulation_steps``).

    Logs, besides what ``P3OTrainer`` logs: ``p3o/ess_proximal``, ``p3o/ess_proximal_micro`` and ``p3o/kl_mixture``.

    Source: arXiv 2605.12380, the variant with a proximal policy.
    """

    _tag_names = ["trl", "p4o"]  # noqa: RUF012 (the base class declares a list)
    _name = "P4O"

    def _anchors(self, inputs: dict[str, Any], logprobs: Tensor | None) -> tuple[Any, ...]:
        """Log-probabilities under the behavior policy and the proximal policy."""
        return behavior_logprobs(inputs, logprobs), proximal_logprobs(inputs, logprobs)

    def _objective(
        self, logprobs: Tensor, anchors: tuple[Tensor, ...], advantages: Tensor, mask: Tensor, ess: tuple[float, ...]
    ) -> tuple[Tensor, Metrics]:
        """The mean loss over a micro-batch's tokens, and its metrics."""
        (behavior, proximal), (first, second) = anchors, ess
        sizes, estimator = (first, second), self.args.kl_estimator  # type: ignore[attr-defined]
        return p3o_mixture_loss(logprobs, behavior, proximal, advantages, mask, ess=sizes, kl_estimator=estimator)
