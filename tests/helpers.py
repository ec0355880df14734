"""Small random models of every architecture that we promise, and the independent judge of their Jacobians."""

import copy
import inspect
import os
from importlib.resources import files
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

ROOT = Path(__file__).parents[1]
"""The root of the checkout."""
BUNDLED = str(files("coupling") / "data/checkpoint")
VOCABULARY, TOKENS = 97, 11

SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
OWN = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "vocab_size": VOCABULARY}

TOKEN_LOCAL = {
    "gpt2": ("GPT2", OWN | {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64}),
    "gpt2-scaled-by-layer": ("GPT2", OWN | {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64,
                                            "scale_attn_by_inverse_layer_idx": True}),
    "llama": ("Llama", GROUPED),
    "gpt_neox": ("GPTNeoX", SMALL | {"rotary_pct": 0.25}),
    "gpt_neox-sequential": ("GPTNeoX", SMALL | {"use_parallel_residual": False}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", GROUPED),
    "gemma2": ("Gemma2", GROUPED | {"sliding_window": 4, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 0.5}),
    "gemma3": ("Gemma3Text", GROUPED | {"sliding_window": 4, "query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": 5}),
    "phi": ("Phi", SMALL | {"partial_rotary_factor": 0.5}),
    "olmo": ("Olmo", SMALL | {"clip_qkv": 0.3}),
    "opt": ("OPT", OWN | {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
                          "max_position_embeddings": 64, "word_embed_proj_dim": 32}),
    "bert": ("Bert", SMALL),
    "roberta": ("Roberta", SMALL),
    "distilbert": ("DistilBert", OWN | {"dim": 32, "hidden_dim": 48, "n_layers": 3, "n_heads": 4}),
    "mixtral": ("Mixtral", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3Moe", GROUPED | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
    "gpt_oss": ("GptOss", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4,
                                     "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
}  # fmt: skip
OWN_ATTENTION = {
    "falcon": ("Falcon", OWN | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}),
    "falcon-alibi": ("Falcon", OWN | {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
                                      "alibi": True, "new_decoder_architecture": False}),
    "mpt": ("Mpt", OWN | {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 64}),
    "bloom": ("Bloom", OWN | {"hidden_size": 32, "n_head": 4, "n_layer": 3}),
    "gptj": ("GPTJ", OWN | {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64, "rotary_dim": 4}),
    "gpt_neo": ("GPTNeo", OWN | {"hidden_size": 32, "num_heads": 4, "num_layers": 3, "intermediate_size": 48,
                                 "attention_types": [[["global", "local", "global"], 1]], "window_size": 4,
                                 "max_position_embeddings": 64}),
}  # fmt: skip
ARCHITECTURES = TOKEN_LOCAL | OWN_ATTENTION
ENCODERS = {"bert", "roberta", "distilbert"}


def make_model(name: str) -> transformers.PreTrainedModel:
    """A small random model, its weights large enough that attention is far from uniform."""
    family, options = ARCHITECTURES[name]
    torch.manual_seed(7)
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**options))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def make_ids(seed: int = 0, tokens: int = TOKENS) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(seed))


def block_list(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The list of the test models' three blocks, found without the library."""
    return next(list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)


def reference_jacobian(model, ids, block: int, source: int, target: int) -> torch.Tensor:
    """Float64, the whole sequence, one backward pass a row, nothing of the library in it."""
    model = copy.deepcopy(model).double()
    if model._supports_attention_backend:
        model.set_attn_implementation("eager")
    if hasattr(model.config, "num_local_experts") or hasattr(model.config, "num_experts"):
        model.set_experts_implementation("eager")
    seen = []
    module = block_list(model)[block]
    handle = module.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with torch.no_grad():
        model(ids, **options)
    handle.remove()
    args, kwargs = seen[0]
    stream = args[0]

    def change(x):
        moved = stream.clone()
        moved[0, source] = x
        output = module(moved, *args[1:], **kwargs)
        output = output[0] if isinstance(output, tuple) else output
        return output[0, target] - moved[0, target]

    return torch.autograd.functional.jacobian(change, stream[0, source].clone())


def refused(outcome, *parts, code=1):
    """One clear line on stderr, nothing on stdout."""
    status, out, err = outcome
    assert status == code
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[0]
