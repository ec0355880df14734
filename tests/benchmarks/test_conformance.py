"""The conformance suite: many families against float64 autograd, and the committed table."""

import inspect

import pytest
import torch
import transformers
from packaging.version import Version

from benchmarks.conformance import reference
from benchmarks.conformance.__main__ import main, run
from benchmarks.conformance.architectures import Pair, all_pairs
from benchmarks.conformance.configurations import small_config
from benchmarks.conformance.judge import CRASH, LOCAL, NOT_TRIED, OUTCOMES, REFUSED, RIGHT, TOLERANCE, WRONG, judge
from benchmarks.conformance.models import NotTriedError, build, scale_weights
from benchmarks.conformance.overrides import OVERRIDES, SMALL
from benchmarks.conformance.reference import reference_jacobians
from benchmarks.conformance.report import read_counts, write_report
from coupling.errors import CouplingError
from coupling.models.recording import Recording
from tests.helpers import ROOT, make_ids, make_model, reference_jacobian

TABLE = ROOT / "docs/compatibility.md"


def _names(text: str) -> list[str]:
    return text.split()


PAIRS = {pair.class_name: pair for pair in reversed(all_pairs())}
FAST = _names("""
AlbertForMaskedLM ApertusForCausalLM ArceeForCausalLM BartForCausalLM BeitForImageClassification BertForMaskedLM
BioGptForCausalLM CamembertForMaskedLM CLIPVisionModel CohereForCausalLM Cohere2ForCausalLM Dinov2Model
DistilBertForMaskedLM ElectraForMaskedLM Ernie4_5ForCausalLM Exaone4ForCausalLM GPT2LMHeadModel GPTBigCodeForCausalLM
GPTNeoXForCausalLM GemmaForCausalLM Gemma2ForCausalLM GlmForCausalLM GraniteForCausalLM HeliumForCausalLM
LlamaForCausalLM MistralForCausalLM MixtralForCausalLM ModernBertForMaskedLM NanoChatForCausalLM OPTForCausalLM
OlmoForCausalLM Olmo2ForCausalLM OlmoeForCausalLM PersimmonForCausalLM Phi3ForCausalLM PhiForCausalLM Qwen2ForCausalLM
Qwen2VLTextModel Qwen3ForCausalLM RobertaForMaskedLM SmolLM3ForCausalLM StableLmForCausalLM Starcoder2ForCausalLM
ViTForImageClassification WhisperForCausalLM XLMRobertaForMaskedLM
""")
"""Architectures whose blocks must all take the token-local path."""
REMEMBERING = _names("""
BambaForCausalLM BloomForCausalLM DeepseekV32ForCausalLM DiffLlamaForCausalLM FalconForCausalLM FalconH1ForCausalLM
GPTJForCausalLM GPTNeoForCausalLM GraniteMoeHybridForCausalLM JambaForCausalLM KimiLinearForCausalLM Lfm2MoeForCausalLM
Mamba2ForCausalLM MptForCausalLM NemotronHForCausalLM Qwen3NextForCausalLM Zamba2ForCausalLM
""")
"""Architectures with blocks that are replayed on one token from what they keep of those before it."""
OTHERS = _names("""
BigBirdForCausalLM CanineModel DebertaV2ForMaskedLM DogeForCausalLM FNetForMaskedLM MPNetForMaskedLM
OpenAIGPTLMHeadModel RecurrentGemmaForCausalLM RoFormerForMaskedLM RwkvForCausalLM Qwen3VLVisionModel VideoMAEModel
Wav2Vec2Model
""")
"""Architectures whose blocks may be replayed on many tokens."""
REFUSALS = {
    "DeepseekV4ForCausalLM": "parallel copies",
    "ResNetForImageClassification": "grid of patches",
    "HieraForImageClassification": "hierarchical",
    "SwinBackbone": "from (16, 24) (tokens, width) to (4, 48) at block 0",
    "SqueezeBertModel": "only by their method forward()",
    "HrmTextForCausalLM": "none of its lists of modules is one residual stream",
    "XLNetLMHeadModel": "tokens before the batch",
}


