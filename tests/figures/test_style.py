"""The style of pictures: saving, texts, and the parts that several pictures share."""

import matplotlib as mpl
import pytest

from coupling.errors import CouplingError
from coupling.figures.style import (
    FURTHER_FONTS,
    PALETTE,
    GlyphWarning,
    block_ticks,
    enlarge_text,
    figure_of_squares,
    fonts,
    legend_name,
    line_look,
    mark_on_colorbar,
    new_figure,
    printable,
    save,
    shades,
    styled,
    wrapped,
)


def test_the_suffix_decides_the_format(tmp_path):
    figure = new_figure(1)
    assert save(figure, tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
    assert save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in save(figure, tmp_path / "a.svg").read_bytes()
    with pytest.raises(CouplingError, match=r"must end in \.png, \.svg, \.pdf"):
        save(figure, tmp_path / "a.bmp")
    assert save(figure, tmp_path / "new" / "folder" / "a.png").is_file()
    with pytest.raises(CouplingError, match="cannot create the folder"):
        save(figure, tmp_path / "a.svg" / "a.png")


def test_missing_glyphs_are_told_and_their_fonts_used_where_they_are(tmp_path):
    figure = new_figure(1)
    figure.text(0.1, 0.5, "\u13a0\U00012000")  # Cherokee and cuneiform
    with pytest.warns(GlyphWarning, match="of the picture's characters"):
        save(figure, tmp_path / "a.png")
    assert fonts()[0] == "DejaVu Sans"
    assert set(fonts()[1:]) <= set(FURTHER_FONTS)


def test_the_style_ends_with_the_statement():
    before = mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]
    with styled():
        assert mpl.rcParams["svg.hashsalt"] == "coupling"
        enlarge_text(2)
        assert mpl.rcParams["font.size"] == 20
        enlarge_text(1.1)  # too little to matter
        assert mpl.rcParams["legend.fontsize"] == 18
    assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == before


def test_texts_become_one_printable_line():
    assert printable("a\nb\tc\rd\x00e f") == "a↵b⇥c␍d\\x00e f"
    assert printable("a b", blank="·") == "a·b"
    assert printable("abcdefghij", 6) == "ab…hij"
    assert legend_name("_hidden") == " _hidden"


def test_lines_differ_in_color_and_then_in_style():
    looks = [line_look(index) for index in range(28)]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 28
    assert [look["color"] for look in looks[:7]] == list(PALETTE)
    assert len(set(shades(5))) == 5


def test_block_ticks_leave_numbers_out():
    axes = new_figure(1).subplots()
    block_ticks(axes, list(range(10, 42)))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "14", "18", "22", "26", "30", "34", "38"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        label.get_text() for label in axes.get_xticklabels()
    ]


def test_a_mark_outside_the_color_bar_is_at_its_end():
    figure = new_figure(2)
    axes = figure.subplots()
    bar = figure.colorbar(axes.imshow([[0.0, 1.0]], vmin=0, vmax=1))
    mark_on_colorbar(bar, 3.0, "chance")
    assert bar.ax.lines[-1].get_ydata()[0] == 1
    assert bar.ax.texts[-1].get_text() == "chance"


def test_a_large_picture_has_room_for_its_cells_up_to_a_limit():
    assert figure_of_squares(1, 8).get_figheight() == pytest.approx(8.75)
    assert figure_of_squares(2, 50).get_figheight() == pytest.approx(13.05)
    assert figure_of_squares(2).get_figwidth() == pytest.approx(5.95)


def test_long_names_take_several_lines():
    assert wrapped("SmolLM2-135M-Instruct.Q4_1.gguf (random weights)").count("\n") >= 1
    assert max(map(len, wrapped("a" * 60).split("\n"))) <= 26
    assert wrapped("short") == "short"
