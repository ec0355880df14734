"""Prompts in, a labelled Dataset out: trajectories, Jacobians, singular vectors, metrics."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from coupling import metrics
from coupling.blocks import find_blocks
from coupling.errors import CouplingError
from coupling.jacobian import BlockJacobian, DenseJacobian
from coupling.svd import Engine, SingularTriplets, choose_engine, top_singular_triplets
from coupling.trajectory import Recording, record_blocks
from coupling.version import __version__

Kind = Literal["depth", "self", "context-input", "context-output"]
KINDS: tuple[Kind, ...] = ("depth", "self", "context-input", "context-output")
Tokens = int | Literal["last", "all"] | Sequence[int | Literal["last"]]
NORMS = (1, 2)
PROBES = 64
"""Random directions that estimate how much a Jacobian stretches, for the chance level."""
KEPT_MEMORY = 2**30
"""Bytes of dense Jacobians kept for the comparison; beyond it products are made through the block again."""

Progress = Callable[[int, int], None]
"""Called with (Jacobians done, Jacobians in all) of the prompt at hand."""


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
        object.__setattr__(self, "k", tuple(sorted(set(self.k))))
        if not self.k:
            raise CouplingError("no K was given")
        if self.k[0] < 1:
            raise CouplingError(f"K is {self.k[0]}, but must be at least 1")
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


@dataclass(frozen=True)
class Plan:
    """The settings resolved for one prompt: which tokens, which blocks."""

    tokens: list[int]
    fixed: int | None
    pairs: list[tuple[int, int]]

    @classmethod
    def of(cls, settings: Settings, recording: Recording) -> "Plan":
        """Resolve token names against the prompt's length, and check everything against the model."""
        n, depth, kinds = recording.n_tokens, recording.n_blocks, settings.kind
        if settings.k[-1] > recording.width:
            raise CouplingError(f"K is {settings.k[-1]}, but this model's residual stream has d = {recording.width}")
        if kinds == "depth" and depth < 2:
            raise CouplingError(
                "coupling across depth needs at least two blocks, and this model has one; --kind self compares tokens"
            )
        default: Tokens = "last" if kinds == "depth" else "all"
        tokens = resolve_tokens(default if settings.token is None else settings.token, n)
        fixed = None
        if kinds.startswith("context"):
            name = settings.fixed_token
            if name is None:
                name = 0 if kinds == "context-input" else "last"
            fixed = resolve_tokens(name, n)[0]
            tokens = [t for t in tokens if (t >= fixed if kinds == "context-input" else t <= fixed)]
        if kinds != "depth" and len(tokens) < 2:
            raise CouplingError(f"kind {kinds} compares tokens, and {len(tokens)} of them are left to compare")
        pairs = [tuple(pair) for pair in settings.block_pairs] or [(block, block) for block in range(depth)]
        for block in [block for pair in pairs for block in pair]:
            if not 0 <= block < depth:
                raise CouplingError(f"there is no block {block}: this model's blocks are 0 to {depth - 1}")
        return cls(tokens, fixed, cast(list[tuple[int, int]], pairs))


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
        if name != "last" and not isinstance(name, (int, np.integer)):
            raise CouplingError(f"token {name!r} is not an index, 'last' or 'all'")
        index = n - 1 if name == "last" else int(name)
        if not -n <= index < n:
            raise CouplingError(f"token {index} is out of range: the prompt has {n} tokens, 0 to {n - 1} (-1 the last)")
        found.add(index % n)
    return sorted(found)


@dataclass(frozen=True)
class Factored:
    """A Jacobian with its top singular triplets, and what decides its chance level."""

    operator: BlockJacobian | DenseJacobian
    triplets: SingularTriplets
    spread: metrics.Spread


