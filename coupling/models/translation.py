"""Call a loader of transformers, and turn what it raises into one true line."""

import os
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from coupling.errors import CouplingError, one_line
from coupling.models.folder import PICKLE_RISK, is_local
from coupling.untrusted import clean

HTTP = ("httpx", "httpcore", "requests", "urllib3")
"""Libraries whose errors mean that the hub did not answer."""

T = TypeVar("T")


def call(
    name: str,
    what: str,
    function: Callable[..., T],
    *args: Any,
    bundled: bool = False,
    quantization: str | None = None,
    **kwargs: Any,
) -> T:
    """Call a loader, and translate its errors.

    Args:
        name: what the user called the checkpoint.
        what: what is loaded: "configuration", "weights" or "tokenizer".
        function: the loader.
        *args: its arguments.
        bundled: whether this is the checkpoint that the package brings along.
        quantization: the format of quantized weights.
        **kwargs: its keyword arguments.

    Raises:
        CouplingError: in place of whatever the loader raises.
    """
    try:
        return function(*args, **kwargs)
    except CouplingError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise CouplingError(f"{name} does not fit on the device; try `dtype='bfloat16'` or `device='cpu'`") from None
    except Exception as error:  # loaders raise anything: OSError, ValueError, pickle and header errors
        on_hub = not is_local(name) and not bundled
        reason = _reason(what, error, on_hub=on_hub, quantization=quantization)
        raise CouplingError(f"cannot load the {what} of {name}: {reason}") from None


def _reason(what: str, error: Exception, *, on_hub: bool, quantization: str | None) -> str:
    """Why a loader failed, in the user's terms."""
    if is_refused_pickle(error):
        return (
            "a file contains more than tensors, which can be code that runs when it is read, so it is refused; save "
            "the weights as safetensors"
        )
    message = clean(one_line(error))
    if "of the above report" in message:  # transformers' report is not shown
        message = "it could not convert some of them, which may be of another version of the format"
    # transformers has no types of its own for these two
    if "trust_remote_code" in str(error):
        return "it brings its own code; if you trust that, give `trust_remote_code=True`"
    if on_hub and what == "weights" and "use_safetensors=True" in str(error):
        return (
            f"its repository contains no safetensors; weights there may be .bin files, {PICKLE_RISK}`allow_pickle=True`"
        )
    if on_hub and is_unreachable(error):
        return (
            "the Hugging Face hub cannot be reached and it is not in the local cache "
            f"(and there is no folder of that name here: {os.getcwd()})"
        )
    if what == "weights" and quantization is not None:
        return f"they are quantized by {quantization}, and transformers reports: {message}"
    if isinstance(error, ImportError):
        return f"a package is missing: {message}"
    if what == "configuration" or type(error) is ValueError:
        return message
    return f"a file is missing, truncated or corrupt ({type(error).__name__}: {message[:200]})"


def is_refused_pickle(error: BaseException) -> bool:
    """Whether torch refused to read a pickle that contains more than tensors.

    Its own message advises to switch that off, which would run whatever the file contains.
    """
    return isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error)


def is_unreachable(error: BaseException | None) -> bool:
    """Whether the hub could not be reached: an error of that type is the cause, or the cause's cause."""
    while error is not None:
        library = type(error).__module__.partition(".")[0]
        if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError)) or library in HTTP:
            return True
        error = error.__cause__ or error.__context__
    return False
