from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd
import pytest
from pytest import approx
from recommendation_report_samples import (
    SIZES,
    make_history,
    make_scores,
    paper_scores,
    results,
)

from fedmeta.pipelines.recommendation.methods import METHODS
from fedmeta.reporting.recommendation import step_curves, user_spread
from fedmeta.reporting.style import COLOURS, RECOMMENDER_COLOURS, colours_of
from fedmeta.studies.recommendation import report_on

# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")

HISTORIES = {
    "maml_lr": make_history([0.1, 0.6, 0.5], [0.3, 0.7, 0.6]),
    "meta_sgd_nn": make_history([0.1, 0.7, 0.8], [0.3, 0.8, 0.9]),
}


def draw(figure):
    """Draw, with every warning an error; return all words in the figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    texts = figure.findobj(matplotlib.text.Text)
    return " | ".join(text.get_text() for text in texts)


def episode_curves(histories):
    return report_on(results({}, histories), SIZES).figures["episodes"]


def test_every_figure_names_its_data():
    found = results(paper_scores())
    for figure in (episode_curves(HISTORIES), step_curves(found), user_spread(found)):
        assert "· sample" in draw(figure)


def test_nothing_at_all():
    nobody = {name: make_scores([], []) for name in METHODS}
    untrained = {"maml_nn": HISTORIES["maml_lr"].iloc[:0]}
    assert "no episode has been evaluated" in draw(episode_curves(untrained))
    for scores in ({}, nobody):
        assert "no test user" in draw(step_curves(results(scores)))
        assert "no test user" in draw(user_spread(results(scores)))


def test_episodes_are_unsmoothed_and_in_two_panels():
    first, second = episode_curves(HISTORIES).axes
    assert list(first.lines[0].get_ydata()) == [0.1, 0.6, 0.5]
    assert list(second.lines[1].get_ydata()) == [0.3, 0.8, 0.9]
    assert list(first.lines[0].get_xdata()) == [0, 1_000, 2_000]


def test_labels_stand_at_their_curves_ends():
    # two panels share an axis: its limits are final before labels are placed
    figure = episode_curves(HISTORIES)
    draw(figure)
    for panel, end in zip(figure.axes, (0.5, 0.6), strict=True):
        label = next(text for text in panel.texts if "MAML + LR" in text.get_text())
        highest = panel.get_ylim()[1]
        assert label.get_position()[1] * highest == approx(end)


def test_steps_are_curves_dots_and_lines():
    nn = [
        make_scores([i, i], [9, 9], 10, steps=s)
        for i, s in ((2, 10), (4, 100), (8, 1_000))
    ]
    scores = {
        "mru": make_scores([7], [9], 10),
        "nn": pd.concat(nn),
        "maml_nn": make_scores([6], [9], 10, steps=100),
    }
    figure = step_curves(results(scores))
    words = draw(figure)
    assert "Top-1, 80% support" in words and "NN 80.0%" in words
    lines = figure.axes[0].lines
    curve = next(line for line in lines if len(line.get_xdata()) == 3)
    assert list(curve.get_xdata()) == [10, 100, 1_000]
    assert list(curve.get_ydata()) == approx([0.2, 0.4, 0.8])
    dots = [line for line in lines if list(line.get_xdata()) == [100]]
    assert [list(dot.get_ydata()) for dot in dots] == [[approx(0.6)]]
    for level, style in ((0.7, ":"), (0.6, "--")):  # MRU takes no steps
        across = [x for x in lines if list(x.get_ydata()) == [approx(level)] * 2]
        assert [line.get_linestyle() for line in across] == [style]


def test_a_panel_for_every_support_and_measure():
    assert len(step_curves(results(paper_scores())).axes) == 4
    assert len(user_spread(results(paper_scores())).axes) == 2


def test_users_are_those_after_the_last_step():
    scores = {
        "nn": pd.concat(
            [make_scores([0, 0, 0], [9] * 3, 10, steps=100)]
            + [make_scores([2, 5, 9], [9] * 3, 10, steps=1_000)]
        )
    }
    figure = user_spread(results(scores))
    words = draw(figure)
    assert "NN, 1,000 steps" in words and "50%" in words
    bar = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 2)
    assert list(bar.get_xdata()) == approx([0.26, 0.82])  # 10th and 90th percentiles


def test_users_that_are_all_equal_have_no_hump():
    figure = user_spread(results({"mfu": make_scores([5, 5], [9, 9], 10)}))
    draw(figure)
    assert not figure.axes[0].collections
    assert all(np.all(line.get_xdata() == 0.5) for line in figure.axes[0].lines)


def test_every_method_has_its_own_colour():
    labels = [method.label for method in METHODS.values()]
    assert colours_of(labels) == {name: RECOMMENDER_COLOURS[name] for name in labels}
    assert len(set(RECOMMENDER_COLOURS.values())) == 10
    assert not set(RECOMMENDER_COLOURS) & set(COLOURS)
