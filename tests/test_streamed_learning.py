"""What a streamed measurement finds out about a model, and what begins its passes again."""

import pytest

import coupling
from coupling.models import locality
from coupling.streamed_learning import Learner
from tests.streaming import PROMPTS, assert_equal_to_rounding, write_checkpoint


def test_a_list_of_another_length_than_the_depth_is_looked_at_first(tmp_path):
    from coupling.models.blocks import find_blocks
    from coupling.models.loading import load

    checkpoint = load(str(write_checkpoint(tmp_path / "albert", "albert")), stream=True)
    _, modules = find_blocks(checkpoint.model, checkpoint.block_list)
    learner = Learner(checkpoint.model, modules, checkpoint.offloaded)
    assert (len(modules), learner.must_probe) == (1, True)
    learner.probe({"input_ids": checkpoint.tokenizer("a b", return_tensors="pt").input_ids})
    assert learner.numbers == [0, 1, 2, 3]
    assert learner.locality.interface
    assert list(checkpoint.offloaded.reads.values()) == [1]  # shared layers stay in memory
    checkpoint.offloaded.close()


@pytest.mark.parametrize("blocks", [{0}, {2}, {0, 1, 2}])
def test_modules_that_need_their_own_attention_are_found_before_prompts_pass_them(tmp_path, monkeypatch, blocks):
    """As if the recording attention did not reproduce that of some blocks."""
    folder = str(write_checkpoint(tmp_path / "llama", "llama"))
    expected = coupling.analyze(folder, prompts=PROMPTS, k=3)

    def verify(recording):
        block = recording.n_blocks - 1
        owned = [m for index, m in recording.tape.attended if index == block and m not in recording.locality.own]
        if block in blocks and owned:
            recording.locality.own.update(owned)
            return False
        return original(recording)

    original = locality.verify
    for place in ("coupling.streamed", "coupling.streamed_learning"):
        monkeypatch.setattr(f"{place}.verify", verify)
    streamed = coupling.analyze(folder, prompts=PROMPTS, k=3, stream=True)
    ways = ["recorded-state" if block in blocks else "token-local" for block in range(3)]
    assert streamed.replay[0].values.tolist() == ways
    assert_equal_to_rounding(
        expected.drop_vars(["token_local", "replay"]).assign_attrs(linearization=""),
        streamed.drop_vars(["token_local", "replay"]).assign_attrs(linearization=""),
    )
