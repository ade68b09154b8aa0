"""Grids as they are typed."""

import shlex

import pytest

from fedmeta.configuration import Source
from fedmeta.sweep.grid import grid, label, nested, parse_axis, run_command


def test_every_combination_the_first_axis_slowest():
    axes = [parse_axis("p=0.2,0.5"), parse_axis("a.rounds=3"), parse_axis("seed=0, 1")]
    assert grid(axes) == [
        {"p": "0.2", "a.rounds": "3", "seed": "0"},
        {"p": "0.2", "a.rounds": "3", "seed": "1"},
        {"p": "0.5", "a.rounds": "3", "seed": "0"},
        {"p": "0.5", "a.rounds": "3", "seed": "1"},
    ]
    assert grid([]) == [{}]


def test_cells_know_the_other_support_fractions():
    """Of what does not depend on it, which need not be trained for each."""
    cells = grid([parse_axis("support_fraction=0.2,0.5")])
    assert [nested(cell) for cell in cells] == [
        {"support_fraction": 0.2, "support_fractions": [0.2, 0.5]},
        {"support_fraction": 0.5, "support_fractions": [0.2, 0.5]},
    ]
    assert label(cells[0]) == "support_fraction=0.2"
    command = run_command("p", Source(), cells[1])
    assert command.endswith("--params support_fraction=0.5")
    # an impossible one is told of in its own cell alone
    wrong = grid([parse_axis("support_fraction=0.2,1.5,half,0.5")])
    assert {cell["support_fractions"] for cell in wrong} == {"[0.2,0.5]"}
    (alone,) = grid([parse_axis("support_fraction=0.2")])
    assert nested(alone) == {"support_fraction": 0.2}


def test_values_are_typed_as_by_kedro_run():
    given = {"a.lr": "1e-3", "a.n": "2", "b": "true", "c": "null", "d": "sgd"}
    assert nested(given) == {
        "a": {"lr": 0.001, "n": 2},
        "b": True,
        "c": None,
        "d": "sgd",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "expected NAME=VALUE"),
        ("=1", "expected NAME=VALUE"),
        ("seed=", "expected NAME=VALUE"),
        ("seed=1,,2", "expected NAME=VALUE"),
        ("seed=1,p=0.5", "one parameter at a time"),
        ("p=0.2,0.20", "0.2 and 0.20 are the same"),
        ("steps=[1,2]", "no lists"),
        ("folder='my, data'", "'my is no YAML"),
        ("folder=@data", "@data is no YAML"),
    ],
)
def test_what_is_no_axis(text, message):
    with pytest.raises(ValueError, match=message):
        parse_axis(text)


def test_an_axis_given_twice():
    with pytest.raises(ValueError, match="seed is given twice"):
        grid([parse_axis("seed=0"), parse_axis("seed=1")])


def test_an_axis_may_not_be_a_part_of_another():
    axes = [
        parse_axis("femnist.maml.server=null"),
        parse_axis("femnist.maml.server.lr=1,2"),
    ]
    for both in (axes, axes[::-1]):
        with pytest.raises(
            ValueError, match=r"server.lr is a part of femnist.maml.server"
        ):
            grid(both)


def test_the_command_of_a_cell():
    given = {"seed": "1", "femnist.raw.folder": "my data"}
    assert label(given) == "seed=1 femnist.raw.folder=my data"
    command = run_command("femnist_maml", Source("paper", "/my conf"), given)
    assert shlex.split(command) == [
        *("kedro", "run", "--pipeline", "femnist_maml", "--env", "paper"),
        *("--conf-source", "/my conf"),
        *("--params", "seed=1,femnist.raw.folder=my data"),
    ]
    assert run_command("p", Source(), {}) == "kedro run --pipeline p"
