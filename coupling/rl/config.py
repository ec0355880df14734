"""The settings of ``P3OTrainer``: TRL's ``GRPOConfig`` without the settings that P3O cannot use."""

from dataclasses import dataclass, field, fields

from trl import GRPOConfig  # pyright: ignore[reportPrivateImportUsage] (TRL exports it lazily)

from coupling.choices import ESS_SCOPES, KL_ESTIMATORS

_NO_CLIP_RANGE = "P3O has no clip range: the effective sample size of each batch caps the ratios"
_OTHER_LOSS = "P3O is the loss; for another one use GRPOTrainer"
_NO_CORRECTION = "the effective sample size already accounts for the mismatch with the policy that sampled"
_NO_ENTROPY = "an entropy term, which the authors' code has, is not supported here"

MEANINGLESS = {
    "epsilon": _NO_CLIP_RANGE,
    "epsilon_high": _NO_CLIP_RANGE,
    "delta": _NO_CLIP_RANGE,
    "loss_type": _OTHER_LOSS,
    "sapo_temperature_neg": _OTHER_LOSS,
    "sapo_temperature_pos": _OTHER_LOSS,
    "vespo_k_pos": _OTHER_LOSS,
    "vespo_lambda_pos": _OTHER_LOSS,
    "vespo_k_neg": _OTHER_LOSS,
    "vespo_lambda_neg": _OTHER_LOSS,
    "importance_sampling_level": "P3O's ratios are those of tokens",
    "vllm_importance_sampling_mode": _NO_CORRECTION,
    "vllm_importance_sampling_clip_max": _NO_CORRECTION,
    "vllm_importance_sampling_clip_min": _NO_CORRECTION,
    "vllm_importance_sampling_cap": _NO_CORRECTION,
    "off_policy_mask_threshold": _NO_CORRECTION,
    "use_bias_correction_kl": "P3O's regularizer is not corrected by ratios",
    "entropy_coef": _NO_ENTROPY,
    "entropy_coef_min": _NO_ENTROPY,
    "entropy_coef_max": _NO_ENTROPY,
    "entropy_coef_delta": _NO_ENTROPY,
    "entropy_target": _NO_ENTROPY,
    "use_adaptive_entropy": _NO_ENTROPY,
    "top_entropy_quantile": "P3O's loss takes all tokens, whatever their entropy",
}
"""The fields of GRPOConfig that P3O refuses, and the reason for each; a version of TRL may lack some of them."""


@dataclass
class P3OConfig(GRPOConfig):
    """``trl.GRPOConfig`` for P3O: the same fields, but those that P3O cannot use must keep their defaults.

    Attributes:
        ess_scope: over which tokens the effective sample size is computed that caps the ratios and weighs the
            regularizer. "batch": over the whole optimization batch, all micro-batches and all ranks. "micro": over each
            micro-batch, all ranks, as in the authors' code; this needs no look-ahead pass over the other micro-batches.
            With one micro-batch per step they are the same.
        kl_estimator: the form of the regularizer: "k3", the authors', or "weighted"; see
            ``coupling.rl.p3o.kl_estimate``.

    Raises:
        ValueError: if a field of ``MEANINGLESS`` is not TRL's default, if a field above has another value, or if one
            optimization step would use the rollouts of several generations: P3O needs all micro-batches of a step when
            the step begins, to count their tokens and to compute their common effective sample size.
    """

    ess_scope: str = field(
        default="batch",
        metadata={"help": f"Tokens over which the effective sample size is computed: {' or '.join(ESS_SCOPES)}."},
    )
    kl_estimator: str = field(
        default="k3",
        metadata={"help": f"Form of the regularizer to the behavior policy: {' or '.join(KL_ESTIMATORS)}."},
    )

    def __post_init__(self) -> None:
        for name, known in (("ess_scope", ESS_SCOPES), ("kl_estimator", KL_ESTIMATORS)):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}, but must be one of {', '.join(known)}")
        self._refuse_meaningless()
        super().__post_init__()
        micro_batches, generated = self.gradient_accumulation_steps, self.steps_per_generation or 1
        if generated % micro_batches != 0:
            raise ValueError(
                f"`gradient_accumulation_steps` is {micro_batches} and `steps_per_generation` is {generated}, but P3O "
                "needs all micro-batches of an optimization step from one generation; make the latter a multiple of "
                "the former"
            )
        # The ratio of the policy to what the engine sampled from is P3O's own ratio, so TRL must not correct by it too.
        self.vllm_importance_sampling_correction = False

    def _refuse_meaningless(self) -> None:
        defaults = {field.name: field.default for field in fields(GRPOConfig)}
        for name, reason in MEANINGLESS.items():
            if name in defaults and getattr(self, name) != defaults[name]:
                raise ValueError(f"`{name}={getattr(self, name)!r}` cannot be used with P3O: {reason}; leave it out")
