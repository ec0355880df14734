"""What programs on top of the library share: other libraries are quiet, and an error is one line."""

import atexit
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from coupling.errors import CouplingError

INTERRUPTED = "interrupted; continue with the same command"


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and warnings off the user's screen.

    transformers and huggingface_hub read the variables when they are imported, so they are not imported here.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")  # its retries do not concern the user
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # speaks of torchao whenever that is installed
    if "transformers" in sys.modules or "huggingface_hub" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()


@contextmanager
def loading_libraries() -> Iterator[None]:
    """Import large libraries without collecting garbage meanwhile, and leave what they bring out of later collections.

    Importing PyTorch and transformers makes more than a million objects that stay. Looking through them again and again
    takes a fifth of the time of a short command.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # some libraries look at the end for objects that were never collected
        if was_enabled:
            gc.enable()


@contextmanager
def errors_in_one_line(interrupted: str = INTERRUPTED) -> Iterator[None]:
    """End the program with one line on stderr where the library or the machine reports an error, or on Ctrl-C.

    The exit status is 1 for an error, and 130 for Ctrl-C. What is neither is a defect, and keeps its traceback.

    Args:
        interrupted: what is said on Ctrl-C.

    Raises:
        SystemExit: in place of the error.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        raise SystemExit(130) from None
    except CouplingError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if not error.strerror:
            raise
        print(f"error: cannot read or write {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
