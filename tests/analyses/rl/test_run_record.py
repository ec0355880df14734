"""The ``run.json`` of a run, however the run ends."""

import json
from pathlib import Path

import pytest

from coupling import CouplingError
from coupling.analyses.rl.config import from_mapping
from coupling.analyses.rl.run_record import RunRecord, recorded
from coupling.errors import DivergedError


@pytest.fixture
def record(tmp_path) -> RunRecord:
    return RunRecord(tmp_path, from_mapping({"data": {"task": "brackets"}}), (0, 1), generation_window=2)


def saved(record: RunRecord) -> dict:
    return json.loads((record.out / "run.json").read_text())


def ending(record: RunRecord) -> tuple:
    content = saved(record)
    return content["finished"], content["diverged"], content["error"]


def test_a_run_that_finishes(record):
    with recorded(record):
        assert ending(record) == (False, False, None)
        assert saved(record)["seconds"] is None
        record.finish_seed(0, 12)
        assert (saved(record)["seeds_done"], saved(record)["steps"]) == ([0], {"0": 12})  # at once
        assert ending(record) == (False, False, None)
    assert ending(record) == (True, False, None)
    content = saved(record)
    assert (content["seeds"], content["seeds_done"], content["generation_window"]) == ([0, 1], [0], 2)
    assert content["config"] == json.loads(json.dumps(record.config.as_dict()))
    assert content["seconds"] >= 0
    assert {"python", "platform", "torch", "transformers", "trl", "datasets", "block-coupling"} == set(
        content["environment"]
    )


def test_a_run_that_diverges(record):
    (record.out / "table.csv").write_text("step\n")
    with (
        pytest.raises(DivergedError, match=r"^step 3: bad; the steps before it are in .*table\.csv$"),
        recorded(record),
    ):
        raise DivergedError("step 3: bad")
    assert ending(record) == (False, True, "step 3: bad")


@pytest.mark.parametrize(
    ("error", "message"),
    [(CouplingError("wrong"), "wrong"), (OSError("disk"), "disk"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_run_that_stops(record, error, message):
    with pytest.raises(type(error)), recorded(record):
        raise error
    assert ending(record) == (False, False, message)


def test_the_cause_of_an_error_is_kept(record):
    (record.out / "table.csv").write_text("step\n")
    with pytest.raises(CouplingError) as raised, recorded(record):
        raise CouplingError("wrong") from KeyError("cause")
    assert isinstance(raised.value.__cause__, KeyError)


def test_only_the_main_process_writes(record, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with recorded(record):
        pass
    assert list(Path(record.out).iterdir()) == []
