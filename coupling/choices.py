"""The values that options accept, defined once for the library and for the command line; imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["depth", "self", "context-input", "context-output"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Which Jacobians are compared."""

Engine = Literal["auto", "dense", "matrix-free"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
"""How singular vectors are found."""

Dtype = Literal["auto", "float32", "float64", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
"""The precision of the model's passes."""

Detail = Literal["auto", "all", "none"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
"""Which prompts keep the data that the pictures grid and trajectory draw."""

PresetName = Literal["paper"]
PRESET_NAMES: tuple[PresetName, ...] = get_args(PresetName)
"""Settings that belong together; ``coupling.presets`` says what they are."""

DEFAULT_K = (10,)
"""Numbers of top singular vectors where none is asked for."""
DEFAULT_TOL = 1e-4
"""Relative residual at which the matrix-free engine stops."""

NORMS = (1, 2)
"""The norms p of the mismatch: 1 is the trace norm, 2 the Frobenius norm."""

RunPicture = Literal["grid", "heatmap", "checkpoints", "circle", "trajectory", "spectrum", "linearity", "angles"]
RUN_PICTURES: tuple[RunPicture, ...] = get_args(RunPicture)
"""Pictures of runs."""

TablePicture = Literal["dynamics", "scatter", "rl"]
TABLE_PICTURES: tuple[TablePicture, ...] = get_args(TablePicture)
"""Pictures of tables."""

Picture = Literal[RunPicture, TablePicture]

ScatterAxis = Literal["score", "width"]
"""The horizontal axis of the picture scatter."""

Objective = Literal["p3o", "p4o", "grpo", "dapo", "cispo"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""Objectives of reinforcement learning."""
OWN_OBJECTIVES: tuple[Objective, ...] = ("p3o", "p4o")
"""Those that are this project's; the others are losses of TRL."""

EssScope = Literal["batch", "micro"]
ESS_SCOPES: tuple[EssScope, ...] = get_args(EssScope)
"""Over which tokens P3O computes the effective sample size that it uses."""

KLEstimator = Literal["k3", "weighted"]
KL_ESTIMATORS: tuple[KLEstimator, ...] = get_args(KLEstimator)
"""Forms of P3O's regularizer."""

SweepEngineName = Literal["local", "ray"]
SWEEP_ENGINES: tuple[SweepEngineName, ...] = get_args(SweepEngineName)
"""Where the tasks of a sweep run."""


@dataclass(frozen=True)
class Variant:
    """One of the four ways in which a mismatch is computed.

    Attributes:
        label: its name in tables and on the page.
        signed: without the absolute value, as in the paper's formula.
        swapped: output frames against input frames.
    """

    label: str
    signed: bool = False
    swapped: bool = False

    def variable(self, quantity: str = "mismatch") -> str:
        """The variant's name of ``mismatch`` or ``chance`` in a Dataset; swapping leaves the chance level as it is."""
        swapped = "_swapped" if self.swapped and quantity != "chance" else ""
        return quantity + swapped + ("_signed" if self.signed else "")


VARIANTS: tuple[Variant, ...] = (
    Variant("absolute"),
    Variant("signed", signed=True),
    Variant("swapped", swapped=True),
    Variant("swapped signed", signed=True, swapped=True),
)


@dataclass(frozen=True)
class Calibrated:
    """A measure of a pair whose chance level, and the standard deviation around it, are known in closed form.

    Attributes:
        name: its variable in a Dataset; ``name + CHANCE`` and ``name + SD`` are those of its chance level.
        label: its name in tables, on the page and in ``coupling correlate``.
    """

    name: str
    label: str


CALIBRATED: tuple[Calibrated, ...] = (
    Calibrated("diagonal_share", "diagonal share"),
    Calibrated("aligned_energy", "aligned energy"),
    Calibrated("signed_diagonal", "signed diagonal"),
    Calibrated("absolute_diagonal", "absolute diagonal"),
    Calibrated("left_overlap", "left overlap"),
    Calibrated("right_overlap", "right overlap"),
)
"""The calibrated measures (``coupling.alignment``); the first is the one to look at first."""
CHANCE, SD = "_chance", "_sd"
"""What follows a calibrated measure's name in that of its chance level, and of the standard deviation around it."""


@dataclass(frozen=True)
class Baseline:
    """A measure that coupling is compared with.

    Attributes:
        name: its variable in a Dataset, or its attribute.
        label: its name in tables and in ``coupling correlate``.
        meaning: what it is, in a few words.
    """

    name: str
    label: str
    meaning: str


BASELINES: tuple[Baseline, ...] = (
    Baseline("loss", "held-out loss", "cross-entropy of the prompts' tokens, nats per token"),
    Baseline("bits_per_byte", "held-out bits per byte", "the same per byte of text"),
    Baseline("spectral_norm", "spectral norm", "largest singular value of the block Jacobians"),
    Baseline("effective_rank", "effective rank", "participation ratio of the Jacobians' squared singular values"),
    Baseline("non_normality", "non-normality", "relative commutator of the Jacobians with their transposes"),
    Baseline("prompt_entropy", "prompt entropy", "entropy of the tokens' Gram matrix, nats"),
    Baseline("curvature", "curvature", "angle between successive steps from token to token, radians"),
    Baseline("intrinsic_dimension", "intrinsic dimension", "TwoNN dimension of the tokens"),
    Baseline("layer_cka", "CKA of neighboring layers", "linear CKA of a layer with the next"),
    Baseline("layer_cosine", "cosine of neighboring layers", "cosine of the residual stream with the next layer"),
    Baseline("spectral_exponent", "spectral exponent", "power law alpha of the eigenvalues of the weights"),
)
"""What coupling is compared with (``coupling.baselines``)."""


def variant_of(*, signed: bool = False, swapped: bool = False) -> Variant:
    """The variant with these two properties."""
    return next(variant for variant in VARIANTS if (variant.signed, variant.swapped) == (signed, swapped))
