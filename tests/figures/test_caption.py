"""What a picture says that it was drawn from."""

from coupling import figures
from coupling.figures.caption import described


def test_the_model_and_the_number_of_prompts(run, untrained):
    count = run.sizes["prompt"]
    assert described([run]) == f"bundled, {count} prompts"
    assert described([run], prompt=1) == "bundled, prompt 1"
    assert described([run, untrained]).endswith("prompts")
    assert described([run.isel(prompt=[0])]) == "bundled, 1 prompt"
    assert figures.heatmap(run).get_suptitle() == described([run])
