"""One forward pass that records what enters every block; its Recording then gives any Jacobian of a block and token."""

import inspect
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coupling.errors import CouplingError, renamed
from coupling.linalg.jacobian import BlockJacobian
from coupling.models import attention
from coupling.models.blocks import BlockCall, find_blocks, first_bad_block, output_of, trunk

CHECKED_TOKENS = 16
"""Length of the prefix on which the recording attention is compared with the model's own, once per model."""

_agreeing: WeakSet[nn.Module] = WeakSet()
"""Models whose own attention has been found to agree with the recording attention."""


@dataclass(frozen=True)
class Recording:
    """One prompt's pass through a model: the trajectory, and everything that is needed to replay a block.

    Attributes:
        model: the model.
        trajectory: the residual stream, layer 0 (what enters the first block) to L; (L + 1, n, d).
        calls: how the model called each block.
        tape: what each attention module saw.
        token_local: whether blocks can be replayed on one token alone.
    """

    model: nn.Module
    trajectory: Float[Tensor, "layers n d"]
    calls: list[BlockCall]
    tape: attention.Tape
    token_local: bool

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return len(self.calls)

    @property
    def n_tokens(self) -> int:
        """n, the number of tokens."""
        return self.trajectory.shape[1]

    @property
    def width(self) -> int:
        """d, the size of the residual stream."""
        return self.trajectory.shape[2]

    def jacobian(self, block: int, token: int, output_token: int | None = None) -> BlockJacobian:
        """The Jacobian of a block's output at one token with respect to its input at another (default: the same).

        Args:
            block: index of the block, 0 to L - 1.
            token: the input token s, 0 to n - 1.
            output_token: the output token t.

        Raises:
            CouplingError: if an index is out of range, or the replayed block does not reproduce its output inside the
                model.
        """
        target = token if output_token is None else output_token
        bounds = (("block", block, self.n_blocks), ("token", token, self.n_tokens), ("token", target, self.n_tokens))
        for what, index, size in bounds:
            if not 0 <= index < size:
                raise CouplingError(f"{what} {index} is out of range: there are {size}, 0 to {size - 1}")
        # The output inside the model; where input and output token agree, the skip connection is not part of it.
        expected = self.trajectory[block + 1, target]
        if token == target:
            expected = expected - self.trajectory[block, token]
        paths = (True, False) if self.token_local else (False,)
        for local in paths:
            jacobian = self._jacobian(block, token, target, local=local)
            if _close(jacobian.value, expected, self.trajectory[block + 1, target]):
                jacobian.token_local = local
                return jacobian
        raise CouplingError(
            f"block {block}, called alone, does not reproduce its output inside the model: it is random, or depends on "
            "more than its arguments"
        )

    def _jacobian(self, block: int, token: int, target: int, *, local: bool) -> BlockJacobian:
        call, stream = self.calls[block], self.trajectory[block]
        # Token-local: only the input and the output token are replayed; otherwise the full sequence is.
        kept = sorted({token, target}) if local else list(range(self.n_tokens))
        rows = torch.tensor(kept, device=stream.device)
        moving, read = kept.index(token), kept.index(target)
        frozen = stream[rows]
        place = torch.tensor([moving], device=stream.device)

        def residual_update(x: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
            """f(X)_t as a function of x_s; every other token of X is frozen."""
            replaced = frozen.index_copy(0, place, x[None])
            output = call.at(replaced[None], rows) if local else call(replaced[None])
            return output[0, read] - x if moving == read else output[0, read]

        if local:
            with attention.implementation(self.model, attention.NAME), attention.replaying(self.tape, rows):
                return BlockJacobian(residual_update, stream[token], tokens=len(kept))
        with attention.implementation(self.model, _own(self.model)), sdpa_kernel(SDPBackend.MATH):
            return BlockJacobian(residual_update, stream[token], tokens=len(kept))


def record(
    model: nn.Module, inputs: dict[str, Any], *, block_list: str | None = None, blocks: str | None = None
) -> Recording:
    """Run a model once on one prompt and record what enters every block.

    Args:
        model: a transformers model; it is put into evaluation mode for the pass, and then restored.
        inputs: keyword arguments of its forward pass, with batch size 1, such as ``{"input_ids": (1, n)}``.
        block_list: name of the list of residual blocks, where it cannot be found.
        blocks: the former name of ``block_list``.

    Raises:
        CouplingError: if the blocks are not a chain of residual blocks, or a weight or an activation is not finite.

    Example:
        >>> import torch, transformers, coupling
        >>> model = transformers.GPT2Model(transformers.GPT2Config(n_embd=32, n_head=2, n_layer=3, vocab_size=50))
        >>> recording = coupling.record(model, {"input_ids": torch.arange(8)[None]})
        >>> tuple(recording.trajectory.shape), recording.jacobian(block=1, token=7).shape
        ((4, 8, 32), (32, 32))
    """
    block_list = renamed("blocks", blocks, "block_list", block_list)
    _, modules = find_blocks(model, block_list)
    return record_blocks(model, modules, inputs)


def record_blocks(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> Recording:
    """As ``record``, on blocks that have been found already."""
    local = attention.supports_interface(model)
    if local and model not in _agreeing:
        local = _attention_agrees(model, modules, inputs)
        if local:
            _agreeing.add(model)
    tape = attention.Tape()
    with attention.recording(tape):
        streams, calls = _run(model, modules, inputs, attention.NAME if local else _own(model))
    bad = next((i for i, stream in enumerate(streams) if not torch.isfinite(stream).all()), None)
    if bad is not None:
        raise CouplingError(_not_finite(modules, bad, streams[bad].dtype))
    local = local and not tape.repeated and all(_attends(call.block, tape) for call in calls)
    return Recording(model, torch.stack(streams), calls, tape, local)


def _own(model: nn.Module) -> str | None:
    """The model's own attention in its plainest form; None where it cannot be chosen."""
    return "eager" if attention.supports_interface(model) else None


def _attends(block: nn.Module, tape: attention.Tape) -> bool:
    return any(module in tape.attended for module in block.modules())


def _attention_agrees(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> bool:
    """Whether the recording attention computes what the model's own does, on a short prefix of the prompt."""
    ids = inputs.get("input_ids")
    if ids is not None:
        inputs = {
            name: value[:, :CHECKED_TOKENS] if isinstance(value, Tensor) and value.shape == ids.shape else value
            for name, value in inputs.items()
        }
    own, _ = _run(model, modules, inputs, "eager")
    try:
        with attention.recording(attention.Tape()):
            ours, _ = _run(model, modules, inputs, attention.NAME)
    except (TypeError, RuntimeError, ValueError, KeyError):  # an attention call of an unknown form
        return False
    return all(_close(a, b, b) or not torch.isfinite(b).all() for a, b in zip(ours, own, strict=True))


def _run(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], name: str | None
) -> tuple[list[Float[Tensor, "n d"]], list[BlockCall]]:
    """One forward pass with hooks on the blocks: the residual stream at every layer, and the calls."""
    streams: list[Tensor] = []
    outputs: list[Tensor] = []
    calls: list[BlockCall] = []

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call, stream = BlockCall.of(block, args, kwargs)
        calls.append(call)
        streams.append(stream.detach().clone())  # a block may write into its input

    def after(block: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        outputs.append(output_of(result).detach().clone())

    network = trunk(model)
    inside = set(network.modules())
    if not all(module in inside for module in modules):
        network = model
    options = inspect.signature(network.forward).parameters
    keywords = dict(inputs)
    if "use_cache" in options:
        keywords["use_cache"] = False
    device = next(network.parameters()).device
    keywords = {key: v.to(device) if isinstance(v, Tensor) else v for key, v in keywords.items()}
    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in modules]
    handles += [module.register_forward_hook(after) for module in modules]
    try:
        with torch.no_grad(), attention.implementation(model, name):
            network(**keywords)
    except IndexError as error:
        if "out of range in self" not in str(
            error
        ):  # how torch words a look-up beyond an embedding table; no type tells
            raise
        raise CouplingError(
            "a token id or a position is beyond the model's embedding table: the prompt is too long for the model, or "
            "was tokenized for another model"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    _check_chain(modules, calls, streams, outputs)
    return [stream[0] for stream in streams] + [outputs[-1][0]], calls


def _check_chain(
    modules: list[nn.Module], calls: list[BlockCall], streams: list[Tensor], outputs: list[Tensor]
) -> None:
    """Check that every block was called once, in order, each with the output of the one before."""
    if [call.block for call in calls] != modules:
        raise CouplingError(
            f"{len(modules)} blocks were called {len(calls)} times in one forward pass (each must be called once, in "
            "order); name the residual blocks, for example `block_list='model.layers'`"
        )
    if streams[0].shape[0] != 1:
        raise CouplingError(f"a recording is of one prompt, but the batch contains {streams[0].shape[0]}")
    for index, (output, following) in enumerate(zip(outputs[:-1], streams[1:], strict=True)):
        if output.shape != following.shape or not torch.equal(output.nan_to_num(), following.nan_to_num()):
            raise CouplingError(
                f"the input of block {index + 1} is not the output of block {index}, so these are not residual blocks "
                "of one stream; name them, for example `block_list='model.layers'`"
            )


def _not_finite(modules: list[nn.Module], layer: int, dtype: torch.dtype) -> str:
    bad = first_bad_block(modules)
    if bad is not None:
        return f"the weights of block {bad[0]} contain a NaN or an infinity (parameter {bad[1]})"
    if layer == 0:
        return "the embeddings contain a NaN or an infinity: what enters block 0 is not finite"
    wider = "float64" if dtype == torch.float32 else "float32"
    return (
        f"the output of block {layer - 1} is not finite (its weights are): the activations overflow {dtype}; "
        f"try `dtype='{wider}'`".replace("torch.", "")
    )


def _close(value: Tensor, expected: Tensor, scale: Tensor) -> bool:
    """Whether two vectors agree to the rounding of their dtype, relative to the residual stream they were read from."""
    precision = max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps)  # softmax is often in float32
    tolerance = (64 if value.dtype.itemsize > 2 else 16) * precision
    error = torch.linalg.vector_norm((value - expected).double())
    return bool(error <= tolerance * torch.linalg.vector_norm(scale.double()).clamp_min(1e-30))
