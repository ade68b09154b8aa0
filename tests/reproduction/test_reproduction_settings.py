"""Which runs are averaged: never two that differ in more than seed and support."""

import pytest
from made_up_runs import frame, recorded

from fedmeta.reproduction.runs import matching
from fedmeta.reproduction.settings import DATA, choose, main_setting


def test_the_newest_finished_run_of_a_cell_counts():
    chosen = choose(
        frame(
            [
                recorded("maml", seed=0, ended=1, run_id="old"),
                recorded("maml", seed=0, ended=3, run_id="new"),
                recorded("maml", seed=0, ended=9, run_id="broken", status="FAILED"),
                recorded("maml", seed=1, ended=2, run_id="other seed"),
            ]
        )
    )
    assert list(chosen.runs["run_id"]) == ["new", "other seed"]
    assert (chosen.repeated, chosen.unfinished, chosen.others) == (1, 1, [])


def test_runs_of_other_parameters_are_named_and_not_averaged():
    few = {"training.rounds": "600"}
    chosen = choose(
        frame(
            [recorded("maml", seed=s) for s in range(3)]
            + [recorded("fedavg", seed=0)]
            + [recorded(a, seed=0, ended=9, parameters=few) for a in ("maml", "fedavg")]
        )
    )
    assert set(chosen.runs["ended"]) == {1}
    (other,) = chosen.others
    assert set(other.algorithms) == {"maml", "fedavg"}
    assert other.differs == "training.rounds=600 instead of 2000"
    assert other.runs == 2


def test_among_equals_the_newest_setting_is_taken():
    few = {"training.rounds": "600"}
    rows = [recorded("maml", ended=1), recorded("maml", ended=2, parameters=few)]
    chosen = choose(frame(rows))
    assert chosen.settings["maml"]["training.rounds"] == "600"


def test_an_algorithms_own_parameters_part_only_its_own_runs():
    slow = {"algorithm.lr": "0.01"}
    rows = [recorded("maml", seed=s) for s in range(2)]
    rows += [recorded("maml", seed=2, parameters=slow), recorded("fedavg", seed=2)]
    chosen = choose(frame(rows))
    cells = chosen.runs[["algorithm", "seed"]].itertuples(index=False, name=None)
    assert set(cells) == {("maml", 0), ("maml", 1), ("fedavg", 2)}
    assert chosen.others[0].differs == "algorithm.lr=0.01 instead of 0.1 of maml"


@pytest.mark.parametrize(
    ("changed", "apart"),
    [
        ({"parameters": {"training.device": "cuda"}}, False),
        ({"parameters": {"training.evaluate_every": "5"}}, False),
        ({"code": {"code.core.optimizers": "2"}}, True),
        ({"code": {}}, False),  # of an earlier version
        ({"parameters": {"raw.folder": "/elsewhere"}}, False),
        ({"data_checksum": "other records"}, True),
        ({"parameters": {"model.hidden": "8"}}, True),
    ],
)
def test_only_what_changes_a_result_is_a_setting(changed, apart):
    common = {"training.device": "cpu", "raw.folder": "/here", "model.hidden": "4"}
    common["training.evaluate_every"] = "100"
    new = {**common, **changed.get("parameters", {})}
    rest = {k: v for k, v in changed.items() if k != "parameters"}
    code = {"code.core.optimizers": "1"}
    rows = [
        recorded("maml", seed=0, parameters=common, code=code),
        recorded("maml", seed=1, parameters=new, **{"code": code, **rest}),
    ]
    assert bool(choose(frame(rows)).others) == apart


def test_algorithms_are_compared_where_they_share_their_code():
    old, new = {"code.core.engine": "1"}, {"code.core.engine": "2"}
    rows = [
        recorded("maml", code={**new, "code.core.algorithms.maml": "1"}, ended=2),
        recorded("fedavg", code={**new, "code.core.algorithms.fedavg": "1"}, ended=2),
        recorded("meta_sgd", code=old),
    ]
    chosen = choose(frame(rows))
    assert set(chosen.runs["algorithm"]) == {"maml", "fedavg"}
    assert chosen.others[0].differs == "other code (core/engine.py)"


def test_a_run_that_lacks_a_parameter_agrees_with_any_value():
    # as MFU, which is not trained, and runs older than the parameter
    settings = [{"a": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "3"}]
    assert main_setting(settings, ["x", "y", "y"], [1, 1, 2]) == {"a": "1", "b": "3"}


def test_runs_with_and_without_a_block_of_options_are_not_averaged():
    private = {"training.privacy.clip": "1.0", "training.privacy.noise": "2"}
    plain = {"training.privacy": "None"}
    rows = [recorded("maml", seed=s, parameters=plain) for s in range(2)]
    rows += [recorded("maml", seed=1, ended=9, parameters=private)]
    chosen = choose(frame(rows))
    assert set(chosen.runs["ended"]) == {1}
    assert chosen.others[0].differs == (
        "training.privacy.clip=1.0, training.privacy.noise=2"
    )
    assert len(matching(frame(rows), plain)) == 2


@pytest.mark.parametrize("name", ["algorithm.server.half_life", "training.half_life"])
@pytest.mark.parametrize("given", [False, True])
def test_an_option_that_is_not_given_has_its_default(name, given):
    """The same code has recorded both: neither run is older than the option."""
    code = {"code.core.optimizers": "1"}
    more = {name: "500"}
    rows = [
        recorded("maml", seed=s, code=code, parameters=more if given else {})
        for s in range(3)
    ]
    other = {} if given else more
    rows += [recorded("maml", seed=0, code=code, ended=9, parameters=other)]
    chosen = choose(frame(rows))
    assert set(chosen.runs["ended"]) == {1}
    assert (name in chosen.settings["maml"]) == given
    words = f"no {name}" if given else f"{name}=500"
    assert [other.differs for other in chosen.others] == [words]
    # what takes no part in a training has no such block
    rows.append(recorded("mfu", code=code, parameters={}))
    rows[-1]["parameters"] = {"selection.min": "3"}
    assert "mfu" in set(choose(frame(rows)).runs["algorithm"])


def test_of_no_finished_run_nothing_is_chosen():
    chosen = choose(frame([recorded("maml", status="RUNNING")]))
    assert chosen.runs.empty
    assert chosen.unfinished == 1


def test_the_data_are_part_of_the_setting():
    chosen = choose(frame([recorded("maml")]))
    assert chosen.settings["maml"][DATA] == "records"
    assert "training.seed" not in chosen.settings["maml"]
