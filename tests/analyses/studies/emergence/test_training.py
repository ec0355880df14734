"""Training a member, in miniature, and continuing it where it was stopped."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from coupling.analyses.studies import training as studies_training
from coupling.analyses.studies.corpus import Module
from coupling.analyses.studies.emergence import training
from coupling.analyses.studies.emergence.training import LOSSES, STEPS, Member, checkpoint, members, train_member

SHORT = (0, 2, 4, 6)


@pytest.fixture(scope="module")
def corpus():
    """A corpus that takes no time."""
    modules = [Module(f"{name}.py", f"def {name}(x):\n    return x + {at}\n" * 60) for at, name in enumerate("abcd")]
    tokenizer = studies_training.train_tokenizer([module.text for module in modules], 300, 16)
    packed = studies_training.pack(tokenizer, modules, 16)
    return studies_training.Corpus(tokenizer, packed[:-8], packed[-8:], modules)


@pytest.fixture(autouse=True)
def small(corpus, monkeypatch):
    monkeypatch.setattr(training, "_corpus", lambda: corpus)
    monkeypatch.setattr(training, "CONTEXT", 16)


def weights(folder, step):
    return load_file(checkpoint(folder, step) / "model.safetensors")


def test_the_design_has_twenty_checkpoints_and_whole_seeds():
    assert len(STEPS) == 20
    assert list(STEPS) == sorted(set(STEPS))
    assert [member.name for member in members()[:3]] == ["decay-0-seed0", "decay-0.1-seed0", "decay-0-seed1"]
    assert len(members()) == 6


def test_a_stopped_training_continues_to_the_same_weights(tmp_path):
    member = Member(0.1, 1)
    losses = train_member(member, tmp_path / "whole", SHORT)
    assert list(losses) == list(SHORT)
    assert losses[6] < losses[0]
    assert (checkpoint(tmp_path / "whole", 0) / "tokenizer.json").exists()
    assert not list((tmp_path / "whole").rglob("optimizer.pt"))

    def stop_after_four(*arguments, **options):
        callback = options["callbacks"][0]
        save = callback.on_save

        def on_save(args, state, control, **kwargs):
            save(args, state, control, **kwargs)
            if state.global_step == 4:
                raise KeyboardInterrupt

        callback.on_save = on_save
        return train(*arguments, **options)

    train = studies_training.train
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(studies_training, "train", stop_after_four)
        with pytest.raises(KeyboardInterrupt):
            train_member(member, tmp_path / "stopped", SHORT)
    (checkpoint(tmp_path / "stopped", 4) / "trainer_state.json").write_text("{")  # killed while it was written
    assert train_member(member, tmp_path / "stopped", SHORT) == losses
    for step in SHORT:
        whole, continued = (weights(tmp_path / name, step) for name in ("whole", "stopped"))
        assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_a_finished_training_is_not_repeated(tmp_path):
    (tmp_path / LOSSES).write_text(json.dumps({"0": 2.0, "6": 1.0}))
    assert train_member(Member(0.0, 0), tmp_path, SHORT) == {0: 2.0, 6: 1.0}
    assert [path.name for path in tmp_path.iterdir()] == [LOSSES]
    shutil.rmtree(tmp_path)
