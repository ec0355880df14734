"""P3O on TRL: ``GRPOTrainer`` with another loss, and nothing else changed.

Generation, vLLM, rewards, PEFT, accelerate, DeepSpeed, checkpoints and trackers are TRL's.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from coupling.rl.p3o import p3o_loss, policy_ratio, ratio_statistics, sample_size, wide_device

PROCESSED = "processed_logprobs"
"""vLLM's name for log-probabilities after temperature and everything else that shapes what it samples from."""
QUANTILES = (0.05, 0.5, 0.95)
MEANINGLESS = {
    **dict.fromkeys(
        ("epsilon", "epsilon_high", "delta"),
        "P3O has no clip range: the effective sample size of each batch caps the ratios",
    ),
    **dict.fromkeys(
        ("loss_type", "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
         "vespo_lambda_neg"),
        "P3O is the loss; for another one use GRPOTrainer",
    ),
    "importance_sampling_level": "P3O's ratios are those of tokens",
    **dict.fromkeys(
        ("vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
         "vllm_importance_sampling_cap", "off_policy_mask_threshold"),
        "the effective sample size already answers for the mismatch with the policy that sampled",
    ),
    "use_bias_correction_kl": "P3O's regularizer is not corrected by ratios",
    **dict.fromkeys(
        ("entropy_coef", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target",
         "use_adaptive_entropy", "top_entropy_quantile"),
        "P3O has no entropy term",
    ),
}  # fmt: skip
"""Fields of GRPOConfig that P3O refuses, and why."""


@dataclass
class P3OConfig(GRPOConfig):
    """``trl.GRPOConfig`` for P3O: the same fields, less those that the objective makes meaningless.

    Raises:
        ValueError: if one of ``MEANINGLESS`` is set to anything but TRL's default, or if one optimization step would
            span several generations, so that its effective sample size could not be known in time.
    """

    def __post_init__(self) -> None:
        defaults = {field.name: field.default for field in fields(GRPOConfig)}
        for name, reason in MEANINGLESS.items():
            if name in defaults and getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} = {getattr(self, name)!r} means nothing in P3O: {reason}; leave it out")
        super().__post_init__()
        accumulated, generated = self.gradient_accumulation_steps, self.steps_per_generation or 1
        if generated % accumulated != 0:
            raise ValueError(
                f"gradient_accumulation_steps is {accumulated} and steps_per_generation {generated}: P3O needs all "
                "micro-batches of an optimization step from one generation: make the latter a multiple of the former"
            )
        # the policy's ratio to what the engine sampled from is P3O's own ratio: no second correction
        self.vllm_importance_sampling_correction = False


