"""The model of a trainer as it can be measured: without autocast, gathered from shards, on two processes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from peft import LoraConfig, get_peft_model

import coupling
from coupling.errors import CouplingError
from coupling.training.whole_model import gathered, is_sharded, plain_forward, same_random_numbers
from tests.helpers import ROOT
from tests.tiny_policy import make_policy

IDS = torch.tensor([[2, 3, 4, 5]])


class Pretended:
    """An accelerator of one process that says that its model is sharded."""

    distributed_type = DistributedType.FSDP
    is_main_process = True

    def get_state_dict(self, model):
        return {name: value.clone() for name, value in model.state_dict().items()}

    def unwrap_model(self, model, **_):
        return model


def test_autocast_of_accelerate_is_left_out_and_put_back():
    AcceleratorState._reset_state()  # another test of this process may have chosen another precision
    model = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(make_policy().eval(), evaluation_mode=True)
    wrapped = model.forward
    half = model(IDS).logits
    with plain_forward(model):
        exact = model(IDS).logits
    assert model.forward is wrapped
    assert torch.equal(exact, make_policy().eval()(IDS).logits)
    assert not torch.equal(half, exact)
    with plain_forward(make_policy()):
        pass
    AcceleratorState._reset_state()


def test_random_numbers_are_as_if_nothing_had_been_drawn():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with same_random_numbers():
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_one_process_has_the_whole_model():
    accelerator = Accelerator(cpu=True)
    assert not is_sharded(accelerator, make_policy())
    assert is_sharded(Pretended(), make_policy())


@pytest.mark.parametrize("adapted", [False, True])
def test_a_copy_has_the_weights_of_the_shards(adapted):
    model = make_policy(tie_word_embeddings=True)
    if adapted:
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    copied = gathered(Pretended(), model)
    assert copied is not model
    assert type(copied) is type(model)
    a, b = (coupling.measure(one.eval(), IDS, k=2) for one in (model, copied))
    assert a.mismatch.equals(b.mismatch)


def test_a_model_that_cannot_be_built_again_is_refused():
    class Unusual(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.linear = torch.nn.Linear(size, size)

    with pytest.raises(CouplingError, match="a copy of the sharded Unusual cannot be built"):
        gathered(Pretended(), Unusual(2))


RANK = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType
from coupling.errors import CouplingError
from coupling.training import CouplingCallback
from tests.training.test_callback import PROBES, plain_trainer
folder, sharded, k, with_it = sys.argv[2], sys.argv[3] == "fsdp", int(sys.argv[4]), sys.argv[5] == "with"
trainer = plain_trainer(folder + "/out", steps=4, logging_steps=1)
if sharded:  # accelerate gives FSDP to accelerators only, but what it then does works on the CPU as well
    state = trainer.accelerator.state
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=["LlamaDecoderLayer"])
    trainer.is_fsdp_enabled = True
callback = CouplingCallback(PROBES, every=2, k=k, max_overhead=1.0)
if with_it:
    callback.attach(trainer)
error = ""
try:
    trainer.train()
except CouplingError as caught:
    error = str(caught)
accelerator = trainer.accelerator
assert accelerator.num_processes == 2
state = accelerator.get_state_dict(trainer.model_wrapped)
if accelerator.is_main_process:
    torch.save(state, folder + "/state.pt")
outcome = {"history": callback.history, "error": error, "type": str(accelerator.distributed_type),
           "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row]}
open(f"{folder}/rank{os.environ['RANK']}.json", "w").write(json.dumps(outcome))
torch.distributed.destroy_process_group()
"""


def two_ranks(folder, kind, k=2, with_it="with"):
    folder.mkdir(exist_ok=True)
    (folder / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, folder / "rank.py", str(ROOT), folder, kind, str(k), with_it]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_measure_the_whole_model_and_train_as_without_it(kind, tmp_path):
    first, second = two_ranks(tmp_path / "with", kind)
    assert first["type"].endswith({"ddp": "MULTI_CPU", "fsdp": "FSDP"}[kind])
    assert first["error"] == second["error"] == ""
    assert first["history"] == second["history"]
    assert [row["step"] for row in first["history"]] == [0, 2, 4]
    without, _ = two_ranks(tmp_path / "without", kind, with_it="without")
    assert first["losses"] == without["losses"]
    states = [torch.load(tmp_path / name / "state.pt") for name in ("with", "without")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    trained = make_policy().eval()
    trained.load_state_dict({name.removeprefix("module."): value for name, value in states[0].items()})
    from tests.training.test_callback import probe_ids

    for row, model in ((first["history"][0], make_policy().eval()), (first["history"][-1], trained)):
        expected = coupling.score(coupling.measure(model, probe_ids(), k=2))
        assert row["coupling/score_k2_p2"] == pytest.approx(expected, abs=1e-6)
    assert first["history"][-1]["coupling/mismatch_to_initial"] > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_all_processes_fail_together(kind, tmp_path):
    outcomes = two_ranks(tmp_path, kind, k=99)
    for outcome in outcomes:
        assert outcome["error"].startswith("K is 99, but this model's residual stream has d = 32")
