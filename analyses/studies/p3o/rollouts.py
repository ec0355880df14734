"""Rollouts from another policy than the one trained: older, at another temperature, or rounded to 8 bits.

Each brings its own log-probabilities, as an inference engine does, so that the objective can see the mismatch.
"""

import copy
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn


def round_weights(model: nn.Module, bits: int = 8) -> nn.Module:
    """Round the linear layers' weights, in place, to so many bits: symmetric, one scale an output row."""
    levels = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                scale = (
                    module.weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / levels
                )
                module.weight.copy_((module.weight / scale).round() * scale)
    return model


class BehaviorPolicy:
    """A ``rollout_func`` for TRL's trainers: samples from a copy of the policy, with the copy's log-probabilities.

    Args:
        age: how many updates old the copy is; before so many were made it is the initial policy.
        temperature: what it samples at.
        reported_temperature: its log-probabilities are those at this temperature; default: the one it samples at.
        bits: round its linear layers' weights to so many bits; None leaves them.
        max_new_tokens: of a completion.
    """

    def __init__(
        self, *, age: int = 0, temperature: float = 1.0, reported_temperature: float | None = None,
        bits: int | None = None, max_new_tokens: int = 8,
    ) -> None:  # fmt: skip
        self.age, self.temperature, self.bits, self.max_new_tokens = age, temperature, bits, max_new_tokens
        self.reported_temperature = temperature if reported_temperature is None else reported_temperature
        self._states: deque[dict[str, Tensor]] = deque(maxlen=age + 1)
        self._copy: Any = None

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, list]:
        """One completion a prompt: ``prompt_ids``, ``completion_ids`` and ``logprobs``, lists of lists."""
        policy = trainer.accelerator.unwrap_model(trainer.model)
        model = self._sampler(policy)
        tokenizer = trainer.processing_class
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(policy.device)
        inputs = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        with torch.no_grad():
            result = model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, do_sample=True, temperature=self.temperature, top_k=0,
                top_p=1.0, return_dict_in_generate=True, output_scores=True, pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
        completions = result.sequences[:, inputs["input_ids"].shape[1] :]
        logits = torch.stack(result.scores, dim=1).float() * self.temperature  # generate gives them divided by it
        scores = torch.log_softmax(logits / self.reported_temperature, dim=-1)
        logprobs = scores.gather(-1, completions[..., None])[..., 0]
        output: dict[str, list] = {"prompt_ids": [], "completion_ids": [], "logprobs": []}
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            ended = (completions[row] == tokenizer.eos_token_id).nonzero()
            length = int(ended[0]) + 1 if len(ended) else completions.shape[1]
            output["prompt_ids"].append(inputs["input_ids"][row][mask].tolist())
            output["completion_ids"].append(completions[row, :length].tolist())
            output["logprobs"].append(logprobs[row, :length].tolist())
        return output

    def _sampler(self, policy: Any) -> Any:
        """The copy that samples now."""
        self._states.append({name: tensor.detach().clone() for name, tensor in policy.state_dict().items()})
        if self._copy is None:
            # made anew: a deep copy would keep the trainer's patched forward, which runs the policy itself
            self._copy = type(policy)(copy.deepcopy(policy.config)).to(next(policy.parameters()))
            self._copy.eval().requires_grad_(False)
        self._copy.load_state_dict(self._states[0])
        return self._copy if self.bits is None else round_weights(self._copy, self.bits)