class P3OTrainer(GRPOTrainer):
    """``trl.GRPOTrainer`` whose loss is P3O's (see ``coupling.rl.p3o_loss``).

    The effective sample size is that of the whole optimization batch: all micro-batches and all ranks, from one
    reduction of ``(sum r, sum r^2, n)``. Where gradients are accumulated over stale rollouts, a first pass without
    gradients over the step's micro-batches finds it. The behavior policy's log-probabilities are the sampling
    engine's where it returned them, else those of the policy when it generated.

    Logs, besides TRL's: ``p3o/ess``, ``p3o/kl_behavior``, ``p3o/cap_fraction``, ``p3o/approx_kl``,
    ``p3o/ratio_mean``, ``p3o/ratio_max`` and the ratio's quantiles ``p3o/ratio_q05``, ``_q50``, ``_q95``, each over the
    tokens of the whole step, all micro-batches and all ranks.

    Args:
        *args: as ``trl.GRPOTrainer``.
        **kwargs: as ``trl.GRPOTrainer``; ``args`` is a ``P3OConfig``.

    Raises:
        TypeError: if ``args`` is not a ``P3OConfig``.
        ValueError: if a vLLM server's log-probabilities are not those of what it samples from.
    """

    _tag_names = ["trl", "p3o"]  # noqa: RUF012 (the base class says so)
    _name = "P3O"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, P3OConfig):
            raise TypeError(f"P3OTrainer takes a P3OConfig, and was given {type(config).__name__}")
        super().__init__(*args, **kwargs)
        if self.use_vllm and self.vllm_mode == "server":
            self._check_server()
        self._window: dict[str, Any] = {"left": 0}
        self._measured: list[tuple[Tensor, Tensor]] = []

    def _check_server(self) -> None:
        """TRL warns of this only where it corrects by the same ratios itself; here the loss is made of them."""
        said: list[Any] = [None]
        if self.accelerator.is_main_process:
            said = [self.vllm_generation.vllm_client.get_server_info().get("model_config", {}).get("logprobs_mode")]
        broadcast_object_list(said, from_process=0)
        if said[0] != PROCESSED:
            raise ValueError(
                f"the vLLM server gives {said[0] or 'unknown'} instead of {PROCESSED}, so P3O's ratios would not be to "
                f"the policy that it samples from; restart it with --logprobs-mode {PROCESSED}"
            )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; a second start begins a window of its own."""
        self._window, self._measured, self._step, self._buffered_inputs = {"left": 0}, [], 0, None
        return super().train(*args, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        train = bool(self.model.training)  # type: ignore[union-attr]
        accumulated = self.current_gradient_accumulation_steps if train else 1
        mask = counted_mask(inputs)
        if train and accumulated > 1 and self._window["left"] == 0:
            self._window = {"left": accumulated} | self._look_ahead(model, accumulated)
        logprobs, entropies, router_loss = self._forward(model, inputs, entropy=True)
        behavior = behavior_logprobs(inputs, logprobs)
        if train and accumulated > 1:
            ess, tokens = self._window["ess"], self._window["tokens"]
            self._window["left"] -= 1
        else:
            ess, tokens = self._reduce(ratio_statistics(policy_ratio(logprobs, behavior, mask), mask))
        mean, metrics = p3o_loss(logprobs, behavior, inputs["advantages"], mask, ess=ess)
        # ranks' gradients are averaged and micro-batches' summed: together the mean over the whole batch's tokens
        share = mask.sum() * self.accelerator.num_processes / max(tokens, 1.0)
        loss = mean * share
        log = self._metrics["train" if train else "eval"]
        if self.beta != 0.0:
            reference_kl = self._reference_kl(inputs, logprobs, mask)
            loss = loss + self.beta * reference_kl * share
            log["kl"].append(self.accelerator.gather(reference_kl.detach()).mean().item())
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * router_loss / accumulated
            log["aux_loss"].append(self.accelerator.gather(router_loss.detach()).mean().item())
        last = not train or accumulated == 1 or self._window["left"] == 0
        self._record(metrics, logprobs, behavior, entropies, mask, "train" if train else "eval", last=last)
        return loss

    def _forward(self, model: Any, inputs: dict[str, Any], *, entropy: bool) -> tuple[Tensor, Tensor | None, Tensor]:
        """Log-probabilities of the completion's tokens, (batch, token); entropies; a router's auxiliary loss."""
        names = ("pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
                 "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids")  # fmt: skip
        return self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].size(1),
            compute_entropy=entropy,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs.get(name) for name in names},
        )

    @torch.no_grad()
    def _look_ahead(self, model: Any, accumulated: int) -> dict[str, float]:
        """The effective sample size and the number of tokens of the optimization step that begins."""
        first = self._step % self.args.steps_per_generation  # type: ignore[attr-defined]
        total = torch.zeros(3, dtype=torch.float64, device=wide_device(self.accelerator.device))
        buffered: list[dict[str, Any]] = self._buffered_inputs or []
        if len(buffered) < first + accumulated:
            raise RuntimeError(
                f"{len(buffered)} micro-batches are left where a step takes {accumulated} from {first} on"
            )
        for inputs in buffered[first : first + accumulated]:
            mask = counted_mask(inputs)
            if behavior_logprobs(inputs, None) is None:  # sampled by this very policy: every ratio is 1
                ratio = torch.ones(mask.shape, device=mask.device)
            else:
                logprobs, *_ = self._forward(model, inputs, entropy=False)
                ratio = policy_ratio(logprobs, behavior_logprobs(inputs, logprobs), mask)
            total += ratio_statistics(ratio, mask)
        ess, tokens = self._reduce(total)
        return {"ess": ess, "tokens": tokens}

    def _reduce(self, statistics: Tensor) -> tuple[float, float]:
        """The effective sample size and number of tokens over all ranks."""
        total = self.accelerator.reduce(statistics, reduction="sum")
        return sample_size(total), float(total[2])

    def _reference_kl(self, inputs: dict[str, Any], logprobs: Tensor, mask: Tensor) -> Tensor:
        """TRL's own regularizer to the reference model, for ``beta``, averaged over the tokens that count."""
        difference = torch.where(mask.bool(), inputs["ref_per_token_logps"] - logprobs, 0.0)
        per_token = torch.exp(difference) - difference - 1
        return per_token.sum() / mask.sum().clamp(min=1)

    def _record(
        self, metrics: dict[str, float], logprobs: Tensor, behavior: Tensor, entropies: Tensor | None, mask: Tensor,
        mode: str, *, last: bool,
    ) -> None:  # fmt: skip
        """Keep what was measured of a micro-batch; after the last, over all and all ranks, for TRL's next log."""
        counted = mask.bool()
        ratio = policy_ratio(logprobs, behavior, mask)
        ratio = ratio[counted.to(ratio.device)]
        means = {name: metrics[name] for name in ("kl_behavior", "cap_fraction", "approx_kl", "ratio_mean")}
        if entropies is not None:
            means["entropy"] = float(entropies.detach()[counted].mean()) if len(ratio) else 0.0
        device = wide_device(self.accelerator.device)
        weighed = torch.tensor([*means.values(), 1.0], dtype=torch.float64, device=device) * len(ratio)
        self._measured.append((weighed, ratio))
        if not last:
            return
        sums, ratios = (torch.stack([one for one, _ in self._measured]).sum(dim=0),
                        torch.cat([one for _, one in self._measured]))  # fmt: skip
        self._measured = []
        total: Any = self.accelerator.reduce(sums, reduction="sum")
        longest = self.accelerator.gather(torch.tensor([len(ratios)], device=device)).max()
        padded = torch.full((int(longest),), torch.nan, dtype=torch.float64, device=device)
        padded[: len(ratios)] = ratios
        everywhere = self.accelerator.gather(padded)
        everywhere = everywhere[~everywhere.isnan()]
        log = self._metrics[mode]
        log["p3o/ess"].append(metrics["ess"])
        for name, value in zip(means, (total[:-1] / total[-1].clamp(min=1)).tolist(), strict=True):
            log[name if name == "entropy" else f"p3o/{name}"].append(value)
        if len(everywhere):
            log["p3o/ratio_max"].append(float(everywhere.max()))
            quantiles = np.quantile(everywhere.cpu().numpy(), QUANTILES)  # torch's takes no more than 2^24 numbers
            for level, value in zip(QUANTILES, quantiles.tolist(), strict=True):
                log[f"p3o/ratio_q{round(100 * level):02d}"].append(value)


def counted_mask(inputs: dict[str, Any]) -> Tensor:
    """Nonzero where a completion's token counts: not padding, and not written by a tool."""
    mask = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def behavior_logprobs(inputs: dict[str, Any], logprobs: Tensor | None) -> Any:
    """The log-probabilities under the policy that sampled; the policy's own, detached, where it has not moved since.

    Tokens that the engine could not score (NaN) have the ratio that the policy's own log-probabilities give them.
    """
    own = inputs.get("old_per_token_logps")
    own = own if own is not None else (None if logprobs is None else logprobs.detach())
    sampled = inputs.get("sampling_per_token_logps")
    if sampled is None:
        return own
    return sampled if own is None else torch.where(sampled.isnan(), own, sampled)