def factor(jacobian: BlockJacobian | DenseJacobian, settings: Settings, *, compared: int) -> Factored:
    """Top singular triplets of one Jacobian that will be compared with so many.

    Raises:
        CouplingError: if the Jacobian is not finite.
    """
    k = settings.k[-1]
    extra = 2 * compared * k + PROBES
    engine = choose_engine(jacobian.shape, k, extra_columns=extra) if settings.engine == "auto" else settings.engine
    operator: BlockJacobian | DenseJacobian = jacobian
    if engine == "dense" and isinstance(jacobian, BlockJacobian):
        operator = DenseJacobian(jacobian.to_dense())
    triplets = top_singular_triplets(operator, k, engine=engine, tol=settings.tol, seed=settings.seed)
    return Factored(_kept(operator, jacobian, compared), triplets, _spread(operator, settings.seed))


def _kept(
    operator: BlockJacobian | DenseJacobian, jacobian: BlockJacobian | DenseJacobian, compared: int
) -> BlockJacobian | DenseJacobian:
    """The dense matrix if all of its group fit in memory, else the operator that can make its products again."""
    size = operator.shape[0] * operator.shape[1] * operator.dtype.itemsize
    return operator if size * compared <= KEPT_MEMORY else jacobian


def _spread(operator: BlockJacobian | DenseJacobian, seed: int) -> metrics.Spread:
    generator = torch.Generator().manual_seed(seed)
    probes = torch.randn(operator.shape[1], PROBES, generator=generator, dtype=torch.float64)
    probes = probes / torch.linalg.vector_norm(probes, dim=0)
    stretches = torch.linalg.vector_norm(operator.matmat(probes).double(), dim=0).cpu()
    if isinstance(operator, DenseJacobian):
        frobenius = float(torch.linalg.matrix_norm(operator.matrix.double()))
    else:  # E ||J v||^2 = ||J||_F^2 / d
        frobenius = float(torch.sqrt((stretches**2).mean() * operator.shape[1]))
    return metrics.Spread(frobenius, float(stretches.mean()), operator.shape)


VARIANTS = ("mismatch", "mismatch_signed", "mismatch_swapped", "mismatch_swapped_signed")


