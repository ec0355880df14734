"""The model that an RL run begins from, checked before anything is trained."""

from typing import Any

from coupling.analyses.rl.config import TASK_MODEL, RunConfig
from coupling.errors import CouplingError
from coupling.models.folder import check_checkpoint_folder, is_local
from coupling.untrusted import clean, expanded


def initial_model(config: RunConfig, seed: int) -> str:
    """The model that a run begins from: a folder or a hub id.

    The small model of a task is trained first, unless it is in the cache.

    Raises:
        CouplingError: if a local folder contains no checkpoint, or one without whole weights in safetensors.
    """
    if config.model == TASK_MODEL:
        from coupling.analyses.rl.warm_start import warm_start

        return str(warm_start(str(config.data.task), seed=seed))
    if is_local(config.model):
        folder = expanded(config.model)
        if not (folder / "config.json").exists():
            raise CouplingError(f"there is no checkpoint in {config.model} (no config.json); give a folder or a hub id")
        found = check_checkpoint_folder(folder, config.model, weights=True, allow_pickle=True)
        if found.form != "safetensors":
            raise CouplingError(
                f"the weights of {config.model} are of the form {found.form}, and RL begins from safetensors: a pickle "
                "(bin) can run any code when it is read, an adapter has to be merged, and a GGUF to be converted"
            )
        return str(folder)
    return config.model


def check_initial_weights(model: str, keywords: dict[str, Any]) -> None:
    """Check that a model has all weights that its configuration asks for; transformers would draw the others randomly.

    Only the names and shapes of the weights are read.

    Args:
        model: a folder or a hub id.
        keywords: those of ``from_pretrained`` that the run gives (TRL's ``model_init_kwargs``).

    Raises:
        CouplingError: if a weight is missing, or has another shape.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report repeats what follows
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model,
            **(keywords | {"device_map": "meta"}),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception:  # loading the model itself says what is wrong
        return
    finally:
        logging.set_verbosity(verbosity)
    _, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise CouplingError(
            f"the weights of {clean(model, 300)} lack {len(missing)} parameters that the configuration asks for, among "
            f"them {clean(missing[0], 200)}; they would be random, so nothing is trained"
        )
    for key, *shapes in sorted(report["mismatched_keys"], key=str):
        there, wanted = (tuple(shape) for shape in shapes)
        raise CouplingError(
            f"{clean(key, 200)} of {clean(model, 300)} has the shape {there}, but its configuration says {wanted}"
        )
