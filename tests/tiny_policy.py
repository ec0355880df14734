"""A very small language model with its tokenizer, and a task for it."""

import random

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = ["<pad>", "<eos>", "a", "b", "c", "d", "e", "f", "g", "h"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(LETTERS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def make_policy(seed: int = 0, **options) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(LETTERS), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1, **options,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def make_prompts(count: int = 32) -> Dataset:
    return Dataset.from_list([{"prompt": f"{LETTERS[2 + i % 8]} {LETTERS[2 + i // 4 % 8]}"} for i in range(count)])


def count_a(completions, **_):
    """A reward that a policy can raise: how many of the completion's letters are a."""
    return [float(text.split().count("a")) for text in completions]


def scripted(prompts, trainer):
    """Completions and log-probabilities that depend on the prompt and the place in its group alone."""
    output = {"prompt_ids": trainer.processing_class(prompts)["input_ids"], "completion_ids": [], "logprobs": []}
    for index, prompt in enumerate(prompts):
        drawn = random.Random(f"{prompt} {index % 4}")
        length = drawn.randint(1, 6)
        output["completion_ids"].append([drawn.randrange(1, len(LETTERS)) for _ in range(length)])
        output["logprobs"].append([drawn.uniform(-3, -1.5) for _ in range(length)])
    return output
