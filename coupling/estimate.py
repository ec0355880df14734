r"""How long a run will take and how much memory, from a checkpoint's configuration alone; no weight is loaded.

The model is built without memory (PyTorch's meta device), so that its blocks and their sizes are the real ones. What a
run computes is counted in matrix products, and divided by the rate that this device reaches on a small one; what the
framework costs beside is counted in operations, of which a few are timed. Both take less than a second.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import AutoModel

from coupling.choices import Dtype
from coupling.errors import CouplingError, one_line
from coupling.linalg.chebyshev import block_width
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.leading import is_worthwhile
from coupling.linalg.pairwise import engine_for, factor
from coupling.linalg.svd import EXPECTED_POWER_ITERATIONS, OVERSAMPLING
from coupling.models.blocks import find_blocks
from coupling.models.devices import resolve_device
from coupling.models.loading import read_config
from coupling.models.narrow import FEWEST, HALF
from coupling.models.prompts import Prompts, bundled_prompts
from coupling.models.recording_together import prompts_per_pass, saves_time
from coupling.models.size import memory_of
from coupling.models.stream_loading import SHARE, Stream, check_stream
from coupling.models.together import places_per_pass
from coupling.plan import Plan
from coupling.resources import Resources
from coupling.settings import Settings

INTERPRETER = 550 * 10**6
"""Bytes of the interpreter with PyTorch, transformers and xarray."""
PROBE = 1024
"""The widest matrix of the calibration."""
CHARACTERS = 4
"""Of a token, on average."""
REACHED = 0.6
"""The share of the rate of one large product that a block's own products reach."""
JACOBIAN_OPERATIONS, PRODUCT_OPERATIONS, PROMPT_OPERATIONS, BLOCK_OPERATIONS, PAIR_OPERATIONS = 3000, 800, 5000, 250, 30
"""Operations of the framework for a pass that makes Jacobians, for a product with one that is not formed, for a prompt,
for a block in its forward pass, and for a pair of Jacobians that are compared."""
MODEL_OPERATIONS, CHECK_OPERATIONS, CHECK_PASSES = 80000, 6000, 3
"""What is done once, at the first prompt: operations of the libraries and for the checks of each block, and forward
passes of these."""
PASSED_BACK = 0.75
"""The share of a block's weights that a dense Jacobian is multiplied with; the last layers are known."""


@dataclass(frozen=True)
class Rates:
    """What this device does in a second.

    Attributes:
        products: floating-point operations of a matrix product.
        operation: seconds of the smallest operation.
        factoring: seconds to factor one dense Jacobian of the width; NaN where none is formed.
    """

    products: float
    operation: float
    factoring: float


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        device: where.
        parameters: of the model without its head.
        blocks: L.
        width: d.
        prompts: the number of prompts.
        tokens: of each prompt.
        jacobians: of all prompts.
        engine: how singular vectors will be found.
        streamed: whether the blocks will stay on disk.
        seconds: of the measuring, without loading the model.
        memory_bytes: the most memory, with the interpreter on a CPU.
        weights_bytes: of it, the weights.
    """

    device: str
    parameters: int
    blocks: int
    width: int
    prompts: int
    tokens: int
    jacobians: int
    engine: str
    streamed: bool
    seconds: float
    memory_bytes: int
    weights_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The estimate as JSON represents it."""
        return asdict(self) | {"seconds": float(f"{self.seconds:.3g}")}


