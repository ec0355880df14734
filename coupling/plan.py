"""The settings resolved for one prompt: which tokens, which pairs of blocks, how many Jacobians."""

from dataclasses import dataclass

from coupling.choices import Kind
from coupling.errors import CouplingError
from coupling.settings import Settings, Tokens
from coupling.shares import ResolvedKs, resolve_ks
from coupling.untrusted import quoted


@dataclass(frozen=True)
class Key:
    """Which Jacobian: the position of its block in ``Plan.blocks``, its input token and its output token."""

    block: int
    token: int
    output_token: int


@dataclass(frozen=True)
class Group:
    """Jacobians that are compared with each other: each of a in the singular frames of each of b."""

    a: list[Key]
    b: list[Key]

    @property
    def made(self) -> list[Key]:
        """The Jacobians that the comparison needs: where a and b are the same, only once."""
        return self.a if self.a == self.b else [*self.a, *self.b]


@dataclass(frozen=True)
class Plan:
    """The settings resolved for one prompt.

    Attributes:
        kind: which Jacobians are compared.
        ks: every K, as numbers.
        blocks: the numbers of the blocks, as the model counts them.
        tokens: indices of the tokens measured, ascending; counted on the prompt.
        fixed: the token that a context kind keeps fixed; None for the other kinds.
        pairs: pairs of positions in ``blocks`` whose tokens are compared (not used by kind "depth").
        has_token_axis: whether several tokens were asked for, so that a depth run has a token axis.
    """

    kind: Kind
    ks: ResolvedKs
    blocks: list[int]
    tokens: list[int]
    fixed: int | None
    pairs: list[tuple[int, int]]
    has_token_axis: bool

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return len(self.blocks)

    @classmethod
    def of(cls, settings: Settings, *, n_tokens: int, blocks: list[int], width: int) -> "Plan":
        """Resolve token names against the prompt's length, and check everything against the model.

        Args:
            settings: what was asked for.
            n_tokens: n, the length of the prompt.
            blocks: the numbers of the blocks, as the model counts them.
            width: d, the width of the residual stream.

        Raises:
            CouplingError: if K exceeds the width, a block or token does not exist, or too few are left to compare.
        """
        kind = settings.kind
        ks = resolve_ks(settings.k, width)
        if kind == "depth" and len(blocks) < 2:
            raise CouplingError(
                "coupling across depth needs at least two blocks, and this model has one; `kind='self'` compares tokens"
            )
        default: Tokens = "last" if kind == "depth" else "all"
        tokens = resolve_tokens(default if settings.tokens is None else settings.tokens, n_tokens)
        fixed = None
        if kind.startswith("context"):
            name = settings.fixed_token
            if name is None:
                name = 0 if kind == "context-input" else "last"
            fixed = resolve_tokens(name, n_tokens)[0]
            tokens = [t for t in tokens if (t >= fixed if kind == "context-input" else t <= fixed)]
        if kind != "depth" and len(tokens) < 2:
            raise CouplingError(f"kind {kind} compares tokens, but only {len(tokens)} can be compared here")
        pairs = list(settings.block_pairs) or [(block, block) for block in blocks]
        for block in [block for pair in pairs for block in pair]:
            if block not in blocks:
                raise CouplingError(f"there is no block {block}: this model's blocks are {_as_text(blocks)}")
        positions = [(blocks.index(first), blocks.index(second)) for first, second in pairs]
        several = settings.tokens == "all" or isinstance(settings.tokens, tuple)
        return cls(kind, ks, blocks, tokens, fixed, positions, several)

    def ends(self, token: int) -> tuple[int, int]:
        """The (input, output) tokens of the Jacobian that represents a token."""
        if self.fixed is None:
            return token, token
        return (self.fixed, token) if self.kind == "context-input" else (token, self.fixed)

    def groups(self) -> list[Group]:
        """The comparisons: for kind "depth" one for each token, for the other kinds one for each pair of blocks."""
        if self.kind == "depth":
            depths = [[Key(block, t, t) for block in range(self.n_blocks)] for t in self.tokens]
            return [Group(keys, keys) for keys in depths]
        ends = [self.ends(t) for t in self.tokens]
        return [Group(*([Key(block, s, t) for s, t in ends] for block in pair)) for pair in self.pairs]

    def jacobian_count(self) -> int:
        """The number of Jacobians that the prompt needs; a progress bar counts them."""
        return sum(len(group.made) for group in self.groups())


def _as_text(blocks: list[int]) -> str:
    if blocks == list(range(len(blocks))):
        return f"0 to {len(blocks) - 1}"
    return ", ".join(map(str, blocks))


def resolve_tokens(tokens: Tokens, n: int) -> list[int]:
    """Token indices, 0 to n - 1, in ascending order, from indices (negative from the end), "last" or "all".

    Raises:
        CouplingError: if an index is out of range, or a name unknown.

    Example:
        >>> resolve_tokens((0, -1), 7)
        [0, 6]
    """
    if tokens == "all":
        return list(range(n))
    names = [tokens] if isinstance(tokens, (int, str)) else list(tokens)
    found = set()
    for name in names:
        if name != "last" and not isinstance(name, int):
            raise CouplingError(f"token {quoted(name)} is not an index, 'last' or 'all'")
        index = n - 1 if name == "last" else int(name)
        if not -n <= index < n:
            raise CouplingError(f"token {index} is out of range: there are {n} tokens, 0 to {n - 1} (-1 the last)")
        found.add(index % n)
    return sorted(found)
