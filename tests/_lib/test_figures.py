"""What all figures share: nothing of pyplot's is touched, text is taken as text, pixels are those drawn."""

from __future__ import annotations

import numpy as np
from matplotlib import _pylab_helpers

from dynsel._lib.figures import DPI, as_pixels, new_figure, plain_axes, plain_text


def test_text_of_a_user_is_no_mathematics_and_no_hidden_entry():
    figure = new_figure(2, 1)
    axes = figure.add_subplot()
    axes.plot([0, 1], label=plain_text("_mine costs $a_$b"))
    assert [text.get_text() for text in axes.legend().get_texts()] == ["\u200b_mine costs \\$a_\\$b"]
    figure.canvas.draw()  # would fail on broken mathematics


def test_a_figure_is_nobodys_but_ours():
    before = _pylab_helpers.Gcf.get_all_fig_managers()
    figure = new_figure(3, 2)
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert _pylab_helpers.Gcf.get_all_fig_managers() == before


def test_pixels_are_those_drawn():
    figure = new_figure(2, 1)
    figure.set_facecolor((1.0, 0.0, 0.0))
    pixels = as_pixels(figure)
    assert pixels.shape == (figure.dpi, 2 * figure.dpi, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == [255, 0, 0]).all()
    assert DPI > 100


def test_a_frame_has_two_sides():
    axes = new_figure(2, 1).add_subplot()
    plain_axes(axes, "x")
    assert {side for side, spine in axes.spines.items() if spine.get_visible()} == {"left", "bottom"}
