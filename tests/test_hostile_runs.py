"""What ``coupling sweep`` and ``coupling rl`` read, damaged in every way: a result, or one line says what is wrong.

The study and the configuration in YAML, and what a sweep and a resumed run find in their folders.
"""

import json
import os
import shutil
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from coupling.analyses.rl.checkpoint_folders import find_checkpoints
from coupling.analyses.rl.config import from_mapping, read_config
from coupling.analyses.rl.folder import SUMMARY, TABLE, check_folder
from coupling.analyses.rl.log import RunTable
from coupling.analyses.rl.resume import can_continue, check_table, resumption
from coupling.analyses.rl.run_record import RunRecord
from coupling.analyses.sweep.driver import _tasks_and_content
from coupling.analyses.sweep.inputs import arguments_of, inputs_as_json
from coupling.analyses.sweep.records import Record, Records
from coupling.analyses.sweep.status import read_status
from coupling.analyses.sweep.study import read_study, study_from_mapping
from coupling.analyses.sweep.study_folder import StudyFolder, prepare
from coupling.analyses.sweep.tasks import expand
from tests.hostile import BYTES, ODD, ODD_TEXTS, OneLine, damaged_bytes, damaged_json, tries
from tests.tiny_checkpoints import save_pretended

CONFIG = {
    "model": "my-model",
    "name": "run",
    "objective": "p3o",
    "data": {"file": "rows.jsonl", "prompt": "question", "answer": "answer", "chat": True, "system": "s", "limit": 3},
    "reward": ["exact", "rewards:mine"],
    "probe": {"every": 5, "k": [5, 10], "count": 2},
    "trainer": {"max_steps": 2, "learning_rate": "1e-5", "lora": {"r": 4}},
    "seed": 1,
    "save": False,
    "reward_timeout": 2.5,
}
STUDY = {
    "models": ["org/model", {"model": "other", "revisions": ["step1", "step*"]}, "trained/step*"],
    "revisions": ["step1", "step2"],
    "prompts": ["a b"],
    "limit": 1,
    "k": [2, 3],
    "kind": "self",
    "tokens": [0, -1],
    "block_pairs": [[0, 1]],
    "engine": "dense",
    "tol": "1e-3",
    "dtype": "float32",
    "seed": 0,
    "detail": "none",
    "chat": False,
}
IMAGES = {"models": "vit", "images": ["a.png"], "patch": [[0, 1], [2, 3]], "column": "image", "part": "vision", "k": 2}


