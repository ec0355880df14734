"""What is measured, and how that resolves for one prompt."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from coupling.errors import CouplingError
from coupling.svd import ENGINES, Engine
from coupling.trajectory import Recording

Kind = Literal["depth", "self", "context-input", "context-output"]
KINDS: tuple[Kind, ...] = ("depth", "self", "context-input", "context-output")
Tokens = int | Literal["last", "all"] | Sequence[int | Literal["last"]]


@dataclass(frozen=True)
class Settings:
    """What is measured; the same settings, model and prompts give the same numbers.

    Attributes:
        k: numbers of top singular vectors.
        kind: which Jacobians are compared (see the README's table).
        token: tokens measured, by index (negative from the end), "last" or "all"; default: the last for
            depth, all for the other kinds.
        fixed_token: the token held for a context kind; default: the first for context-input, the last for
            context-output.
        block_pairs: pairs (l, l') for kind self; default: each block with itself.
        engine: how singular vectors are found: "auto", "dense" or "matrix-free".
        tol: relative residual at which the matrix-free engine stops.
        seed: of every random draw.
    """

    k: tuple[int, ...] = (10,)
    kind: Kind = "depth"
    token: Tokens | None = None
    fixed_token: int | Literal["last"] | None = None
    block_pairs: tuple[tuple[int, int], ...] = ()
    engine: Engine = "auto"
    tol: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", tuple(sorted({int(k) for k in self.k})))
        object.__setattr__(self, "token", _plain_tokens(self.token))
        object.__setattr__(self, "fixed_token", _plain_tokens(self.fixed_token))
        if not 0 <= self.seed < 2**63:
            raise CouplingError(f"seed is {self.seed}, but must be 0 to 2^63 - 1")
        if not self.k:
            raise CouplingError("no K was given")
        if self.k[0] < 1:
            raise CouplingError(f"K is {self.k[0]}, but must be at least 1")
        if self.engine not in ENGINES:
            raise CouplingError(f"engine is {self.engine!r}, but must be one of {', '.join(ENGINES)}")
        if self.kind not in KINDS:
            raise CouplingError(f"kind is {self.kind!r}, but must be one of {', '.join(KINDS)}")
        if self.block_pairs and self.kind != "self":
            raise CouplingError(f"block pairs belong to kind self, not to {self.kind}")
        if self.fixed_token is not None and not self.kind.startswith("context"):
            raise CouplingError(f"a fixed token belongs to the context kinds, not to {self.kind}")
        if not self.tol > 0:
            raise CouplingError(f"tol is {self.tol}, but must be above 0")

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _plain_tokens(token: Any) -> Any:
    """Token names with NumPy's integers made Python's."""
    if token is None or isinstance(token, str):
        return token
    return int(token) if isinstance(token, (int, np.integer)) else tuple(_plain_tokens(item) for item in token)


@dataclass(frozen=True)
class Plan:
    """The settings resolved for one prompt.

    Attributes:
        tokens: indices of the tokens measured, ascending.
        fixed: the token that a context kind holds.
        pairs: pairs of blocks whose tokens are compared (not for depth).
        several: whether several tokens were asked for, so that a depth run has a token axis.
    """

    tokens: list[int]
    fixed: int | None
    pairs: list[tuple[int, int]]
    several: bool

    @classmethod
    def of(cls, settings: Settings, recording: Recording) -> "Plan":
        """Resolve token names against the prompt's length, and check everything against the model."""
        n, depth, kind = recording.n_tokens, recording.n_blocks, settings.kind
        if settings.k[-1] > recording.width:
            raise CouplingError(f"K is {settings.k[-1]}, but this model's residual stream has d = {recording.width}")
        if kind == "depth" and depth < 2:
            raise CouplingError(
                "coupling across depth needs at least two blocks, and this model has one; --kind self compares tokens"
            )
        default: Tokens = "last" if kind == "depth" else "all"
        tokens = resolve_tokens(default if settings.token is None else settings.token, n)
        fixed = None
        if kind.startswith("context"):
            name = settings.fixed_token
            if name is None:
                name = 0 if kind == "context-input" else "last"
            fixed = resolve_tokens(name, n)[0]
            tokens = [t for t in tokens if (t >= fixed if kind == "context-input" else t <= fixed)]
        if kind != "depth" and len(tokens) < 2:
            raise CouplingError(f"kind {kind} compares tokens, and {len(tokens)} of them are left to compare")
        pairs = [tuple(pair) for pair in settings.block_pairs] or [(block, block) for block in range(depth)]
        for block in [block for pair in pairs for block in pair]:
            if not 0 <= block < depth:
                raise CouplingError(f"there is no block {block}: this model's blocks are 0 to {depth - 1}")
        several = settings.token == "all" or isinstance(settings.token, tuple)
        return cls(tokens, fixed, cast(list[tuple[int, int]], pairs), several)

    def ends(self, kind: Kind, token: int) -> tuple[int, int]:
        """The (input, output) tokens of the Jacobian that stands for a token."""
        if self.fixed is None:
            return token, token
        return (self.fixed, token) if kind == "context-input" else (token, self.fixed)

    def jacobian_count(self, settings: Settings, recording: Recording) -> int:
        """How many Jacobians the prompt takes; what a progress bar counts."""
        if settings.kind == "depth":
            return len(self.tokens) * recording.n_blocks
        return len(self.tokens) * sum(1 if first == second else 2 for first, second in self.pairs)


def resolve_tokens(token: Tokens, n: int) -> list[int]:
    """Token indices, 0 to n - 1, in ascending order, from indices (negative from the end), "last" or "all".

    Raises:
        CouplingError: if an index is out of range, or a name unknown.
    """
    if token == "all":
        return list(range(n))
    names = [token] if isinstance(token, (int, str)) else list(token)
    found = set()
    for name in names:
        if name != "last" and not isinstance(name, int):
            raise CouplingError(f"token {name!r} is not an index, 'last' or 'all'")
        index = n - 1 if name == "last" else int(name)
        if not -n <= index < n:
            raise CouplingError(f"token {index} is out of range: the prompt has {n} tokens, 0 to {n - 1} (-1 the last)")
        found.add(index % n)
    return sorted(found)
