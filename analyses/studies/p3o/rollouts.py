"""Rollouts from another policy than the trained one: older, at another temperature, or with rounded weights.

Each brings its own log-probabilities, as an inference engine does, so that the objective can see the mismatch.
"""

import copy
import random
from collections import deque
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def round_weights(model: nn.Module, bits: int = 8) -> nn.Module:
    """Round the weights of the linear layers in place, symmetrically, with one scale per output row.

    Args:
        model: any module.
        bits: weights become multiples w of their row's scale, -(2^(bits - 1) - 1) <= w <= 2^(bits - 1) - 1.

    Returns:
        The same module.
    """
    levels = 2 ** (bits - 1) - 1
    smallest = torch.finfo(torch.float32).tiny
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                # w -> round(w / scale) scale, with scale = max |w| / levels of each row
                scale = module.weight.abs().amax(dim=1, keepdim=True).clamp(min=smallest) / levels
                module.weight.copy_((module.weight / scale).round() * scale)
    return model


class BehaviorPolicy:
    """A ``rollout_func`` for TRL's trainers: samples from a copy of the policy, with the copy's log-probabilities.

    Args:
        age: how many updates old the copy is; it is the initial policy until as many updates have been made. Two
            numbers are the least and the greatest: each batch of rollouts then has an age drawn uniformly between them.
        temperature: the temperature that it samples at.
        reported_temperature: the temperature of its log-probabilities; default: the one that it samples at.
        bits: the weights of its linear layers are rounded to this number of bits; None leaves them.
        max_new_tokens: the longest completion, in tokens.
        seed: the seed of the draws of ages.
    """

    def __init__(
        self,
        *,
        age: int | tuple[int, int] = 0,
        temperature: float = 1.0,
        reported_temperature: float | None = None,
        bits: int | None = None,
        max_new_tokens: int = 8,
        seed: int = 0,
    ) -> None:
        self.ages = (age, age) if isinstance(age, int) else age
        self.temperature, self.bits, self.max_new_tokens = temperature, bits, max_new_tokens
        self.reported_temperature = temperature if reported_temperature is None else reported_temperature
        self._states: deque[dict[str, Tensor]] = deque(maxlen=self.ages[1] + 1)
        self._random = random.Random(f"ages {seed}")
        self._copy: Any = None

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, list]:
        """Sample one completion for each prompt.

        Args:
            prompts: the texts.
            trainer: the trainer, whose policy is copied.

        Returns:
            ``prompt_ids``, ``completion_ids`` and ``logprobs`` (nats): one list for each prompt, without padding and
            without anything after the end token.
        """
        policy = trainer.accelerator.unwrap_model(trainer.model)
        model = self._sampler(policy)
        tokenizer = trainer.processing_class
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(policy.device)
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        completions, logprobs = self._sample(model, tokenizer, ids, mask)
        output: dict[str, list] = {"prompt_ids": [], "completion_ids": [], "logprobs": []}
        for row, is_prompt in enumerate(mask.bool()):
            ends = (completions[row] == tokenizer.eos_token_id).nonzero()
            length = int(ends[0]) + 1 if len(ends) else completions.shape[1]
            output["prompt_ids"].append(ids[row][is_prompt].tolist())
            output["completion_ids"].append(completions[row, :length].tolist())
            output["logprobs"].append(logprobs[row, :length].tolist())
        return output

    @torch.no_grad()
    def _sample(
        self, model: Any, tokenizer: Any, ids: Int[Tensor, "batch n"], mask: Int[Tensor, "batch n"]
    ) -> tuple[Int[Tensor, "batch m"], Float[Tensor, "batch m"]]:
        """Sampled tokens, and their log-probabilities at the reported temperature."""
        result = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=self.max_new_tokens,
            do_sample=True,
            temperature=self.temperature,
            top_k=0,
            top_p=1.0,
            return_dict_in_generate=True,
            output_scores=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        completions = result.sequences[:, ids.shape[1] :]
        # The scores are logits / temperature; the log-probabilities are log softmax(logits / reported temperature).
        logits = torch.stack(result.scores, dim=1).float() * self.temperature
        all_logprobs = torch.log_softmax(logits / self.reported_temperature, dim=-1)
        return completions, all_logprobs.gather(-1, completions[..., None])[..., 0]

    def _sampler(self, policy: Any) -> Any:
        """The copy that samples now, which has the weights of some updates ago."""
        self._states.append({name: tensor.detach().clone() for name, tensor in policy.state_dict().items()})
        if self._copy is None:
            # A deep copy would keep the forward method that the trainer has patched, which runs the policy itself.
            self._copy = type(policy)(copy.deepcopy(policy.config)).to(next(policy.parameters()))
            self._copy.eval().requires_grad_(False)
        age = self._random.randint(*self.ages)
        self._copy.load_state_dict(self._states[max(0, len(self._states) - 1 - age)])
        return self._copy if self.bits is None else round_weights(self._copy, self.bits)
