"""Checkpoints in FeynRL's layout."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def save_feynrl_checkpoint(folder: Path, epoch: int, step: int, model, tokenizer) -> None:
    """A folder as FeynRL's save_checkpoint and the savers of its engines write it."""
    place = folder / f"iter{epoch:06d}_v{epoch:06d}"
    (place / "ds_engine").mkdir(parents=True)
    state = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    save_file(state, place / "model.safetensors")  # without the metadata that transformers adds
    model.config.save_pretrained(place)
    model.generation_config.save_pretrained(place)
    tokenizer.save_pretrained(place)
    (place / "training_state.json").write_text(
        json.dumps({"epoch": epoch - 1, "policy_version": epoch, "global_step": step, "training_gpus": 1})
    )
    (place / "CHECKPOINT_COMPLETE").write_text("")


def save_feynrl_run(folder: Path, start: Path) -> Path:
    """Three checkpoints of steps 16, 80 and 88, the weights of each further from those of the model ``start``."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(start), AutoTokenizer.from_pretrained(start)
    torch.manual_seed(0)
    for epoch, step in ((2, 16), (10, 80), (11, 88)):
        save_feynrl_checkpoint(folder, epoch, step, model, tokenizer)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
    return folder
