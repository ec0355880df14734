"""One forward pass of a model with hooks on its blocks: the residual stream at every layer, and the calls."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, pairwise
from traceback import walk_tb
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coupling.errors import CouplingError, one_line
from coupling.models import attention
from coupling.models.blocks import BlocksError, first_bad_block, other_lists, trunk
from coupling.models.calls import COPIES, GRID, GRID_OR_COPIES, BlockCall
from coupling.models.locality import close

try:
    from transformers.backbone_utils import BackboneMixin
except ImportError:  # where earlier versions have it
    from transformers.utils.backbone_utils import BackboneMixin  # pyright: ignore[reportPrivateImportUsage]

BEYOND = ("out of range in self", "out of bounds", "out of range")
"""How torch words a look-up beyond an embedding table; it has no type of its own for this."""


class PassError(CouplingError):
    """The forward pass itself fails, whatever the blocks are."""


@dataclass
class Pass:
    """What one forward pass left behind.

    Attributes:
        streams: the input of every block call, (prompts, n, d), and the output of the last.
        calls: how the model called the blocks, in order.
        numbers: the number of each call: the block's place in its list, or the order of the calls where a block is
            called several times (shared layers, as in ALBERT).
    """

    streams: list[Float[Tensor, "prompts n d"]] = field(default_factory=list)
    calls: list[BlockCall] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


def run(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], name: str | None, tape: attention.Tape
) -> Pass:
    """Run a model once and keep what enters its blocks.

    Args:
        model: a transformers model.
        modules: its residual blocks.
        inputs: keyword arguments of its forward pass, with batch size 1.
        name: the attention implementation; None for the model's own.
        tape: told which block is being called.

    Raises:
        CouplingError: if the pass fails for a reason that lies in the model or its inputs, or if the blocks are not a
            chain of residual blocks.
        UnknownAttentionError: if the recording attention cannot serve this model.
    """
    try:
        return observe(model, modules, inputs, name, tape)
    except BlocksError as error:
        raise BlocksError(f"{error}{other_lists(model, modules, inputs)}") from None


def run_twice(
    model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any], name: str | None, tape: attention.Tape
) -> Pass:
    """As ``run``; where the pass drew random numbers, a second one must agree.

    Raises:
        CouplingError: if two passes differ.
    """
    before = torch.get_rng_state()
    done = run(model, modules, inputs, name, tape)
    if torch.equal(before, torch.get_rng_state()):
        return done
    again = run(model, modules, inputs, name, attention.Tape(own=tape.own))
    torch.set_rng_state(before)
    if any(
        a.shape != b.shape or not close(a.flatten(), b.flatten(), a.flatten())
        for a, b in zip(done.streams, again.streams, strict=True)
    ):
        raise CouplingError(
            f"the forward pass of {type(model).__name__} draws random numbers, so that two passes differ (as in models "
            "that mask their input at random); no Jacobian of it can be measured"
        )
    return done


def observe(
    model: nn.Module,
    modules: list[nn.Module],
    inputs: dict[str, Any],
    name: str | None,
    tape: attention.Tape,
    prompts: int = 1,
) -> Pass:
    """As ``run``, of several prompts; a refusal does not say which other lists of modules could be the blocks."""
    calls: list[BlockCall] = []
    streams: list[Tensor] = []
    outputs: list[Tensor] = []

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call, stream = BlockCall.of(block, args, kwargs, several)
        tape.block = len(calls)
        calls.append(call)
        # what the block before returned, where that is what enters; else a copy, since a block may write into its input
        is_same = bool(outputs) and outputs[-1].shape == stream.shape and torch.equal(outputs[-1], stream)
        streams.append(outputs[-1] if is_same else stream.detach().clone())

    def after(block: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        tape.block = None
        calls[-1].check_whole(streams[-1], result)
        outputs.append(calls[-1].stream_of(result).detach().clone())

    network, keywords = prepared(model, modules, inputs)
    has_text, has_pixels = "input_ids" in inputs, "pixel_values" in inputs
    several = GRID_OR_COPIES if has_text == has_pixels else COPIES if has_text else GRID
    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in dict.fromkeys(modules)]
    handles += [module.register_forward_hook(after) for module in dict.fromkeys(modules)]
    try:
        with torch.no_grad(), attention.implementation(model, name), attention.recording(tape):
            network(**keywords)
    except (IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise PassError(failure(model, modules, error)) from error
    except Exception as error:  # whatever a model's code raises: a configuration may make it divide by zero
        if isinstance(error, CouplingError | attention.UnknownAttentionError) or is_ours(error):
            raise
        raise PassError(failure(model, modules, error)) from error
    finally:
        for handle in handles:
            handle.remove()
    check_chain(modules, calls, streams, outputs, batch_of(keywords), prompts=prompts)
    numbers = numbers_of(modules, [call.block for call in calls])
    return Pass([*streams, outputs[-1]], calls, numbers)


def numbers_of(modules: list[nn.Module], called: list[nn.Module]) -> list[int]:
    """The number of each call: the block's place in its list, or the order of the calls where a block is shared."""
    numbers = [modules.index(block) for block in called]
    if any(first >= second for first, second in pairwise(numbers)):
        return list(range(len(called)))
    return numbers


def batch_of(keywords: dict[str, Any]) -> int:
    """The number of sequences that a forward pass is given."""
    return next((len(value) for value in keywords.values() if isinstance(value, Tensor) and value.ndim), 1)