@dataclass
class Comparison:
    """All that is measured on a group of Jacobians compared pair by pair; a by b.

    ``mismatch`` and its variants and ``chance`` are (k, norm, a, b), angles (k, a, b, rank), singular values (a, rank).
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def compare(a: Sequence[Factored], b: Sequence[Factored], ks: Sequence[int]) -> Comparison:
    """Every Jacobian of a in the singular frames of every Jacobian of b."""
    top = ks[-1]
    left = torch.stack([item.triplets.left for item in b])  # (b, d, K)
    right = torch.stack([item.triplets.right for item in b])
    values = np.stack([item.triplets.values.numpy() for item in a])
    plain = np.empty((len(a), len(b), top, top))
    swapped = np.empty_like(plain)
    columns = torch.cat([right, left]).permute(1, 0, 2).reshape(right.shape[1], -1)
    for index, item in enumerate(a):
        images = item.operator.matmat(columns).cpu().double()
        images = images.reshape(len(images), 2 * len(b), top).permute(1, 0, 2)
        plain[index] = torch.bmm(left.mT, images[: len(b)]).numpy()  # U_b^T J_a V_b
        swapped[index] = torch.bmm(right.mT, images[len(b) :]).numpy()  # V_b^T J_a U_b
    result = Comparison()
    for name in VARIANTS:
        projection = swapped if "swapped" in name else plain
        result.arrays[name] = np.stack([
            [metrics.mismatch(projection, values[:, None], k=k, norm=p, signed="signed" in name) for p in NORMS]
            for k in ks
        ])  # fmt: skip
    for name in ("chance", "chance_signed"):
        level = np.array([
            [[metrics.chance_mismatch(item.spread, row, k=k, norm=p, signed="signed" in name)
              for item, row in zip(a, values, strict=True)] for p in NORMS]
            for k in ks
        ])  # fmt: skip
        result.arrays[name] = np.broadcast_to(level[..., None], result.arrays["mismatch"].shape)
    for name, frames in (("left_angle", "left"), ("right_angle", "right")):
        first = torch.stack([getattr(item.triplets, frames) for item in a])
        second = torch.stack([getattr(item.triplets, frames) for item in b])
        overlap = torch.einsum("adi,bdj->abij", first, second).numpy()
        angles = np.full((len(ks), len(a), len(b), top), np.nan)
        for place, k in enumerate(ks):
            angles[place, ..., :k] = metrics.principal_angles(overlap, k=k)
        result.arrays[name] = angles
    result.arrays["singular_values"] = values
    result.arrays["singular_value_error"] = np.stack([item.triplets.error.numpy() for item in a])
    return result


def jacobian_count(settings: Settings, recording: Recording) -> int:
    """How many Jacobians a prompt takes; what a progress bar counts."""
    plan = Plan.of(settings, recording)
    if settings.kind == "depth":
        return len(plan.tokens) * recording.n_blocks
    sides = sum(1 if first == second else 2 for first, second in plan.pairs)
    return sides * len(plan.tokens)


def measure_recording(recording: Recording, settings: Settings, progress: Progress | None = None) -> xr.Dataset:
    """Measure one recorded prompt; a Dataset without the prompt axis, over all of its tokens."""
    plan = Plan.of(settings, recording)
    n, depth, done, total = recording.n_tokens, recording.n_blocks, 0, jacobian_count(settings, recording)
    engines: set[str] = set()
    unconverged = 0

    def factored(block: int, token: int, target: int, compared: int) -> Factored:
        nonlocal done, unconverged
        try:
            result = factor(recording.jacobian(block, token, target), settings, compared=compared)
        except CouplingError as error:
            raise CouplingError(f"block {block}, token {token}: {error}") from None
        done += 1
        engines.add(result.triplets.engine)
        unconverged += not result.triplets.converged
        if progress is not None:
            progress(done, total)
        return result

    ks = settings.k
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    if settings.kind == "depth":
        groups = []
        for t in plan.tokens:
            blocks = [factored(block, t, t, depth) for block in range(depth)]
            groups.append(compare(blocks, blocks, ks).arrays)
        several = settings.token is not None and (settings.token == "all" or not isinstance(settings.token, (int, str)))
        for name in groups[0]:
            dims = _dims(name, "block", "other_block")
            if several:
                array = _scatter(np.stack([group[name] for group in groups]), 0, plan.tokens, n)
                variables[name] = (("token", *dims), array)
            else:
                variables[name] = (dims, groups[0][name])
    else:
        groups = []
        for first, second in plan.pairs:
            m = len(plan.tokens)
            ends = [_ends(settings.kind, token, plan.fixed) for token in plan.tokens]
            a = [factored(first, s, t, m) for s, t in ends]
            b = a if first == second else [factored(second, s, t, m) for s, t in ends]
            groups.append(compare(a, b, ks).arrays)
        for name in groups[0]:
            dims = _dims(name, "token", "other_token")
            array = np.stack([group[name] for group in groups])
            for axis, dim in enumerate(dims, start=1):
                if dim in ("token", "other_token"):
                    array = _scatter(array, axis, plan.tokens, n)
            variables[name] = (("block", *dims), array)
    stream = recording.trajectory.double().cpu().numpy()
    variables["line_shape_score"] = (("token",), metrics.line_shape_score(stream))
    variables["expodistance"] = (("token",), metrics.expodistance(stream))
    variables["residual_norm"] = (("token", "layer"), np.linalg.norm(stream, axis=-1).T)
    coordinates: dict[str, Any] = {
        "k": list(ks), "norm": list(NORMS), "rank": np.arange(ks[-1]), "token": np.arange(n),
        "layer": np.arange(depth + 1),
    }  # fmt: skip
    if settings.kind == "depth":
        coordinates |= {"block": np.arange(depth), "other_block": np.arange(depth)}
    else:
        pairs = np.array(plan.pairs)
        coordinates |= {
            "block": pairs[:, 0], "other_block": ("block", pairs[:, 1]), "other_token": np.arange(n),
        }  # fmt: skip
    dataset = xr.Dataset(
        {name: (dims, np.ascontiguousarray(array, dtype=np.float64)) for name, (dims, array) in variables.items()},
        coordinates,
    )
    dataset["measured_token"] = ((), plan.tokens[0] if plan.fixed is None else plan.fixed)
    dataset["n_tokens"] = ((), n)
    dataset["unconverged"] = ((), unconverged)  # Jacobians of which a triplet missed the tolerance
    dataset.attrs["engine"] = "+".join(sorted(engines))
    dataset.attrs["linearization"] = "token-local" if recording.token_local else "full-sequence"
    for name, (long_name, units) in DESCRIPTIONS.items():
        if name in dataset:
            dataset[name].attrs |= {"long_name": long_name, "units": units}
    return dataset


def _ends(kind: Kind, token: int, fixed: int | None) -> tuple[int, int]:
    """The (input, output) tokens of the Jacobian that stands for a token."""
    if kind == "self" or fixed is None:
        return token, token
    return (fixed, token) if kind == "context-input" else (token, fixed)


DESCRIPTIONS = {
    "mismatch": ("mismatch", "1"),
    "mismatch_signed": ("mismatch without the absolute value", "1"),
    "mismatch_swapped": ("mismatch of output against input frames", "1"),
    "mismatch_swapped_signed": ("mismatch of output against input frames, without the absolute value", "1"),
    "chance": ("mismatch expected of random frames", "1"),
    "chance_signed": ("mismatch expected of random frames, without the absolute value", "1"),
    "left_angle": ("principal angle between the top left singular subspaces", "rad"),
    "right_angle": ("principal angle between the top right singular subspaces", "rad"),
    "singular_values": ("singular value of the block Jacobian", "1"),
    "singular_value_error": ("bound on the singular value's error", "1"),
    "line_shape_score": ("line-shape score", "1"),
    "expodistance": ("expodistance", "1"),
    "residual_norm": ("norm of the residual stream", "1"),
}


def _dims(name: str, first: str, second: str) -> tuple[str, ...]:
    if name.startswith(("mismatch", "chance")):
        return ("k", "norm", first, second)
    if name.endswith("angle"):
        return ("k", first, second, "rank")
    return (first, "rank")


def _scatter(array: np.ndarray, axis: int, places: list[int], size: int) -> np.ndarray:
    """Spread an axis over a longer one, NaN between."""
    shape = list(array.shape)
    shape[axis] = size
    result = np.full(shape, np.nan)
    index: list[Any] = [slice(None)] * array.ndim
    index[axis] = places
    result[tuple(index)] = array
    return result


def join_prompts(datasets: Sequence[xr.Dataset], first: int = 0) -> xr.Dataset:
    """Stack per-prompt Datasets along ``prompt``, shorter prompts padded with NaN (texts with an empty one)."""
    longest = max(dataset.sizes["token"] for dataset in datasets)
    padded = []
    for dataset in datasets:
        axes = {axis: np.arange(longest) for axis in ("token", "other_token") if axis in dataset.dims}
        fill: Any = {name: "" if dataset[name].dtype.kind in "OUT" else np.nan for name in dataset.variables}
        padded.append(dataset.reindex(axes, fill_value=fill))
    joined = xr.concat(padded, dim="prompt", join="exact", combine_attrs="drop_conflicts", coords="minimal",
                       compat="equals", data_vars="all")  # fmt: skip
    return joined.assign_coords(prompt=np.arange(first, first + len(datasets)))


def split_inputs(inputs: Any) -> list[dict[str, Any]]:
    """Forward-pass arguments of one prompt each, from what a user has at hand.

    Args:
        inputs: token ids, (n,) or (batch, n); a mapping such as a tokenizer returns (rows with an
            ``attention_mask`` lose their padding); or a sequence of either.

    Raises:
        CouplingError: if there is nothing in it.
    """
    if isinstance(inputs, Tensor):
        return [{"input_ids": row[None]} for row in (inputs if inputs.ndim == 2 else inputs[None])]
    if hasattr(inputs, "keys"):
        mapping = {key: inputs[key] for key in inputs if isinstance(inputs[key], Tensor)}
        if not mapping:
            raise CouplingError("the inputs hold no tensors; tokenize with return_tensors='pt'")
        rows = len(next(iter(mapping.values())))
        mask = mapping.pop("attention_mask", None)
        result = []
        for row in range(rows):
            kept = None if mask is None else mask[row].bool()
            result.append({
                key: value[row : row + 1] if kept is None or value.ndim < 2 or value.shape[1] != len(kept)
                else value[row : row + 1][:, kept]
                for key, value in mapping.items()
            })  # fmt: skip
        return result
    prompts = [prompt for item in inputs for prompt in split_inputs(item)]
    if not prompts:
        raise CouplingError("there are no prompts")
    return prompts


def measure_prompts(
    model: nn.Module,
    prompts: Iterable[dict[str, Any]],
    settings: Settings,
    *,
    blocks: str | None = None,
    progress: Progress | None = None,
) -> Iterable[xr.Dataset]:
    """Measure prompts one by one, yielding each one's Dataset as soon as it is there."""
    _, modules = find_blocks(model, blocks)
    for prompt in prompts:
        yield measure_recording(record_blocks(model, modules, prompt), settings, progress)


