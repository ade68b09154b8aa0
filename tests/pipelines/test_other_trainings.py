"""Trainings in stages, in one place, and with a probe of the meta-gradient."""

from functools import partial

import pandas as pd
import pytest
import torch
from test_training import (
    BLOCKS,
    MODEL,
    PARTITION,
    TRAINING,
    assert_same_bits,
    chunks,
    files,
    run,
)
from torch.nn import functional as F

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.partition import partition_examples
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import ProbeOptions
from fedmeta.pipelines.training.costs import COSTS
from fedmeta.pipelines.training.setup import TrainingPlan

BENCHMARK = BENCHMARKS["femnist"]
SHORT = TRAINING.model_copy(update={"rounds": 2})
IN_ONE_PLACE = SHORT.model_copy(update={"clients_per_round": 1, "pooled": 20})


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """Checkpoint of a first stage."""
    return run(data, tmp_path_factory.mktemp("first"), "fedavgm", SHORT)[0]


def second(data, folder, start, **changes):
    return list(chunks(data, folder, "fedavgm_reptile", SHORT, start=start, **changes))


def test_a_second_stage_begins_where_the_first_one_ended(data, first, tmp_path):
    (begun, history, _), *_, (ended, *_) = second(data, tmp_path, first)
    assert begun.state.round == 0
    assert_same_bits(begun.state.meta, first.state.meta)
    before = [c for c in history if c.startswith("validation") and "before" in c]
    assert len(before) == 4  # loss and accuracy, over records and over clients
    last = first.history["fedavgm"].iloc[-1]
    assert history.loc[0, before].tolist() == last[before].tolist()
    # what has led there is paid for
    assert history.loc[0, list(COSTS)].tolist() == last[list(COSTS)].tolist()
    own = ended.history["fedavgm_reptile"].iloc[-1]
    assert own["client_rounds"] == 2 * last["client_rounds"] > 0
    assert own["bytes_up"] == 2 * last["bytes_up"] > 0
    assert not torch.equal(*(_weights(c) for c in (first, ended)))


def test_a_second_stage_begins_with_what_was_learned(data, tmp_path):
    averaged = TRAINING.model_copy(update={"iterate": "average"})
    start = run(data, tmp_path, "fedavgm", averaged)[0]
    last, average = (
        meta["theta"]["hidden.weight"] for meta in (start.state.meta, start.average)
    )
    assert not torch.equal(last, average)
    (begun, *_), *_ = second(data, tmp_path, start)
    assert_same_bits(begun.state.meta["theta"], start.average["theta"])


def test_only_what_is_theta_is_gone_on_from(data, tmp_path):
    learned = run(data, tmp_path, "meta_sgd", SHORT)[0]
    assert set(learned.state.meta) == {"theta", "alpha"}
    (begun, *_), *_ = second(data, tmp_path, learned)
    assert set(begun.state.meta) == {"theta"}
    assert_same_bits(begun.state.meta["theta"], learned.state.meta["theta"])


def test_another_start_is_another_training(data, first, tmp_path):
    ended = second(data, tmp_path, first)[-1][0]
    (again,) = second(data, tmp_path, first)  # nothing to do
    assert again[0].fingerprint == ended.fingerprint
    (earlier, *_), *_ = chunks(data, tmp_path, "fedavgm", SHORT)
    others = [
        None,
        earlier,  # of the same training, but after other rounds
        run(data, tmp_path, "fedavgm", SHORT.model_copy(update={"seed": 1}))[0],
    ]
    prints = {second(data, tmp_path, start)[0][0].fingerprint for start in others}
    assert len(prints | {ended.fingerprint}) == 4


def test_a_start_is_not_written_to(data, first, tmp_path):
    theta = {name: w.clone() for name, w in first.state.meta["theta"].items()}
    second(data, tmp_path, first)
    assert_same_bits(first.state.meta["theta"], theta)


@pytest.mark.parametrize("name", ["fedavg", "reptile", "per_fedavg"])
def test_who_trains_on_all_records_does_not_ask_which_are_support(
    data,
    tmp_path,
    name,
):
    ended = {}
    for fraction in (0.2, 0.7):
        divided = partition_examples(data["clients"], fraction, 0)
        divided = {**data, "support_query": divided}
        folder = tmp_path / str(fraction)
        ended[fraction] = run(
            divided,
            folder,
            name,
            SHORT,
            partition=PARTITION.model_copy(update={"support_fraction": fraction}),
            weights="num_examples",
        )[0]
    assert ended[0.2].fingerprint != ended[0.7].fingerprint
    assert_same_bits(*(checkpoint.state.meta for checkpoint in ended.values()))
    judged = [c.history[name]["validation_loss_before"] for c in ended.values()]
    assert (judged[0] != judged[1]).all()  # on other query records


