"""Chat templates: prompts as a model meets them in a conversation."""

import json
import shutil

import pytest
import transformers
from tokenizers import Tokenizer, processors

import coupling
from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning, is_conversation, render
from coupling.models.loading import load
from coupling.models.prompts import read_prompts
from tests.helpers import BUNDLED

BOS = "<|endoftext|>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] not in ('user', 'assistant') %}"
    "{{ raise_exception('no role ' + m['role']) }}{% endif %}{{ m['content'] }};{% endfor %}"
    "{% if add_generation_prompt %}>>{% endif %}"
)
CHAT = [{"role": "user", "content": "def f(x):"}]


@pytest.fixture
def folder(tmp_path):
    """The bundled checkpoint with a tokenizer that adds BOS, and a chat template that writes it."""
    path = tmp_path / "model"
    shutil.copytree(BUNDLED, path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    config = json.loads((path / "tokenizer_config.json").read_text()) | {"bos_token": BOS, "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return str(path)


def tokens(run) -> list[str]:
    return run.token_text.values[0][: int(run.n_tokens[0])].tolist()


def test_a_rendered_prompt_has_one_bos(folder):
    """The shared case of a data set of rendered chats."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    right = tokenizer.apply_chat_template(CHAT, tokenize=True)["input_ids"]
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    for prompt in (text, "\n" + text):
        run = coupling.analyze(folder, [prompt], k=4)
        assert tokens(run).count(BOS) == 1
    assert int(coupling.analyze(folder, [text], k=4).n_tokens[0]) == len(right)
    assert tokens(coupling.analyze(folder, ["def f(x):"], k=4))[0] == BOS


def test_special_tokens_can_be_left_out(folder, tmp_path):
    run = coupling.analyze(folder, ["def f(x):"], k=4, special_tokens=False, out=tmp_path / "run")
    assert BOS not in tokens(run)
    assert run.attrs["special_tokens"] == 0
    with pytest.raises(CouplingError, match="differs in special_tokens"):
        coupling.analyze(folder, ["def f(x):"], k=4, out=tmp_path / "run", resume=True)


def test_two_bos_that_were_typed_are_measured_and_reported_once(folder):
    with pytest.warns(PromptWarning, match="2 of 3 prompts begin with two BOS tokens") as caught:
        run = coupling.analyze(folder, [BOS + BOS + "a", BOS + BOS + "b", "c"], k=4)
    assert len(caught) == 1
    assert tokens(run)[:3] == [BOS, BOS, "a"]


def test_chat_renders_texts_and_messages(folder, tmp_path):
    right = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(
        CHAT, tokenize=True, add_generation_prompt=True
    )["input_ids"]
    by_text = coupling.analyze(folder, ["def f(x):"], k=4, chat=True)
    by_messages = coupling.analyze(folder, [CHAT], k=4, chat=True)
    rows = [{"id": 1, "messages": CHAT}]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    by_file = coupling.analyze(folder, str(tmp_path / "chats.jsonl"), k=4, chat=True, out=tmp_path / "run")
    for run in (by_text, by_messages, by_file):
        assert int(run.n_tokens[0]) == len(right)
        assert str(run.prompt_text.values[0]) == f"{BOS}def f(x):;>>"
        assert (run.mismatch == by_text.mismatch).all()
        assert run.attrs["chat"] == 1
        assert run.attrs["prompts_hash"] == by_text.attrs["prompts_hash"]
    with pytest.raises(CouplingError, match="differs in"):
        coupling.analyze(folder, ["def f(x):"], k=4, out=tmp_path / "run", resume=True)
    with pytest.raises(CouplingError, match=r"row 0 .* list of messages, which `chat=True` renders"):
        read_prompts(str(tmp_path / "chats.jsonl"), column="messages")


def test_refusals(folder):
    with pytest.raises(CouplingError, match="tokenizer of bundled has no chat template, so `chat=True` does not apply"):
        coupling.analyze(prompts=["a"], k=2, chat=True)
    tokenizer = load(folder).tokenizer
    with pytest.raises(CouplingError, match="chat template of m refuses prompt 1: no role system"):
        render(tokenizer, "m", [CHAT, [{"role": "system", "content": "x"}]])
    with pytest.raises(CouplingError, match=r"prompt 0 is not a text but list; `chat=True` renders"):
        coupling.analyze(folder, [CHAT], k=2)
    with pytest.raises(CouplingError, match="mixes texts and lists"):
        coupling.analyze(folder, [CHAT, "a"], k=2, chat=True)


def test_conversations():
    assert is_conversation(CHAT)
    assert not any(is_conversation(value) for value in ("text", [], [{"text": "a"}], ["a"]))