def estimate(
    model: str | None = None,
    settings: Settings | None = None,
    *,
    prompts: int = 16,
    length: int = 32,
    dtype: Dtype = "auto",
    device: str = "auto",
    stream: Stream = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    block_list: str | None = None,
    resources: Resources | None = None,
) -> Estimate:
    """Estimate time and memory of ``coupling.analyze`` with the same arguments, within a factor of about two.

    Args:
        model: a folder or a hub id, of which the configuration alone is read; None for the bundled checkpoint.
        settings: what would be measured.
        prompts: the number of prompts.
        length: the number of tokens of each.
        dtype: see ``analyze``.
        device: see ``analyze``.
        stream: see ``analyze``.
        revision: see ``analyze``.
        trust_remote_code: see ``analyze``.
        block_list: see ``analyze``.
        resources: see ``analyze``.

    Raises:
        CouplingError: if the configuration cannot be read, has no blocks, or does not fit the settings.

    Example:
        >>> found = estimate(prompts=4)
        >>> found.blocks, found.width, found.jacobians
        (8, 128, 32)
    """
    settings, resources = settings or Settings(), resources or Resources()
    check_stream(stream)
    if prompts < 1 or length < 1:
        raise CouplingError(f"`prompts` is {prompts} and `length` {length}, but both must be at least 1")
    place = resolve_device(device)
    config = read_config(model, revision=revision, trust_remote_code=trust_remote_code)
    try:
        with torch.device("meta"):
            whole = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # a configuration of an unknown kind raises anything
        raise CouplingError(f"no model can be built from the configuration: {one_line(error)}") from error
    _, modules = find_blocks(whole, block_list)
    width = getattr(config.get_text_config(), "hidden_size", None)
    if not isinstance(width, int):
        raise CouplingError("the configuration does not say how wide the model is (hidden_size)")
    plan = Plan.of(settings, n_tokens=length, blocks=list(range(len(modules))), width=width)
    of_blocks = [sum(parameter.numel() for parameter in module.parameters()) for module in modules]
    parameters = sum(parameter.numel() for parameter in whole.parameters())
    itemsize = 8 if dtype == "float64" else 2 if dtype in ("bfloat16", "float16") else 4
    compared = max(len(group.a) for group in plan.groups())
    engine = engine_for((width, width), plan.ks.largest, compared, settings.engine)
    is_streamed = stream is True
    outside, largest = parameters - sum(of_blocks), max(of_blocks)
    # blocks in half precision are widened one at a time
    is_narrow = dtype in ("auto", "float32") and config.dtype in HALF and parameters >= FEWEST
    whole_bytes = 4 * (outside + largest) + 2 * sum(of_blocks) if is_narrow else parameters * itemsize
    available = memory_of(place)
    if stream == "auto" and available is not None:
        is_streamed = whole_bytes > SHARE * available
    rates = _calibrated(width, plan.ks.largest, place, dense=engine == "dense")
    model_size = _Model(width, max(of_blocks), sum(of_blocks), parameters, len(modules), itemsize)
    seconds = _seconds_of_checks(model_size, length, rates)
    seconds += prompts * _seconds_of_prompt(model_size, plan, prompts, length, rates, resources, engine)
    weights = (outside + 2 * largest) * itemsize if is_streamed else whole_bytes
    memory = weights + _working_memory(model_size, plan, prompts, length, resources, engine)
    return Estimate(
        place,
        parameters,
        len(modules),
        width,
        prompts,
        length,
        prompts * plan.jacobian_count(),
        engine,
        is_streamed,
        seconds * (1.5 if is_streamed and settings.kind == "depth" else 1.0),
        memory + (INTERPRETER if place == "cpu" else 0),
        weights,
    )


@dataclass(frozen=True)
class _Model:
    """The sizes of a model: d, parameters of a block, of all blocks and of everything, L, and bytes of a number."""

    width: int
    block: int
    all_blocks: int
    parameters: int
    blocks: int
    itemsize: int


def sizes_of(source: Prompts | None, limit: int | None = None) -> tuple[int, int]:
    """The number of prompts, and their mean number of tokens at four characters each.

    Args:
        source: the prompts; None for the bundled ones.
        limit: only the first.
    """
    texts = (source or bundled_prompts()).limited(limit).texts
    return len(texts), max(1, round(sum(map(len, texts)) / len(texts) / CHARACTERS))


def _seconds_of_forward(model: _Model, length: int, rates: Rates, prompts: int = 1) -> float:
    """A forward pass of one prompt, or its share of a pass of several."""
    products = 2 * model.all_blocks * length + 4 * length**2 * model.width * model.blocks
    return products / (REACHED * rates.products) + model.blocks * BLOCK_OPERATIONS * rates.operation / prompts


def _seconds_of_checks(model: _Model, length: int, rates: Rates) -> float:
    """What is done once, at the first prompt."""
    operations = MODEL_OPERATIONS + model.blocks * CHECK_OPERATIONS
    return operations * rates.operation + CHECK_PASSES * _seconds_of_forward(model, length, rates)


