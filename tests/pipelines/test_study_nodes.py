"""What the studies share, on tiny clients: users dealt out, personalisation."""

import pandas as pd
import pytest
from test_training import BLOCKS, MODEL, TRAINING, run

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.datasets import PackedDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.studies.nodes import measure, personalise, repartition_users
from fedmeta.pipelines.studies.options import (
    DistanceOptions,
    PersonalisationOptions,
    RecipesOptions,
    UserOptions,
)
from fedmeta.session import message_of

FEMNIST = BENCHMARKS["femnist"]
SGD = {"name": "sgd", "lr": 0.1}
SHORT = TRAINING.model_copy(update={"rounds": 2})
PERSONALISATION = {"optimizer": SGD, "batch_size": 2, "epochs": [0, 3]}
USERS = {
    "division": "dirichlet",
    "options": {"users": 5, "alpha": 0.3, "records_per_user": 8, "seed": 0},
}


@pytest.fixture(scope="module")
def checkpoint(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("trained"), "fedavg", SHORT)[0]


@pytest.fixture(scope="module")
def scores(data, checkpoint):
    return personalised(data, checkpoint, **PERSONALISATION)


def personalised(data, checkpoint, **options):
    return personalise(
        FEMNIST,
        "it",
        Data(**data),
        checkpoint=checkpoint,
        training=SHORT,
        model=MODEL,
        personalisation=PersonalisationOptions(**options),
    )


def test_a_row_a_test_client_and_number_of_epochs(data, scores):
    tested = data["client_split"]["test"]
    assert list(scores.columns) == [
        "client_id",
        "epochs",
        "num_support",
        "num_query",
        "loss_sum",
        "accuracy_sum",
    ]
    assert scores["client_id"].tolist() == [*tested, *tested]
    assert scores["epochs"].tolist() == [0] * len(tested) + [3] * len(tested)
    divided = data["support_query"].set_index("client_id").loc[tested]
    for column in ("num_support", "num_query"):
        assert scores[column].tolist() == divided[column].tolist() * 2


def test_personalising_is_the_fine_tuning_of_evaluation(data, checkpoint, scores):
    tuning = {"optimizer": SGD, "epochs": 3, "batch_size": 2}
    of_neither = {n: v for n, v in checkpoint.settings.items() if "fedavg" not in n}
    evaluated = evaluate(
        FEMNIST,
        ["fedavg", "fedavg_meta"],
        "fedavg_meta",
        Data(**data),
        # watched with another tuning
        checkpoint=checkpoint._replace(settings=of_neither),
        training=SHORT,
        model=MODEL,
        fedavg=BLOCKS["fedavg"],
        fedavg_meta={"fine_tuning": tuning},
    )
    none, some = (scores[scores["epochs"] == epochs] for epochs in (0, 3))
    for rows, when in ((none, "before"), (some, "after")):
        for kind in ("accuracy_sum", "loss_sum"):
            assert rows[kind].tolist() == evaluated[f"{kind}_{when}"].tolist()
    assert (none["loss_sum"].to_numpy() != some["loss_sum"].to_numpy()).all()


def test_the_optimizer_and_the_batches_of_personalising_count(data, checkpoint, scores):
    wanted = scores.loc[scores["epochs"] == 3, "loss_sum"].tolist()
    adam = {"name": "adam", "lr": 0.1}
    for changes in ({"optimizer": adam}, {"batch_size": None}):
        options = {**PERSONALISATION, "epochs": [3], **changes}
        assert personalised(data, checkpoint, **options)["loss_sum"].tolist() != wanted


def dealt(data, **options):
    users = {**USERS, "options": {**USERS["options"], **options}}
    return repartition_users(
        FEMNIST, data["records"], data["clients"], UserOptions(**users)
    )


def test_users_are_packed_again_only_for_other_options(data, tmp_path):
    dataset = PackedDataset(str(tmp_path / "users.arrow"))

    def packed(data=data, **options):
        dataset.save(dealt(data, **options))
        return (tmp_path / "users.arrow").stat().st_mtime_ns

    first, records = packed(), dataset.load()
    assert records.num_examples.tolist() == [8] * 5
    assert records.metadata["synthetic"] == data["records"].metadata["synthetic"]
    assert packed() == first
    few = {**data, "clients": data["clients"][:15]}
    assert packed(few) != packed(few, alpha=0.4)
    assert dataset.load().checksum != records.checksum
    packed()
    assert dataset.load().checksum == records.checksum


def test_options_of_a_division_are_checked_before_it_works(data):
    with pytest.raises(ValueError, match="^users.dirichlet: unknown option 'alhpa'; k"):
        dealt(data, alhpa=1.0)
    with pytest.raises(ValueError, match="^users.dirichlet: option 'users': .*'five'"):
        dealt(data, users="five")


def test_pairs_of_training_users_are_measured(data):
    split = {"train": ["c03", "c01", "c02"], "test": ["c00"], "checksum": "its own"}
    undivided = Data(**{**data, "client_split": split, "support_query": None})
    pairs = measure(FEMNIST, undivided, DistanceOptions(sample=4, seed=0))
    wanted = [("c01", "c02"), ("c01", "c03"), ("c02", "c03")]
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == wanted
    assert pairs["label_tv"].between(0, 1).all()
    assert pairs["feature_w1"].gt(0).all()
    other = DistanceOptions(sample=4, seed=1)
    again = measure(FEMNIST, undivided, other)
    pd.testing.assert_series_equal(pairs["label_tv"], again["label_tv"])
    assert (pairs["feature_w1"] != again["feature_w1"]).any()


@pytest.mark.parametrize(
    ("options", "given", "parts"),
    [
        (UserOptions, {**USERS, "division": "by_hand"}, ["dirichlet, not 'by_hand'"]),
        (UserOptions, {"division": "dirichlet"}, ["options", "missing"]),
        (UserOptions, {**USERS, "seed": 0}, ["seed", "known are"]),
        (DistanceOptions, {"sample": 0, "seed": 0}, ["sample", "more than 0"]),
        (DistanceOptions, {"sample": 64}, ["seed", "missing"]),
        (PersonalisationOptions, {"epochs": []}, ["epochs", "1 or more"]),
        (PersonalisationOptions, {"epochs": [1, -1]}, ["epochs.1", "-1"]),
        (PersonalisationOptions, {"epochs": 5}, ["epochs", "list"]),
        (PersonalisationOptions, {"batch_size": 0}, ["batch_size", "more than 0"]),
        (
            PersonalisationOptions,
            {"optimizer": {"name": "sdg", "lr": 0.1}},
            ["optimizer", "one of sgd, momentum, adam", "'sdg'"],
        ),
        (PersonalisationOptions, {"optimizer": {"name": "sgd"}}, ["lr", "missing"]),
        (PersonalisationOptions, {"optimiser": SGD}, ["optimiser", "known are"]),
        (
            RecipesOptions,
            {"sgd": {**PERSONALISATION, "batch_size": 0}},
            ["option 'sgd.batch_size': expected more than 0 (given: 0)"],
        ),
        (
            RecipesOptions,
            {"sgd": {**PERSONALISATION, "batchsize": 1}},
            ["unknown option 'sgd.batchsize'"],
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(options, given, parts):
    if options is PersonalisationOptions:
        given = {**PERSONALISATION, **given}
    with pytest.raises(ValueError) as error:
        options.model_validate(given)
    told = message_of(error.value)
    assert "\n" not in told and "pydantic" not in told
    assert all(part in told for part in parts)
