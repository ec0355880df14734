"""A very small language model with its tokenizer, a task for it, and trainers that train it on the task."""

import random
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from coupling.rl import P3OConfig, P3OTrainer

LETTERS = ["<pad>", "<eos>", "a", "b", "c", "d", "e", "f", "g", "h"]
TRAINING = {
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 6,
    "max_steps": 2,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "seed": 3,
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}
"""Settings of a trainer that a test does not give."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(LETTERS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def make_policy(seed: int = 0, **options) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(LETTERS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        **options,
    )
    return LlamaForCausalLM(config)


def make_prompts(count: int = 32) -> Dataset:
    return Dataset.from_list([{"prompt": f"{LETTERS[2 + i % 8]} {LETTERS[2 + i // 4 % 8]}"} for i in range(count)])


def count_a(completions, **_) -> list[float]:
    """A reward that a policy can raise: how many of the completion's letters are a."""
    return [float(text.split().count("a")) for text in completions]


def scripted(prompts, trainer) -> dict[str, list]:
    """A ``rollout_func`` whose completions and log-probabilities depend only on the prompt and its index in a group."""
    output = {"prompt_ids": trainer.processing_class(prompts)["input_ids"], "completion_ids": [], "logprobs": []}
    for index, prompt in enumerate(prompts):
        generator = random.Random(f"{prompt} {index % 4}")
        length = generator.randint(1, 6)
        output["completion_ids"].append([generator.randrange(1, len(LETTERS)) for _ in range(length)])
        output["logprobs"].append([generator.uniform(-3, -1.5) for _ in range(length)])
    return output


def make_trainer(
    folder: str | Path,
    policy=None,
    callbacks=None,
    rollout_func=None,
    peft_config=None,
    trainer_class=P3OTrainer,
    **options,
) -> P3OTrainer:
    """A ``P3OTrainer`` of the tiny policy; ``options`` are fields of its configuration."""
    return trainer_class(
        policy or make_policy(),
        reward_funcs=count_a,
        args=P3OConfig(output_dir=str(folder), **TRAINING | options),
        train_dataset=make_prompts(),
        processing_class=make_tokenizer(),
        callbacks=callbacks,
        rollout_func=rollout_func,
        peft_config=peft_config,
    )


def make_grpo_trainer(folder: str | Path, *mixins: type, rollout_func=None, **options) -> GRPOTrainer:
    """A ``GRPOTrainer`` of the tiny policy with mix-ins; ``options`` are fields of its configuration."""
    return type("MixedTrainer", (*mixins, GRPOTrainer), {})(
        make_policy(),
        reward_funcs=count_a,
        args=GRPOConfig(output_dir=str(folder), **TRAINING | options),
        train_dataset=make_prompts(),
        processing_class=make_tokenizer(),
        rollout_func=rollout_func,
    )


def weights(trainer) -> torch.Tensor:
    """All weights of the trainer's model in one vector."""
    return torch.cat([weight.detach().reshape(-1) for weight in trainer.model.parameters()])


def logged(trainer, name: str) -> list:
    """What the trainer logged under a name, in order."""
    return [row[name] for row in trainer.state.log_history if name in row]


def fixed_inputs(rows: int = 8, tokens: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    """A micro-batch as TRL gives it to the loss, of random tokens and stale log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(rows, tokens, generator=generator) < 0.8).long()
    return {
        "prompt_ids": torch.randint(2, 10, (rows, 2), generator=generator),
        "prompt_mask": torch.ones(rows, 2, dtype=torch.long),
        "completion_ids": torch.randint(2, 10, (rows, tokens), generator=generator),
        "completion_mask": mask,
        "advantages": torch.randn(rows, generator=generator),
        "old_per_token_logps": -2 + 0.5 * torch.randn(rows, tokens, generator=generator),
    }


def loss_and_gradient(trainer, inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """The trainer's loss of one micro-batch, and its gradient with respect to all weights in one vector."""
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.detach(), torch.cat([weight.grad.reshape(-1) for weight in trainer.model.parameters()])


def completion_logprobs(trainer, inputs) -> torch.Tensor:
    """Log-probabilities of the completions' tokens, computed without the trainer; (batch, token)."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    logprobs = torch.log_softmax(trainer.model(ids, attention_mask=mask).logits[:, 1:-1].float(), dim=-1)
    return logprobs.gather(-1, inputs["completion_ids"][..., None])[..., 0]
