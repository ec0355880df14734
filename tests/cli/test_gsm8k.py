"""The shipped GSM8K example end to end, with a small random chat model and a few rows under the names in it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOTrainer

from coupling.rl import P3OTrainer

EXAMPLE = Path(__file__).parents[2] / "examples" / "gsm8k.yaml"
LOWERED = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 6,
    "save_steps": 1,
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [
    {
        "question": f"Ann has {n} boxes of {n + 3} pencils each. How many pencils does she have?",
        "answer": f"She has {n} * {n + 3} = <<{n}*{n + 3}={n * (n + 3)}>>{n * (n + 3)} pencils.\n#### {n * (n + 3)}",
    }
    for n in range(2, 14)
]


def make_chat_model(folder):
    """A model with bytes as tokens, ChatML, and its own generation configuration, like Qwen's models."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=len(tokens) - 1,
        pad_token_id=len(tokens) - 3,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.update(do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1)
    model.save_pretrained(folder)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The YAML with smaller numbers, beside a model and a data set of the names in it."""
    # The cache tells local data sets of one name apart by the time of their files alone.
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    content = yaml.safe_load(EXAMPLE.read_text())
    assert set(LOWERED) <= set(content["trainer"])
    content["trainer"] |= LOWERED
    (tmp_path / "gsm8k.yaml").write_text(yaml.safe_dump(content))
    make_chat_model(tmp_path / content["model"])
    data = tmp_path / content["data"]["dataset"]
    data.mkdir(parents=True)
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    files = [{"split": "train", "path": "train.jsonl"}]
    header = yaml.safe_dump({"configs": [{"config_name": "main", "data_files": files}]})
    (data / "README.md").write_text(f"---\n{header}---\n")
    return content


def test_the_shipped_example_runs_as_it_is(cli, shipped, monkeypatch):
    seen = {}
    calculate = GRPOTrainer._calculate_rewards

    def spied(self, inputs, prompts, completions, ids):
        seen.update(trainer=self, prompts=prompts, ids=ids, answers=[row["answer"] for row in inputs])
        return calculate(self, inputs, prompts, completions, ids)

    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", spied)
    code, out, err = cli("rl", "gsm8k.yaml", "--out", "out")
    assert code == 0, err
    assert "reward 0 over the first tenth of the steps" in out
    trainer = seen["trainer"]
    assert isinstance(trainer, P3OTrainer)
    assert trainer.args.bf16
    assert trainer.model.is_gradient_checkpointing
    assert (trainer.temperature, trainer.top_p, trainer.top_k, trainer.repetition_penalty) == (1.0, 1.0, 0, 1.0)
    system, user = seen["prompts"][0]
    assert system == {"role": "system", "content": shipped["data"]["system"]}
    assert user["role"] == "user"
    assert user["content"] in [row["question"] for row in ROWS]
    assert seen["answers"][0] in [row["answer"] for row in ROWS]
    table = pd.read_csv("out/table.csv")
    assert table.step.tolist() == [0, 1, 2]
    assert table.score.notna().tolist() == [True, False, True]
    for name in ("reward", "loss", "ess", "rewards/number/mean"):
        assert table[name].notna().tolist() == [False, True, True], name
    assert Path("out/model/model.safetensors").exists()
    probes = ("--prompts", Path(shipped["data"]["dataset"]) / "train.jsonl", "--column", "question", "--limit", 8)
    code, _, err = cli("rl", "--from-checkpoints", "out/trainer", *probes, "--out", "after")
    assert code == 0, err
    after = pd.read_csv("after/table.csv")
    assert after.step.tolist() == [0, 1, 2]
    assert after.score.iloc[-1] == pytest.approx(table.score.iloc[-1], abs=1e-5)


def test_the_shipped_example_with_adapters(cli, shipped):
    shipped["lora"] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    Path("lora.yaml").write_text(yaml.safe_dump(shipped))
    code, _, err = cli("rl", "lora.yaml", "--out", "out")
    assert code == 0, err
    assert pd.read_csv("out/table.csv").score.notna().tolist() == [True, False, True]
    code, _, err = cli("rl", "--from-checkpoints", "out/trainer", "--out", "after")
    assert code == 0, err
    assert "not measured" not in err
    during, after = (pd.read_csv(f"{folder}/table.csv").set_index("step") for folder in ("out", "after"))
    assert after.index.tolist() == [0, 1, 2]
    assert after.mismatch_to_initial.loc[2] == pytest.approx(during.mismatch_to_initial.loc[2], rel=1e-3)