def _seconds_of_prompt(
    model: _Model, plan: Plan, prompts: int, length: int, rates: Rates, resources: Resources, engine: str
) -> float:
    """Forward pass, Jacobians, singular vectors and comparisons of one prompt."""
    rate = REACHED * rates.products
    forward = _seconds_of_forward(model, length, rates)
    of_batch = min(prompts, resources.prompts_together(model.width, length, model.blocks))
    recorded = min(of_batch, prompts_per_pass(model.width, length, model.itemsize, resources.pass_bytes))
    if saves_time(recorded, length, model.block) and model.itemsize >= 4:  # two are recorded alone as well
        forward = _seconds_of_forward(model, length, rates, recorded) + 2 / recorded * forward
    rows = 1 if plan.fixed is None else 2
    count, k = plan.jacobian_count(), plan.ks.largest
    compared = max(len(group.a) for group in plan.groups())
    if engine == "dense":
        together = of_batch * (len(plan.tokens) if plan.kind != "depth" or plan.has_token_axis else 1)
        together = max(1, min(together, places_per_pass(model.width, length, model.itemsize, rows)))
        each = 2 * model.width * model.block * PASSED_BACK * rows / rate + rates.factoring
        each += JACOBIAN_OPERATIONS * rates.operation / together
    else:
        columns = 2 * (EXPECTED_POWER_ITERATIONS + 1) * (k + OVERSAMPLING)
        each = 4 * model.block * (columns + 64 + 2 * compared * k) * rows / rate
        each += 2 * EXPECTED_POWER_ITERATIONS * PRODUCT_OPERATIONS * rates.operation
    # products with the frames, in float64
    each += 4 * model.width**2 * 2 * compared * k / rates.products if engine == "dense" else 0.0
    pairs = sum(len(group.a) * len(group.b) for group in plan.groups())
    return forward + count * each + (PROMPT_OPERATIONS + pairs * PAIR_OPERATIONS) * rates.operation


def _working_memory(model: _Model, plan: Plan, prompts: int, length: int, resources: Resources, engine: str) -> int:
    """Bytes beside the weights: recordings, what is kept for a comparison, one pass, one decomposition, the results."""
    together = min(prompts, resources.prompts_together(model.width, length, model.blocks))
    recorded = together * (4 * model.blocks + 8) * length * model.width * model.itemsize + 8 * length**2
    square = model.width**2
    largest = max(len(group.made) for group in plan.groups())
    compared = max(len(group.a) for group in plan.groups())
    results = 6 * 8 * compared**2 * plan.ks.largest**2
    if engine == "dense":
        kept = min(together * largest * square * model.itemsize, resources.kept_bytes)
        batched = min(resources.pass_bytes, 24 * square * model.itemsize * together)
        working = kept + batched + 6 * 8 * square
    else:
        working = 17 * 8 * model.width * (plan.ks.largest + OVERSAMPLING) + resources.pass_bytes // 4
    return int(recorded + results + working)


def _calibrated(width: int, k: int, device: str, *, dense: bool) -> Rates:
    """Time one matrix product, some of the smallest operations, and the factoring of one matrix."""
    size = min(width, PROBE)
    a, b = torch.randn(size, size, device=device), torch.randn(size, 4 * size, device=device)
    product = _fastest(lambda: a @ b, device)
    small = torch.zeros(4, 4, device=device)

    def operations() -> None:
        for _ in range(100):
            small.add(1.0)

    factoring = float("nan")
    if dense:
        matrix = DenseJacobian(a / size**0.5)
        some = min(k, size // 2)
        factoring = _fastest(lambda: factor(matrix, some, n_compared=1, engine="dense"), device, 3)
        if width > size:
            is_thin = is_worthwhile((width, width), k)
            factoring *= (width / size) ** (2 if is_thin else 3) * (
                block_width(k) / block_width(some) if is_thin else 1
            )
    return Rates(8 * size**3 / product, _fastest(operations, device) / 100, factoring)


def _fastest(function: Any, device: str, repeats: int = 5) -> float:
    """The shortest of a few runs, after one that is not timed."""
    times = []
    for _ in range(repeats + 1):
        before = time.perf_counter()
        function()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return min(times[1:])
