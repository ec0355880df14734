"""PEFT adapters: find the model that one was trained on, and merge it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from coupling.errors import CouplingError, first_line, require
from coupling.untrusted import check_regular, clean, quoted, read_json

CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "FEATURE_EXTRACTION": "AutoModel",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}
"""For each task of PEFT, the class that its adapters name modules of."""


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder and what its configuration says.

    Attributes:
        folder: the folder.
        base: the model that it was trained on; a folder or a hub id.
        revision: the revision of that model.
        kind: the method, such as "LORA".
        auto_class: the class that the model is loaded by, because the adapter names the modules of this class.
    """

    folder: Path
    base: str
    revision: str | None
    kind: str
    auto_class: Any


def read_adapter(folder: Path, name: str, base: str | None) -> Adapter:
    """What an adapter's configuration says.

    Args:
        folder: contains adapter_config.json.
        name: what the user called it.
        base: overrides the model that the configuration names.

    Raises:
        CouplingError: if PEFT or the adapter's weights are missing, or no model is named.
    """
    require("peft", purpose="an adapter")
    content = read_json(folder / "adapter_config.json")
    if not isinstance(content, dict):
        raise CouplingError(f"{folder / 'adapter_config.json'} is not the configuration of an adapter")
    chosen = base or content.get("base_model_name_or_path")
    if chosen and (not isinstance(chosen, str) or "\0" in chosen):
        raise CouplingError(
            f"the adapter {name} says that it was trained on {quoted(chosen)}, which is not a model's name"
        )
    if not chosen:
        raise CouplingError(f"the adapter {name} does not say which model it was trained on; name it with `base`")
    check_adapter_files([file.name for file in folder.iterdir()], name)
    check_regular(folder / "adapter_model.safetensors")
    mapping = content.get("auto_mapping")
    mapping = mapping if isinstance(mapping, dict) else {}
    auto_class = getattr(transformers, str(mapping.get("base_model_class")), None)
    if auto_class is None:
        auto_class = getattr(transformers, CLASSES.get(str(content.get("task_type")), "AutoModelForCausalLM"))
    revision = content.get("revision") if base is None else None
    if revision is not None and not isinstance(revision, str):
        raise CouplingError(f"the adapter {name} names the revision {quoted(revision)}, which is not a text")
    return Adapter(folder, str(chosen), revision, str(content.get("peft_type", "")), auto_class)


def check_adapter_files(names: Collection[str], name: str) -> None:
    """Check that the weights are among an adapter's files.

    Args:
        names: the names of the files.
        name: what the user called the adapter.

    Raises:
        CouplingError: if they are not.
    """
    if "adapter_model.safetensors" not in names:
        pickled = (
            " (adapter_model.bin is a pickle, which can contain code and is refused)"
            if "adapter_model.bin" in names
            else ""
        )
        raise CouplingError(f"the adapter {name} contains no adapter_model.safetensors{pickled}")


def merge(adapter: Adapter, model: Any) -> Any:
    """A model with an adapter merged into its weights; learned tokens, which cannot be merged, stay in front.

    Raises:
        CouplingError: if the adapter does not fit the model, or cannot be merged.
    """
    from peft import PeftConfig, get_peft_model

    try:
        config = PeftConfig.from_pretrained(str(adapter.folder), inference_mode=True)
        config.base_model_name_or_path = adapter.base
        adapted: Any = get_peft_model(model, config)
        report = adapted.load_adapter(str(adapter.folder), "default")
        merged = adapted if config.is_prompt_learning else adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # a truncated file, shapes of another model, a kind of adapter that cannot be merged
        raise CouplingError(
            f"the adapter cannot be merged into {adapter.base}: {clean(first_line(error), 300)}"
        ) from None
    # PEFT loads learned tokens apart from the report, which takes them for unexpected.
    unmatched = [key for key in (*report.missing_keys, *report.unexpected_keys) if key != "prompt_embeddings"]
    if unmatched:
        raise CouplingError(
            f"the adapter does not fit {adapter.base}: {len(unmatched)} weights, such as {unmatched[0]}"
        )
    return merged.eval().requires_grad_(False)
