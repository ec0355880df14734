"""The driver: what becomes of studies whose tasks fail, kill, or are interrupted."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from coupling.analyses.sweep.driver import default_name, sweep
from coupling.errors import CouplingError
from tests.tiny_checkpoints import is_alive, kill, save_killer, save_pretended, save_tiny, start, wait_until, workers_of

MEASURED = ["task", "model", "revision", "step", "state", "score", "chance", "excess", "line_shape_score", "growth"]


@pytest.fixture
def trained(light, tmp_path):
    """Save pretended checkpoints, one per behavior; the study that measures them."""

    def save(*behaviors):
        for step, behavior in enumerate(behaviors):
            save_pretended(tmp_path / "trained" / f"step{step}", behavior)
        return {"models": "trained/step*", "prompts": "a b"}

    return save


def record(step, study="study"):
    return json.loads(Path(study, "tasks", f"trained@step{step}.json").read_text())


def test_a_failed_task_does_not_stop_the_rest(trained):
    seen = []
    table = sweep(trained("ok", "fail", "ok"), out="study", workers=2, progress=seen.append)
    assert table["state"].tolist() == ["done", "failed", "done"]
    assert table["error"][1] == "this checkpoint is broken"
    assert seen[-1].counts["done"] == 2
    assert [path.name for path in Path("study/logs").iterdir()]
    assert not Path("study/driver.json").exists()


def test_a_finished_task_is_never_repeated_and_a_failed_one_is(trained):
    study = trained("ok", "fail")
    sweep(study, out="study")
    Path("trained/step1/behavior").write_text("ok")
    before = Path("study/runs/trained@step0/run.nc").stat().st_mtime_ns
    table = sweep(study, out="study")
    assert table["state"].tolist() == ["done", "done"]
    assert table["attempts"].tolist() == [1, 2]
    assert Path("study/runs/trained@step0/run.nc").stat().st_mtime_ns == before
    assert sweep("study")["attempts"].tolist() == [1, 2]  # the folder alone, and nothing to do


@pytest.mark.slow
def test_a_task_that_always_kills_its_worker_is_set_aside(trained):
    study = trained("kill", "ok", "kill once", "crash")
    table = sweep(study, out="study", workers=2)
    assert table["state"].tolist() == ["set aside", "done", "done", "set aside"]
    assert table["error"][0].startswith("it ended its worker 3 times; the last time its worker was ended by SIGKILL")
    assert "the driver of the device is broken" in table["error"][3]
    assert table["attempts"].tolist() == [3, 1, 2, 3]
    assert sweep(study, out="study")["attempts"].tolist() == [3, 1, 2, 3]
    Path("trained/step0/behavior").write_text("ok")
    Path("trained/step3/behavior").write_text("ok")
    assert set(sweep(study, out="study", retry=True)["state"]) == {"done"}


def test_models_may_be_added_and_settings_may_not_change(trained, tmp_path):
    study = trained("ok")
    sweep(study, out="study")
    save_pretended(tmp_path / "trained" / "step7")
    assert sweep(study, out="study")["step"].tolist() == [0, 7]
    with pytest.raises(CouplingError, match="differs in k"):
        sweep(study | {"k": 3}, out="study")
    with pytest.raises(CouplingError, match="differs in prompts"):
        sweep(study | {"prompts": "other"}, out="study")


def test_what_is_refused_before_anything_is_written(trained):
    study = trained("ok")
    for options, message in (
        ({"engine": "slurm"}, "`engine` is 'slurm', but must be one of local, ray"),
        ({"workers": 0}, "`workers` is 0"),
        ({"keep_downloads": 0}, "`keep_downloads` is 0"),
        ({"address": "auto"}, "give it with `engine='ray'`"),
        ({"out": "trained"}, "contains other files"),
    ):
        with pytest.raises(CouplingError, match=message):
            sweep(study, **{"out": "study"} | options)
    assert not Path("study").exists()


def test_without_the_hub_a_known_study_goes_on(trained, monkeypatch):
    study = trained("ok") | {"models": ["trained/step0", "org/model"], "revisions": "step*"}
    with pytest.raises(CouplingError, match="cannot be reached"):
        sweep(study, out="study")
    listed = lambda model, patterns: ["step1"]
    with monkeypatch.context() as patch:
        patch.setattr("coupling.analyses.sweep.tasks.matching_revisions", listed)
        patch.setattr("coupling.analyses.sweep.hub.is_cached", lambda *_: True)
        table = sweep(study, out="study")
    assert table["state"].tolist() == ["done", "failed"]  # a pretended worker finds no behavior on the hub
    monkeypatch.setattr("coupling.analyses.sweep.hub.is_cached", lambda *_: True)
    assert sweep(study, out="study")["attempts"].tolist() == [1, 2]


def test_names_of_folders(trained):
    assert [default_name(name) for name in ("gpt2", "./a/b", "a/*/step*", "*")] == ["gpt2", "b", "a", "study"]
    sweep(trained("ok"))
    assert Path("sweeps/trained/index.csv").exists()


@pytest.mark.slow
def test_models_of_the_same_name_are_not_mixed_by_a_default_folder(light, tmp_path):
    for parent in ("one", "two"):
        save_pretended(tmp_path / parent / "model")
    sweep({"models": "one/model", "prompts": "a"})
    with pytest.raises(CouplingError, match=r"sweeps/model contains a study of other models \(one/model\); give `out`"):
        sweep({"models": "two/model", "prompts": "a"})
    assert sweep({"models": ["one/model", "two/model"], "prompts": "a"})["state"].tolist() == ["done", "done"]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_ends_cleanly(trained, tmp_path, how, code):
    trained("ok", "sleep 600", "sleep 600")
    process = start("trained/step*", "--prompts", "a", "--out", "study", "--workers", 2, cwd=tmp_path, light=True)
    record = tmp_path / "study/tasks/trained@step0.json"
    wait_until(lambda: record.exists() and '"done"' in record.read_text())
    wait_until(lambda: len(workers_of(tmp_path / "study")) == 2)
    workers = workers_of(tmp_path / "study")
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert err.splitlines()[-1].startswith("interrupted")
    assert "the same command goes on" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not [pid for pid in workers if is_alive(pid)]
    assert set(pd.read_csv(tmp_path / "study/index.csv")["state"]) == {"done", "waiting"}
    for step in (1, 2):
        (tmp_path / "trained" / f"step{step}" / "behavior").write_text("ok")
    table = sweep("study")
    assert table["state"].tolist() == ["done"] * 3
    assert table["attempts"].tolist()[0] == 1


def test_a_killed_driver_leaves_no_worker_and_loses_nothing(trained, tmp_path):
    trained("ok", "sleep 600")
    process = start("trained/step*", "--prompts", "a", "--out", "study", "--workers", 1, cwd=tmp_path, light=True)
    wait_until(lambda: (tmp_path / "study/tasks/trained@step1.json").exists())
    (worker,) = workers_of(tmp_path / "study")
    with pytest.raises(CouplingError, match=rf"another coupling sweep works on study \(process {process.pid} on"):
        sweep("study")
    kill(process.pid)
    process.communicate()
    wait_until(lambda: not is_alive(worker), 20)
    (tmp_path / "trained/step1/behavior").write_text("ok")
    table = sweep("study")
    assert table["state"].tolist() == ["done", "done"]
    assert record(0)["attempts"] == 1
    assert record(1)["kills"] == 0


# With real measurements: slow where the machine is


@pytest.mark.slow
def test_twenty_checkpoints_give_one_table_whatever_happens(tmp_path, monkeypatch):
    """On local and on Ray, with a worker killed every few seconds, and with the driver killed."""
    monkeypatch.chdir(tmp_path)
    for step in range(20):
        save_tiny(tmp_path / "trained" / f"step{step}", seed=step)
    (tmp_path / "prompts.txt").write_text("a b c\nd e f g\nh a b\n")
    study = {"models": "trained/step*", "prompts": "prompts.txt", "k": [2, 3]}
    calm = sweep(study, out="calm", workers=2, threads=1)
    assert calm["state"].tolist() == ["done"] * 20
    assert calm["score"].nunique() == 20
    ray = sweep(study, out="ray", engine="ray", workers=2, threads=1)
    pd.testing.assert_frame_equal(ray[MEASURED], calm[MEASURED])
    arguments = ("trained/step*", "--prompts", "prompts.txt", "--k", 2, "--k", 3, "--workers", 2, "--threads", 1)
    for name, victim in (("stormy", "worker"), ("headless", "driver")):
        process = start(*arguments, "--out", name, cwd=tmp_path)
        n_killed = 0
        while process.poll() is None:
            time.sleep(0.3)
            if not (running := workers_of(tmp_path / name)) or n_killed >= 4:
                continue
            n_killed += 1
            kill(running[0] if victim == "worker" else process.pid)
            time.sleep(2)
            if victim == "driver":
                process.communicate()
                wait_until(lambda workers=running: not [pid for pid in workers if is_alive(pid)], 20)
                process = start(*arguments, "--out", name, cwd=tmp_path)
        assert process.returncode == 0, process.stderr.read()
        assert n_killed == 4
        table = sweep(name)
        pd.testing.assert_frame_equal(table[MEASURED], calm[MEASURED])
        assert table["attempts"].sum() <= 20 + n_killed * (1 if victim == "worker" else 2)


@pytest.mark.slow
def test_a_checkpoint_whose_code_kills(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    save_killer(tmp_path / "trained" / "step1")
    save_tiny(tmp_path / "trained" / "step2")
    study = {"models": "trained/*", "prompts": "a b c", "k": 2, "trust_remote_code": True}
    table = sweep(study, out="study", workers=1, threads=1)
    assert table["state"].tolist() == ["set aside", "done"]
    assert "SIGKILL" in table["error"][0]