def measure(
    model: nn.Module,
    inputs: Any,
    k: int | Sequence[int] = (10,),
    token: Tokens | None = None,
    seed: int = 0,
    *,
    kind: Kind = "depth",
    fixed_token: int | Literal["last"] | None = None,
    block_pairs: Sequence[tuple[int, int]] = (),
    blocks: str | None = None,
    engine: Engine = "auto",
    tol: float = 1e-4,
    progress: Progress | None = None,
    hash_weights: bool = True,
) -> xr.Dataset:
    """Measure a model already in memory.

    Args:
        model: a transformers model; left as it was, training mode included.
        inputs: token ids, a tokenizer's output, or a sequence of either (see ``split_inputs``).
        k: numbers of top singular vectors.
        token: tokens measured: an index (negative from the end), "last", "all" or several.
        seed: of every random draw; the same seed gives the same numbers.
        kind: "depth", "self", "context-input" or "context-output".
        fixed_token: the token that a context kind holds.
        block_pairs: pairs of blocks for kind "self".
        blocks: name of the list of blocks, where it cannot be found.
        engine: "auto", "dense" or "matrix-free".
        tol: relative residual at which the matrix-free engine stops.
        progress: called with (Jacobians done, Jacobians in all) of each prompt.
        hash_weights: put a hash of the weights into the attributes (it reads them all once).

    Returns:
        A Dataset over (prompt, k, norm, block, other_block) and more; see the README.

    Raises:
        CouplingError: if the model or the inputs cannot be measured; the message says what to do.
    """
    ks = (k,) if isinstance(k, (int, np.integer)) else tuple(k)
    settings = Settings(ks, kind, token, fixed_token, tuple(block_pairs), engine, tol, seed)
    parts = list(
        measure_prompts(model, split_inputs(inputs), settings, blocks=blocks, progress=progress)
    )  # fmt: skip
    run = join_prompts(parts)
    run.attrs |= provenance(model, settings, hash_weights=hash_weights)
    return run


def provenance(model: nn.Module, settings: Settings, *, hash_weights: bool = True) -> dict[str, Any]:
    """Where numbers come from: the attributes of every run."""
    parameter = next(model.parameters())
    config = getattr(model, "config", None)
    return {
        "model": getattr(config, "_name_or_path", "") or type(model).__name__,
        "revision": "",
        "commit_hash": getattr(config, "_commit_hash", None) or "",
        "weights_hash": weights_hash(model) if hash_weights else "",
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "seed": settings.seed,
        "kind": settings.kind,
        "engine_requested": settings.engine,
        "tol": settings.tol,
        "package_version": __version__,
    }


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the parameters and buffers that a checkpoint holds: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