IS_OF_THE_TABLE = Version(transformers.__version__) >= Version("5.23")
"""Whether transformers is as new as the table; earlier versions lack architectures, or their attention interface."""


def pair_of(name: str) -> Pair:
    """An architecture by its class."""
    if name not in PAIRS and not IS_OF_THE_TABLE:  # only against the lowest versions; the newest must know it
        # the newest version runs every test; an earlier one does not have the class that would be tested
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    return PAIRS[name]


@pytest.mark.parametrize("name", FAST)
def test_every_block_is_right_and_token_local(name):
    row = judge(pair_of(name))
    assert row["outcome"] == LOCAL or (row["outcome"] in RIGHT and not IS_OF_THE_TABLE), row
    assert row["error"] < TOLERANCE


@pytest.mark.parametrize("name", REMEMBERING)
def test_every_block_is_right_and_replayed_on_one_token(name):
    row = judge(pair_of(name))
    assert row["outcome"] == LOCAL or (row["outcome"] in RIGHT and not IS_OF_THE_TABLE), row
    assert "recorded-state" in row["replays"] or not IS_OF_THE_TABLE
    assert row["error"] < TOLERANCE


@pytest.mark.parametrize("name", OTHERS)
def test_every_block_is_right(name):
    row = judge(pair_of(name))
    assert row["outcome"] in RIGHT, row
    assert row["error"] < TOLERANCE


@pytest.mark.parametrize("name", REFUSALS)
def test_is_refused_for_the_true_reason(name):
    row = judge(pair_of(name))
    assert row["outcome"] == REFUSED, row
    assert REFUSALS[name] in row["reason"]
    assert "\n" not in row["reason"]


def test_the_committed_table_has_no_wrong_row_and_no_crash():
    counts = read_counts(TABLE.read_text())
    assert counts[WRONG] == counts[CRASH] == 0
    assert counts["total"] > 600
    assert sum(counts[outcome] for outcome in RIGHT) > 400
    assert sum(counts[outcome] for outcome in OUTCOMES) == counts["total"]


def test_the_reference_imports_nothing_of_the_library():
    assert "coupling" not in inspect.getsource(reference)


