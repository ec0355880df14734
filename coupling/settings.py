"""What is measured: the settings of a run, checked when they are made; imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from coupling.choices import DEFAULT_K, DEFAULT_TOL, ENGINES, KINDS, Engine, Kind
from coupling.errors import CouplingError
from coupling.shares import K, normalize_k
from coupling.untrusted import quoted

Tokens = int | Literal["last", "all"] | Sequence[int | Literal["last"]]
"""Tokens of a prompt: an index (negative from the end), "last", "all", or several indices."""


@dataclass(frozen=True)
class Settings:
    """What is measured; the same settings, model and prompts give the same numbers.

    Attributes:
        k: numbers of top singular vectors, or shares of the width such as "10%".
        kind: which Jacobians are compared.
        tokens: tokens measured; default: the last for kind "depth", all for the other kinds.
        fixed_token: the token that a context kind keeps fixed; default: the first for "context-input", the last for
            "context-output".
        block_pairs: pairs (l, l') of blocks for kind "self"; default: each block with itself.
        engine: how singular vectors are found.
        tol: relative residual at which the matrix-free engine stops.
        seed: seed of every random draw.
    """

    k: tuple[K, ...] = DEFAULT_K
    kind: Kind = "depth"
    tokens: Tokens | None = None
    fixed_token: int | Literal["last"] | None = None
    block_pairs: tuple[tuple[int, int], ...] = ()
    engine: Engine = "auto"
    tol: float = DEFAULT_TOL
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", normalize_k(self.k))
        object.__setattr__(self, "tokens", _plain_tokens(self.tokens))
        object.__setattr__(self, "fixed_token", _plain_tokens(self.fixed_token))
        object.__setattr__(self, "block_pairs", _plain_pairs(self.block_pairs))
        if not 0 <= self.seed < 2**63:
            raise CouplingError(f"`seed` is {self.seed}, but must be between 0 and 2^63 - 1")
        if self.engine not in ENGINES:
            raise CouplingError(f"`engine` is {quoted(self.engine)}, but must be one of {', '.join(ENGINES)}")
        if self.kind not in KINDS:
            raise CouplingError(f"`kind` is {quoted(self.kind)}, but must be one of {', '.join(KINDS)}")
        if self.block_pairs and self.kind != "self":
            raise CouplingError(f"`block_pairs` applies to kind self, not to kind {self.kind}")
        if self.fixed_token is not None and not self.kind.startswith("context"):
            raise CouplingError(f"`fixed_token` applies to the context kinds, not to kind {self.kind}")
        if not 0 < self.tol < math.inf:
            raise CouplingError(f"`tol` is {self.tol}, but must be above 0 and finite")

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON represents them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _plain_pairs(pairs: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of block numbers as tuples of Python integers.

    Raises:
        CouplingError: if one is not a pair.
    """
    try:
        return tuple((int(first), int(second)) for first, second in pairs)
    except (TypeError, ValueError):
        raise CouplingError(f"`block_pairs` is {quoted(pairs)}, but must be pairs of blocks such as [(2, 5)]") from None


def _plain_tokens(tokens: Any) -> Any:
    """Token names with NumPy integers converted to Python integers."""
    if tokens is None or isinstance(tokens, str):
        return tokens
    return int(tokens) if isinstance(tokens, (int, np.integer)) else tuple(_plain_tokens(item) for item in tokens)
