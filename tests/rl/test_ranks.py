"""P3O on two processes: training with DDP or FSDP2 gives the weights that one process gives on the same batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny_policy import logged, make_policy, make_trainer, scripted, weights

pytestmark = pytest.mark.slow
STEPS = {"num_iterations": 2, "max_steps": 4, "optim": "sgd", "learning_rate": 1.0, "num_generations": 4}
"""Two updates on each of two generations: in every second step the ratios differ from 1, and between tokens."""

RANK = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from tests.tiny_policy import logged, make_trainer, scripted
trainer = make_trainer(
    f"{sys.argv[2]}/out",
    rollout_func=scripted if sys.argv[3] == "scripted" else None,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    **json.loads(sys.argv[4]),
)
assert trainer.accelerator.num_processes == 2
if sys.argv[5] == "fsdp":  # accelerate gives FSDP to accelerators only, but what it then does works on the CPU as well
    state = trainer.accelerator.state
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=["LlamaDecoderLayer"])
    trainer.is_fsdp_enabled = True
trainer.train()
sharded = [type(parameter).__name__ == "DTensor" for parameter in trainer.model_wrapped.parameters()]
assert all(sharded) if sys.argv[5] == "fsdp" else not any(sharded)
whole = [getattr(p, "full_tensor", lambda p=p: p)().detach().reshape(-1) for p in trainer.model_wrapped.parameters()]
outcome = torch.cat(whole), logged(trainer, "p3o/ess"), logged(trainer, "grad_norm")
torch.save(outcome, f"{sys.argv[2]}/rank{os.environ['RANK']}.pt")
torch.distributed.destroy_process_group()
"""


def two_ranks(folder, rollouts, kind="ddp"):
    (folder / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [str(Path(__file__).parents[2]), folder, rollouts, json.dumps(STEPS), kind]
    subprocess.run(
        [*launch, folder / "rank.py", *arguments],
        check=True,
        timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks_train_like_one_process_on_the_same_batch(tmp_path, kind):
    """With FSDP2, each process has half of every parameter."""
    (first, ess, norms), (second, _, _) = two_ranks(tmp_path, "scripted", kind)
    assert torch.equal(first, second)
    for sizes in (
        {"per_device_train_batch_size": 16},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    ):
        one = make_trainer(tmp_path / "one", rollout_func=scripted, **sizes, **STEPS)
        one.train()
        assert ess == pytest.approx(logged(one, "p3o/ess"), rel=1e-4)
        assert norms == pytest.approx(logged(one, "grad_norm"), rel=1e-4)
        moved = (weights(one) - torch.cat([p.detach().reshape(-1) for p in make_policy().parameters()])).abs().max()
        assert (weights(one) - first).abs().max() < 1e-4 * moved
    assert max(ess) < 0.99


def test_ranks_that_sample_for_themselves_end_with_the_same_weights(tmp_path):
    (first, ess, _), (second, _, _) = two_ranks(tmp_path, "sampled")
    assert torch.equal(first, second)
    assert ess[0] == pytest.approx(1, abs=1e-6)
    assert min(ess) < 0.9999