@pytest.mark.parametrize("name", ["llama", "bloom", "gpt_oss"])
def test_the_reference_agrees_with_a_second_one_written_differently(name):
    model, ids = make_model(name), make_ids()
    lists = [n for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3]
    found = reference_jacobians(model, {"input_ids": ids}, [f"{lists[0]}.{i}" for i in range(3)], [5, 10])
    for (block, token), jacobian in found.items():
        expected = reference_jacobian(model, ids, block, token, token)
        torch.testing.assert_close(jacobian, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def _judged_with(monkeypatch, change):
    original = Recording.jacobian

    def changed(self, block, token, output_token=None):
        return change(original(self, block, token, output_token))

    monkeypatch.setattr(Recording, "jacobian", changed)
    return judge(PAIRS["LlamaForCausalLM"])


def test_a_jacobian_that_is_off_by_little_is_called_wrong(monkeypatch):
    def scaled(jacobian):
        matrix = jacobian.to_dense() * 1.001
        jacobian.to_dense = lambda: matrix
        return jacobian

    row = _judged_with(monkeypatch, scaled)
    assert row["outcome"] == WRONG
    assert row["error"] == pytest.approx(1e-3, rel=0.01)


def test_a_jacobian_that_is_not_finite_is_called_wrong(monkeypatch):
    def spoiled(jacobian):
        matrix = jacobian.to_dense() * float("nan")
        jacobian.to_dense = lambda: matrix
        return jacobian

    assert _judged_with(monkeypatch, spoiled)["outcome"] == WRONG


@pytest.mark.parametrize(("error", "outcome"), [(ValueError("no"), CRASH), (CouplingError("no"), REFUSED)])
def test_an_exception_is_a_crash_unless_it_is_the_librarys(monkeypatch, error, outcome):
    def failing(jacobian):
        raise error

    row = _judged_with(monkeypatch, failing)
    assert row["outcome"] == outcome
    assert "no" in row["reason"]


def test_a_model_of_another_modality_is_not_tried():
    row = judge(PAIRS["PatchTSTModel"])
    assert row["outcome"] == NOT_TRIED
    assert "another modality" in row["reason"]


def test_small_configurations_are_small():
    config = small_config("gpt_oss")
    assert config.hidden_size == SMALL["hidden_size"]
    assert config.num_hidden_layers == len(config.layer_types) == 4
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert all((token or 0) < config.vocab_size for token in (config.eos_token_id, config.pad_token_id))


# The table is that of the newest version, against which this test always runs.
@pytest.mark.skipif(not IS_OF_THE_TABLE, reason="earlier versions of transformers lack some of the architectures")
def test_every_override_names_a_model_type_or_class():
    known = {pair.model_type for pair in all_pairs()} | set(PAIRS)
    parts = {"_text", "_decoder", "_encoder"}
    assert all(name in known or any(part in name for part in parts) for name in OVERRIDES)


def test_weights_are_scaled_without_leaving_zeros_or_infinities():
    layer = torch.nn.Linear(64, 64)
    torch.nn.init.zeros_(layer.weight)
    layer.bias.data[0] = float("inf")
    torch.manual_seed(0)
    scale_weights(layer)
    assert 0.1 < float(layer.weight.detach().std()) < 0.25
    assert torch.isfinite(layer.bias).all()


def test_a_class_that_does_not_exist_is_not_built():
    with pytest.raises(NotTriedError, match="does not export"):
        build(Pair("base", "llama", "NoSuchModel"))


def test_the_report_counts_and_lists_what_is_wrong_first(tmp_path):
    rows = [
        {"group": "causal", "model_type": "a", "class": "A", "outcome": LOCAL, "error": 1e-7, "blocks": 3,
         "replays": {"token-local": 3}},
        {"group": "causal", "model_type": "b", "class": "B", "outcome": WRONG, "error": 0.5, "blocks": 3,
         "replays": {"token-local": 1, "prefix": 2}, "reason": "block 1 | 2"},
        {"group": "image", "model_type": "c", "class": "C", "outcome": LOCAL, "error": 1e-7, "blocks": 3,
         "replays": {"recorded-state": 3}, "block_list": "vision.layers"},
    ]  # fmt: skip
    path = tmp_path / "table.md"
    write_report(rows, path, "5.0")
    text = path.read_text()
    counts = read_counts(text)
    assert counts == dict.fromkeys(OUTCOMES, 0) | {LOCAL: 2, WRONG: 1, "total": 3}
    assert text.index("| b | B |") < text.index("| a | A |")
    assert "| 3: 1 token-local, 2 prefix | 5e-01 | block 1 \\| 2 |" in text
    assert "| 3: recorded-state | 1e-07 | with `vision.layers` |" in text


def test_a_model_that_takes_too_long_is_stopped():
    (row,) = run([PAIRS["LlamaForCausalLM"]], 1, 0.0, None)
    assert row["outcome"] == NOT_TRIED
    assert "timed out" in row["reason"]


def test_the_command_writes_the_table_and_the_rows(tmp_path):
    out, rows = tmp_path / "table.md", tmp_path / "rows.json"
    status = main(["--only", "OPTForCausalLM", "--out", str(out), "--json", str(rows), "--workers", "1"])
    assert status == 0
    assert read_counts(out.read_text())[LOCAL] == 1
    assert '"OPTForCausalLM"' in rows.read_text()