@st.composite
def damaged_yaml(draw, content):
    """The bytes of a YAML document, of which a value is replaced, or some bytes are."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged_bytes(yaml.safe_dump(content).encode()))
    return draw(damaged_json(content))  # JSON is YAML


@tries(80)
@given(content=damaged_yaml(CONFIG))
def test_configurations_of_rl(tmp_path, content):
    (tmp_path / "run.yaml").write_bytes(content)
    with OneLine():
        json.dumps(read_config(tmp_path / "run.yaml").as_dict(), default=str)


@tries(60)
@given(key=st.sampled_from(sorted(CONFIG)), value=ODD, inner=ODD_TEXTS)
def test_configurations_of_rl_from_python(key, value, inner):
    with OneLine():
        from_mapping(CONFIG | {key: value})
    if isinstance(CONFIG[key], dict):
        for one in CONFIG[key]:
            with OneLine():
                from_mapping(CONFIG | {key: CONFIG[key] | {one: value}})
        with OneLine():
            from_mapping(CONFIG | {key: CONFIG[key] | {inner: value}})


@tries(80)
@given(content=damaged_yaml(STUDY) | damaged_yaml(IMAGES))
def test_studies(tmp_path, content):
    (tmp_path / "study.yaml").write_bytes(content)
    with OneLine():
        study = read_study(tmp_path / "study.yaml")
        json.dumps(study.declared())
        expand(study)
        inputs_as_json(study)


@tries(60)
@given(key=st.sampled_from(sorted(STUDY | IMAGES)), value=ODD)
def test_studies_from_python(key, value):
    for content in (STUDY, IMAGES):
        with OneLine():
            study_from_mapping(content | {key: value})


# The folder of a sweep


@pytest.fixture
def swept(tmp_path):
    """The folder of a study of one checkpoint that has not been measured; it can be made again."""
    save_pretended(tmp_path / "trained" / "step1")
    place = StudyFolder(tmp_path / "study")
    study = study_from_mapping({"models": str(tmp_path / "trained" / "step*"), "prompts": ["a"], "k": 2})
    tasks = [task.as_dict() for task in expand(study)]
    content = {"declared": study.declared(), "settings": study.settings, "tasks": tasks} | inputs_as_json(study)
    return place, study, json.loads(json.dumps(content))


def renewed(place: StudyFolder, content: dict) -> None:
    shutil.rmtree(place.folder, ignore_errors=True)
    place.make()
    place.write(content)


@tries(40)
@given(data=st.data())
def test_damaged_folders_of_studies(swept, data):
    place, study, content = swept
    renewed(place, content)
    (place.folder / "study.json").write_bytes(data.draw(damaged_json(content)))
    with OneLine():
        read_status(place.folder)
    for again in (study, None):
        with OneLine():
            _, found = _tasks_and_content(place, again, prepare(place))
            arguments_of(found)


FILES = {
    "tasks/trained@step1.json": asdict(
        Record(
            "running",
            attempts=1,
            seconds=0.5,
            started=1.5,
            session="s",
            host="host",
            pid=3,
            measures={"a": 0.5},
            stamp=[1, 2],
        )
    ),
    "progress/trained@step1.json": {"prompt": 1, "prompts": 2, "fraction": 0.5},
    "driver.json": {"pid": 1, "host": socket.gethostname(), "beat": 0.5, "began": 1.0, "session": "s"},
}
"""What a sweep writes beside the study."""


@tries(60)
@given(data=st.data())
def test_damaged_records(swept, data):
    place, _, content = swept
    renewed(place, content)
    for name, usual in FILES.items():
        (place.folder / name).write_text(json.dumps(usual))
    assert read_status(place.folder).counts["running"] == 1
    for name, usual in FILES.items():
        if data.draw(st.booleans()):
            (place.folder / name).write_bytes(data.draw(damaged_json(usual)))
    with OneLine():
        read_status(place.folder)
    with OneLine():
        Records(place).reset("trained@step1", retry=False)


# The folder of a run of RL

STATE = {"global_step": 2, "max_steps": 4, "log_history": [{"step": 1, "loss": 0.5}], "best_metric": None}
IDENTITY = {"the model": "1", "the data": "2"}


@pytest.fixture
def interrupted(tmp_path):
    """The folder of a run that was interrupted after the checkpoint of step 2; it can be made again."""
    config = from_mapping(CONFIG)
    record = RunRecord(tmp_path / "run", config, (1,), 1, IDENTITY)

    def again():
        shutil.rmtree(record.out, ignore_errors=True)
        checkpoint = record.out / "trainer" / "checkpoint-2"
        checkpoint.mkdir(parents=True)
        record.write()
        table = RunTable(record.out / TABLE, "run")
        for step in (0, 1, 2, 3):
            table.update(1, step, {"reward": 0.5, "ess": 0.9})
        table.write()
        (checkpoint / "trainer_state.json").write_text(json.dumps(STATE))
        (checkpoint / "config.json").write_text("{}")
        (checkpoint / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-1.safetensors"}})
        )
        for name in ("model-1.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (checkpoint / name).write_bytes(_empty_zip() if "safetensors" not in name else b"\x02\0\0\0\0\0\0\0{}")
        return record.out, config

    return again


def _empty_zip() -> bytes:
    return b"PK\5\6" + bytes(18)


def resume(out: Path, config) -> None:
    """What a resumed run reads before it loads a model."""
    check_folder(out, resume=True)
    start = resumption(out, config, (1,), 1, lambda: IDENTITY)
    table = RunTable(out / TABLE, "run")
    table.read(start.keeps)
    check_table(table, start, first=0)


def test_the_whole_folder_is_accepted(interrupted):
    out, config = interrupted()
    resume(out, config)
    assert can_continue(out)


@tries(60)
@given(data=st.data())
def test_damaged_records_of_rl(interrupted, data):
    out, config = interrupted()
    content = json.loads((out / SUMMARY).read_text()) | {"seeds_done": [1], "steps": {"1": 3}}
    (out / SUMMARY).write_bytes(data.draw(damaged_json(content)))
    with OneLine():
        resume(out, config)
    can_continue(out)


@tries(60)
@given(content=damaged_bytes(b"run,seed,step,reward\nrun,1,0,0.5\nrun,1,1,0.5\nrun,1,2,\n") | BYTES)
def test_damaged_tables_of_rl(interrupted, content):
    out, config = interrupted()
    (out / TABLE).write_bytes(content)
    with OneLine():
        resume(out, config)


@tries(60)
@given(
    data=st.data(),
    name=st.sampled_from(["trainer_state.json", "model.safetensors.index.json", "adapter_config.json", "config.json"]),
)
def test_damaged_states_of_checkpoints(interrupted, data, name):
    out, config = interrupted()
    checkpoint = out / "trainer" / "checkpoint-2"
    usual = {"base_model_name_or_path": "a"}
    if (checkpoint / name).exists():
        usual = json.loads((checkpoint / name).read_text()) or usual
    if name == "adapter_config.json":
        (checkpoint / "config.json").unlink()
    (checkpoint / name).write_bytes(data.draw(damaged_json(usual)))
    with OneLine():
        resume(out, config)
    with OneLine():
        find_checkpoints(out / "trainer")
    can_continue(out)


@tries(40)
@given(
    content=damaged_bytes(_empty_zip() + bytes(8)) | BYTES,
    name=st.sampled_from(["optimizer.pt", "model-1.safetensors"]),
)
def test_damaged_weights_and_optimizers_of_checkpoints(interrupted, content, name):
    out, config = interrupted()
    (out / "trainer" / "checkpoint-2" / name).write_bytes(content)
    with OneLine():
        resume(out, config)


@pytest.mark.parametrize("name", [TABLE, SUMMARY, "trainer/checkpoint-2/trainer_state.json"])
def test_pipes_in_the_folder_are_not_waited_for(interrupted, name):
    out, config = interrupted()
    (out / name).unlink()
    os.mkfifo(out / name)
    with OneLine():
        resume(out, config)