def prepared(model: nn.Module, modules: list[nn.Module], inputs: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The network without its head, and its arguments on its device."""
    # A backbone has no head, and calls its trunk with arguments of its own (Swin partitions at every resolution).
    network = model if isinstance(model, BackboneMixin) else trunk(model)
    accepted = inspect.signature(network.forward).parameters
    # What is called the base model may be a part without the embeddings (DINOv3), or without these blocks.
    main = [name for name in inputs if name in ("input_ids", "pixel_values", "inputs_embeds", "input_features")]
    if network is not model and not (all(name in accepted for name in main) and set(modules) <= set(network.modules())):
        network = model
    keywords = dict(inputs)
    accepted = inspect.signature(network.forward).parameters
    if "pixel_values" in keywords and "pixel_values" not in accepted:
        keywords["x"] = keywords.pop("pixel_values")  # as timm calls them
    if "use_cache" in accepted:
        keywords["use_cache"] = False
    device = device_of(network)
    return network, {key: v.to(device) if isinstance(v, Tensor) else v for key, v in keywords.items()}


def device_of(model: nn.Module) -> torch.device:
    """The device on which a model computes, also where accelerate keeps its weights elsewhere."""
    parameters = list(model.parameters())
    if any(parameter.device.type == "meta" for parameter in parameters):
        for module in model.modules():
            device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
            if device is not None:
                return torch.device(device)
    return next((p.device for p in parameters if p.device.type != "meta"), torch.device("cpu"))


def failure(model: nn.Module, modules: list[nn.Module], error: Exception) -> str:
    """Why a forward pass failed, in the user's terms."""
    if any(words in str(error) for words in BEYOND):
        return (
            "a token id or a position is beyond the model's embedding table: the prompt is too long for the model, or "
            "was tokenized for another model"
        )
    dtypes = [sorted({str(p.dtype) for p in module.parameters() if p.is_floating_point()}) for module in modules]
    if len({dtype for block in dtypes for dtype in block}) > 1:
        usual = max((tuple(block) for block in dtypes), key=lambda block: sum(tuple(b) == block for b in dtypes))
        odd = next(index for index, block in enumerate(dtypes) if tuple(block) != usual or len(block) > 1)
        return (
            f"the forward pass fails because the blocks mix dtypes: block {odd} has weights of "
            f"{' and '.join(dtypes[odd])}, other blocks of {' and '.join(usual)}; convert the model to one dtype "
            f"({one_line(error, 120)})"
        ).replace("torch.", "")
    kind = "" if isinstance(error, RuntimeError | IndexError) else f"{type(error).__name__}: "
    return f"the forward pass of {type(model).__name__} fails: {kind}{one_line(error)}"


def is_ours(error: Exception) -> bool:
    """Whether an error that left a forward pass comes from this package's own code in it: a hook, or the attention."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    own = [name.partition(".")[0] == "coupling" for name in names]
    inside = list(dropwhile(bool, own))  # without the functions that called the model
    return not inside or any(inside)


def check_chain(
    modules: list[nn.Module],
    calls: Sequence[object],
    streams: list[Tensor],
    outputs: list[Tensor],
    given: int,
    first: int = 0,
    prompts: int = 1,
) -> None:
    """Check that the calls form one residual stream of the given batch: each is given the output of the one before.

    Args:
        modules: the blocks.
        calls: the calls, in order.
        streams: what entered each.
        outputs: what each returned.
        given: the number of sequences that the model was given.
        first: the number of the first of these calls.
        prompts: the number of prompts that are recorded.

    Raises:
        CouplingError: if they do not.
    """
    if not calls:
        raise BlocksError(
            f"the {len(modules)} modules of class {type(modules[0]).__name__} are not called in a forward pass, or "
            "only by their method forward(), which cannot be observed, so they are not blocks that can be measured"
        )
    if len(outputs) != len(calls):
        raise BlocksError(
            f"{len(modules)} modules of class {type(modules[0]).__name__} were called {len(calls)} times in one "
            f"forward pass and returned {len(outputs)} times, so they are not residual blocks of this pass"
        )
    if streams[0].shape[0] != prompts:
        if streams[0].shape[1] == 1:
            raise CouplingError(
                f"the blocks are called with tensors of shape {tuple(streams[0].shape)}, tokens before the batch; only "
                "models that put the batch first can be measured"
            )
        if given == 1:
            raise CouplingError(
                f"the blocks are called with {streams[0].shape[0]} sequences for one input, as in models that split an "
                "image into windows; only models that pass it whole can be measured"
            )
        raise CouplingError(f"a recording is of one prompt, but the batch contains {streams[0].shape[0]}")
    for index, (stream, output) in enumerate(zip(streams, outputs, strict=True), first):
        if stream.shape[1:] != outputs[0].shape[1:] or output.shape[1:] != outputs[0].shape[1:]:
            before, after = (tuple(tensor.shape[1:]) for tensor in (streams[0], output))
            raise CouplingError(
                f"the residual stream changes its size from {before} (tokens, width) to {after} at block {index}, as "
                "in hierarchical models, so the blocks have no residual stream in common"
            )
    for index, (output, following) in enumerate(zip(outputs[:-1], streams[1:], strict=True), first):
        if output is following:
            continue
        if output.shape != following.shape or not torch.equal(output.nan_to_num(), following.nan_to_num()):
            raise BlocksError(
                f"the input of block {index + 1} is not the output of block {index}, so the modules of class "
                f"{type(modules[min(index, len(modules) - 1)]).__name__} are not residual blocks of one stream"
            )


def not_finite(modules: list[nn.Module], layer: int, dtype: torch.dtype) -> str:
    """Why the residual stream contains a NaN or an infinity at a layer."""
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
