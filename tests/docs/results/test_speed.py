"""The page's numbers agree with each other; they were measured, and no data is kept of them."""

from tests.docs.pages import tables_of, text_of

PAGE = "results/speed.md"


def test_how_many_times_faster():
    ((_, *rows),) = tables_of(PAGE)
    cells = {name: values for name, *values in rows}
    naive, engine = (
        [float(cell.removesuffix(" s")) for cell in cells[name]] for name in ("naive, best chunk", "this engine")
    )
    ratios = [int(cell.strip("*")) for cell in cells["**times faster**"]]
    assert all(abs(slow / fast - ratio) < 1 for slow, fast, ratio in zip(naive, engine, ratios, strict=True))


def test_the_stages_add_up():
    text = text_of(PAGE)
    stages = [1.01, 0.75, 0.24, 0.13, 0.07]
    assert all(f"{stage:.2f} s" in text for stage in stages)
    assert abs(sum(stages) - 2.23) < 0.05
