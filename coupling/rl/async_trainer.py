"""P3O on TRL's asynchronous GRPO trainer, where rollouts are some updates old: each micro-batch has its own ess."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from trl.experimental.async_grpo.async_grpo_config import AsyncGRPOConfig
from trl.experimental.async_grpo.async_grpo_trainer import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_rollout_worker import AsyncRolloutWorker

from coupling.choices import KL_ESTIMATORS
from coupling.rl.config import MEANINGLESS
from coupling.rl.dropout import has_dropout
from coupling.rl.p3o import ess_from_statistics, finite_tokens, nan_if_lost, p3o_loss, policy_ratio, ratio_statistics
from coupling.rl.step_metrics import StepMetrics
from coupling.rl.trainer import PROCESSED


@dataclass
class AsyncP3OConfig(AsyncGRPOConfig):
    """TRL's ``AsyncGRPOConfig`` for P3O: the same fields, but P3O has no clip range.

    Attributes:
        kl_estimator: the form of the regularizer, as in ``P3OConfig``.

    Raises:
        ValueError: if ``epsilon`` or ``epsilon_high`` is not TRL's default, or there is no such estimator.
    """

    kl_estimator: str = field(
        default="k3", metadata={"help": f"Form of the regularizer to the behavior policy: {', '.join(KL_ESTIMATORS)}."}
    )

    def __post_init__(self) -> None:
        defaults = {item.name: item.default for item in fields(AsyncGRPOConfig)}
        for name in ("epsilon", "epsilon_high"):
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"`{name}={getattr(self, name)!r}` cannot be used with P3O: {MEANINGLESS[name]}")
        if self.kl_estimator not in KL_ESTIMATORS:
            raise ValueError(f"`kl_estimator` is {self.kl_estimator!r}, but must be one of {', '.join(KL_ESTIMATORS)}")
        super().__post_init__()


class AsyncP3OTrainer(AsyncGRPOTrainer):
    """TRL's ``AsyncGRPOTrainer`` whose loss is P3O's (see ``coupling.rl.p3o_loss``).

    A vLLM server samples while the trainer trains, and a rollout is used if it is at most ``max_staleness`` updates
    old. Micro-batches arrive one after the other, so the effective sample size is that of each micro-batch over all
    ranks, as in the authors' code. TRL averages over the tokens of each micro-batch, and over the micro-batches of an
    update. TRL's trainer needs a CUDA device with its kernel for attention, and is experimental.

    Logs ``p3o/ess`` (of the whole update), ``p3o/ess_micro`` (the mean over micro-batches of each one's own, which the
    loss uses), and what else ``P3OTrainer`` logs of the ratios. TRL's ``clip_ratio/...`` are logged as well, for its
    default clip range, which the loss does not have.

    Args:
        *args: as for TRL's ``AsyncGRPOTrainer``, which is experimental.
        **kwargs: likewise; ``args`` is an ``AsyncP3OConfig``.

    Raises:
        TypeError: if ``args`` is not an ``AsyncP3OConfig``.
        ValueError: if the model has dropout, which the server does not have, so that its noise would be taken for
            staleness; or, when training begins, if the server's log-probabilities are not those of the distribution
            that it samples from.

    Source: arXiv 2605.12380.
    """

    _tag_names = ["trl", "p3o"]  # noqa: RUF012 (the base class declares a list)
    _name = "AsyncP3O"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, AsyncP3OConfig):
            raise TypeError(f"AsyncP3OTrainer takes an AsyncP3OConfig, and was given {type(config).__name__}")
        super().__init__(*args, **kwargs)
        if has_dropout(self.model):  # type: ignore[arg-type]
            raise ValueError("the model or its adapters have dropout, and the server samples without it; set it to 0")
        self._step_metrics = StepMetrics(self.accelerator)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as TRL does, after a look at the server."""
        if self.accelerator.is_main_process and isinstance(self.rollout_worker, AsyncRolloutWorker):
            self._check_server()
        return super().train(*args, **kwargs)

    def _check_server(self) -> None:
        client: Any = self.vllm_client  # of the main process
        client.wait_for_server_ready()
        mode = client.get_server_info().get("model_config", {}).get("logprobs_mode")
        if mode != PROCESSED:
            raise ValueError(
                f"the vLLM server gives {mode or 'unknown'} instead of {PROCESSED}, so P3O's ratios would not be "
                f"relative to the policy that it samples from; restart it with --logprobs-mode {PROCESSED}"
            )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The loss of one micro-batch on one rank, normalized as TRL normalizes its own."""
        outputs: dict[str, Any] = {}

        def forward(**arguments: Any) -> Any:
            outputs["of model"] = result = model(**arguments)
            return result

        # TRL's method makes the one forward pass, and does its accounting; its loss is not used.
        model_call: Any = forward
        super().compute_loss(model_call, inputs, return_outputs, num_items_in_batch)
        of_model, selected = outputs["of model"], inputs["token_index"] >= 0
        # (1, token): the loss terms of this rank's rollouts, without padding
        logprobs = of_model.log_probs.flatten()[inputs["token_index"][selected]][None]
        behavior, advantages = (inputs[name][selected][None] for name in ("old_log_probs", "advantages"))
        given = torch.ones_like(logprobs, dtype=torch.bool)
        mask = finite_tokens(given, logprobs, behavior)
        ratio = policy_ratio(logprobs, behavior, mask)
        own = ratio_statistics(ratio, mask)
        total: Any = self.accelerator.reduce(own, reduction="sum")
        estimator = self.args.kl_estimator  # type: ignore[attr-defined]
        mean, metrics = p3o_loss(
            logprobs, behavior, advantages, given, ess=ess_from_statistics(total), kl_estimator=estimator
        )
        if total[2] == 0:
            mean = nan_if_lost(mean, given, mask)
        self._step_metrics.add(metrics, own[None], ratio, None, mask)
        # Gradients of W ranks are averaged: the mean over all n tokens is 1/W sum over ranks of (n_rank W / n) * mean.
        share = mask.sum() * self.accelerator.num_processes / total[2].clamp(min=1).to(mean.device)
        loss = mean * share
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * of_model.aux_loss
        return loss.to(mean.dtype) / self.current_gradient_accumulation_steps

    def _log_step_metrics(self) -> None:
        """TRL's metrics of an update, and P3O's."""
        super()._log_step_metrics()
        for name, value in self._step_metrics.finish().items():
            self._metrics["train"][name].append(value)
