"""Settings of sampling that change the distribution from which tokens come, beyond the temperature."""

from typing import Any

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1.0),
    "top_k": (None, 0, -1),
    "min_p": (None, 0.0),
    "repetition_penalty": (None, 1.0),
    "typical_p": (None, 1.0),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
    "top_h": (None,),
    "no_repeat_ngram_size": (None, 0),
    "presence_penalty": (None, 0.0),
    "frequency_penalty": (None, 0.0),
    "bad_words_ids": (None, []),
    "bad_words": (None, []),
    "suppress_tokens": (None, []),
    "logit_bias": (None, {}),
    "do_sample": (None, True),
    "num_beams": (None, 1),
}
"""Settings of transformers' and vLLM's sampling, and the values at which they change nothing."""


def truncation(args: Any) -> dict[str, Any]:
    """The settings by which rollouts are not sampled from the policy at the trainer's temperature.

    Args:
        args: TRL's ``GRPOConfig``, whose ``generation_kwargs`` take precedence over its fields, as in TRL.

    Returns:
        Their names and values; empty if rollouts are sampled from the policy.

    Example:
        >>> from types import SimpleNamespace
        >>> truncation(SimpleNamespace(top_p=1.0, top_k=2, generation_kwargs={"min_p": 0.1}))
        {'top_k': 2, 'min_p': 0.1}
    """
    given = {name: getattr(args, name) for name in NEUTRAL if hasattr(args, name)}
    given |= getattr(args, "generation_kwargs", None) or {}
    changed = {name: value for name, value in given.items() if name in NEUTRAL and value not in NEUTRAL[name]}
    temperature = getattr(args, "temperature", None)
    if "temperature" in given and given["temperature"] != temperature:
        changed["temperature"] = given["temperature"]
    return changed


def unseen_warning(changed: dict[str, Any]) -> str:
    """What to say where ratios are to the policy, but rollouts came from another distribution."""
    settings = ", ".join(f"{name}={value}" for name, value in changed.items())
    return (
        f"rollouts are sampled with {settings}, and the sampler gives no log-probabilities of its own, so ratios are "
        "to the policy without these settings: the effective sample size and the KL do not show the difference; sample "
        "with vLLM, which gives them, or without these settings"
    )
