"""What the study varies."""

from collections import Counter

from coupling.analyses.sweep.steps import step_of
from coupling.analyses.vision.design import FACTORS, SEEDS, Training, trainings


def test_every_combination_once():
    everything = trainings()
    assert len({training.name for training in everything}) == len(everything) == 96
    assert len({training.model for training in everything}) >= 24
    assert len(SEEDS) == 3
    for factor in FACTORS:
        assert len(set(Counter(getattr(training, factor) for training in everything).values())) == 1


def test_whole_seeds_come_one_after_the_other():
    assert [training.seed for training in trainings()] == sorted(training.seed for training in trainings())


def test_a_training_is_read_from_its_record():
    training = Training(0.1, 0.5, 4, 20, 1)
    assert training.name == "d4-e20-sd0.1-wd0.5-seed1"
    assert Training.of(training.as_dict() | {"test_accuracy": 0.9}) == training


def test_no_name_is_taken_for_a_checkpoint_of_a_step():
    assert {step_of(training.name) for training in trainings()} == {None}