def test_in_one_place_is_on_records_of_training_clients_alone(data):
    setup = prepared(data, IN_ONE_PLACE)
    place = setup.device
    plan = TrainingPlan(BENCHMARK, Data(**data), IN_ONE_PLACE, MODEL)
    make_task = plan.training_task_maker(1, place)
    owner = {}
    for client in data["clients"].itertuples():
        columns, rows = data["records"].columns(client.client_id), range(client.stop)
        x, _ = examples_of(data)(columns, list(rows))
        owner |= {tuple(row.flatten().tolist()): client.client_id for row in x}
    assert len(owner) == data["clients"]["stop"].sum()  # no two alike
    met = set()
    for number in range(1, 9):
        task = make_task("anything", number)
        drawn = torch.cat([task.support.x, task.query.x])
        assert len(drawn) == IN_ONE_PLACE.pooled
        met |= {owner[tuple(row.flatten().tolist())] for row in drawn}
    assert met == set(data["client_split"]["train"])
    # evaluated clients have their own records, as ever
    client = data["client_split"]["validation"][0]
    judged = setup.evaluation_task(client, 0).query.x
    assert {owner[tuple(row.flatten().tolist())] for row in judged} == {client}


def test_training_in_one_place(data, tmp_path):
    apart = run(data, tmp_path, "fedavg", SHORT)[0]
    together = run(data, tmp_path, "fedavg", IN_ONE_PLACE)[0]
    assert together.fingerprint != apart.fingerprint
    history = together.history["fedavg"]
    assert history["client_rounds"].tolist() == [0, 2]
    # all 20 records are gone through once a round, forward and backward
    flops = prepared(data, IN_ONE_PLACE).model.flops
    once = 20 * (3 * flops.total - flops.first_layer)
    assert history["flops"].tolist() == [0, 2 * once]


def test_more_records_in_one_place_than_there_are(data, tmp_path):
    trained = data["clients"]["client_id"].isin(data["client_split"]["train"])
    there = data["clients"][trained]["stop"].sum()
    training = IN_ONE_PLACE.model_copy(update={"pooled": int(there) + 1})
    with pytest.raises(ValueError, match=f"pooled is {there + 1}; .* at most {there},"):
        run(data, tmp_path, "fedavg", training)
    assert files(tmp_path) == {}


def test_a_probe_of_no_step_is_the_gradient_of_the_mean_loss(data, tmp_path):
    """Of all records of the training clients, each client counting the same."""
    setup, gradients = prepared(data, SHORT), []
    theta = setup.model.init(SHORT.seed)
    for client in data["client_split"]["train"]:
        columns = data["records"].columns(client)
        x, y = examples_of(data)(columns, list(range(len(columns["label"]))))
        leaves = {name: w.clone().requires_grad_() for name, w in theta.items()}
        F.cross_entropy(setup.model.apply(leaves, x), y).backward()
        gradients.append(torch.cat([w.grad.flatten() for w in leaves.values()]))
    probed = partial(watched, data, tmp_path)
    assert probed(inner_lr=0.0) == pytest.approx(
        float(torch.stack(gradients).mean(0).norm()), rel=1e-5
    )
    assert probed(inner_lr=0.0, clients=1) == pytest.approx(
        float(gradients[0].norm()), rel=1e-5
    )
    # looking further ahead is another function
    norms = [probed(inner_lr=0.1, steps=steps) for steps in (1, 2)]
    assert len({*norms, probed(inner_lr=0.0)}) == 3


def test_a_probe_changes_no_training(data, tmp_path):
    plain = run(data, tmp_path, "maml", SHORT)[0]
    training = SHORT.model_copy(update={"probe": ProbeOptions(inner_lr=0.1)})
    probed = run(data, tmp_path, "maml", training)[0]
    assert_same_bits(plain.state.meta, probed.state.meta)
    pd.testing.assert_frame_equal(
        probed.history["maml"].drop(columns="meta_gradient_norm"), plain.history["maml"]
    )
    assert probed.history["maml"]["meta_gradient_norm"].gt(0).all()
    assert "meta_gradient_norm" not in plain.history["maml"]


def watched(data, folder, **probe):
    """What a probe says before the first round."""
    training = SHORT.model_copy(update={"probe": ProbeOptions(**probe)})
    (_, history, _), *_ = chunks(data, folder, "maml", training)
    return history.loc[0, "meta_gradient_norm"]


def prepared(data, training):
    blocks = {"fedavg": BLOCKS["fedavg"]}
    plan = TrainingPlan(BENCHMARK, Data(**data), training, MODEL, ["fedavg"], blocks)
    return plan.prepare()


def examples_of(data):
    return BENCHMARK.encoding(data["codebook"]).examples


def _weights(checkpoint):
    return torch.cat([w.flatten() for w in checkpoint.state.meta["theta"].values()])
