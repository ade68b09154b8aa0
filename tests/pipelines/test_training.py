"""Training on a few tiny clients: interrupted, resumed, finished, changed."""

import numpy as np
import pandas as pd
import pytest
import torch

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.checkpoints import read_checkpoint
from fedmeta.core.algorithms import ALGORITHMS, blocks_of
from fedmeta.core.trees import tree_clone, tree_nbytes
from fedmeta.data.partition import partition_examples
from fedmeta.datasets import CheckpointDataset, EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.graph import trained_with
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.training import nodes
from fedmeta.pipelines.training.costs import COSTS, spent_before

ADAM, SGD = {"name": "adam", "lr": 0.01}, {"name": "sgd", "lr": 0.1}
BLOCKS = {
    "fedavg": {"local": ADAM, "batch_size": 4, "weights": "num_examples"},
    "fedavg_meta": {"fine_tuning": {"optimizer": ADAM, "batch_size": 4}},
    "maml": {"inner_lr": 0.1, "server": ADAM},
    "fomaml": {"inner_lr": 0.1, "server": ADAM, "plan": {"epochs": 2, "batch_size": 3}},
    "meta_sgd": {"alpha_init": 0.1, "server": ADAM, "weights": "num_query"},
    "anil": {"head": ["classifier"]},
    "per_fedavg": {"inner_lr": 0.1, "local": SGD, "local_steps": 2, "batch_size": 3},
    "nu_step": {"steps": 2, "hessians": {"last": 1}},
    "reptile": {"local": SGD, "steps": 2, "batch_size": 3},
    "fedprox": {"proximal": 0.1},
    "fedavgm": {"server": {"name": "momentum", "lr": 1.0, "momentum": 0.9}},
    "fedadagrad": {"server": {"name": "fedadagrad", "lr": 0.01}},
    "fedadam": {"server": {"name": "fedadam", "lr": 0.01}},
    "fedyogi": {"server": {"name": "fedyogi", "lr": 0.01}},
    "fedavgm_reptile": {"server": ADAM},
    "knn_per": {"neighbours": 3, "share": 0.4},
    "local": {"fine_tuning": {"optimizer": ADAM, "epochs": 3, "batch_size": 4}},
    "fedbabu": {"frozen": ["classifier"], "fine_tuning": {"optimizer": ADAM}},
    "ditto": {"fine_tuning": {"optimizer": ADAM, "proximal": 0.3}},
    "fedper": {
        "local": ADAM,
        "head": ["classifier"],
        "fine_tuning": {"optimizer": ADAM},
    },
    "fedrep": {"head_epochs": 1},
    "scaffold": {"lr": 0.1},
}
MODEL = {"channels": [2, 3], "hidden": 5, "classes": 4, "image_size": 8}
TRAINING = TrainingOptions(
    rounds=7,
    clients_per_round=3,
    evaluate_every=2,
    evaluation_clients=None,
    resample=False,
    seed=0,
    device="cpu",
    backend="sequential",
    clients_at_once=2,
    chunk=256,
)
PARTITION = PartitionOptions(
    clients=(0.7, 0.15, 0.15), support_fraction=0.4, strategy="random", seed=0
)
SILENT = {"local", "knn_per", "ditto"}  # learn nothing in rounds
UNSENT = dict.fromkeys(("fedbabu", "fedper", "fedrep"), ["classifier"])
TRAINED = [
    name
    for name, entry in ALGORITHMS.items()
    if entry.trained_as is None and name not in SILENT
]


def chunks(
    data,
    folder,
    name,
    training=TRAINING,
    start=None,
    partition=PARTITION,
    **changes,
):
    """The training node as Kedro runs it: each chunk is saved as it comes."""
    path = str(folder / f"{name}.safetensors")
    names = trained_with(name)
    blocks = {block: BLOCKS[block] for n in names for block in blocks_of(n)}
    blocks[name] = {**BLOCKS[name], **changes}
    for chunk in nodes.train(
        BENCHMARKS["femnist"],
        names,
        Data(**data),
        earlier=EarlierCheckpointsDataset(path).load(),
        partition=partition,
        training=training,
        model=MODEL,
        start=start,
        **blocks,
    ):
        CheckpointDataset(path).save(chunk[0])
        yield chunk


def run(*args, **kwargs):
    *_, last = chunks(*args, **kwargs)
    return last


def files(folder):
    """Name -> content of all that is kept; the link is followed."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def assert_same_bits(a, b):
    """Of trees of tensors."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_same_bits(a[name], b[name])
    else:
        assert torch.equal(a, b)
        assert a.stride() == b.stride()


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    """Every training run through: name -> (last chunk, its folder)."""
    done = {}
    for name in TRAINED:
        folder = tmp_path_factory.mktemp(name)
        done[name] = run(data, folder, name, start=start_of(name, done)), folder
    return done


def start_of(name, done):
    """The checkpoint of the training that this one goes on from, if there is one."""
    before = ALGORITHMS[name].after
    return done[before][0][0] if before else None


def assert_same_end(one, other, one_folder, other_folder):
    """Chunks and what is on the disk: parameters, optimiser state and history."""
    assert files(one_folder).keys() == files(other_folder).keys()
    kept = [
        read_checkpoint(next(folder.glob("*-*.safetensors")))
        for folder in (one_folder, other_folder)
    ]
    for a, b in ((one[0], other[0]), kept, (one[0], kept[0])):
        assert a.fingerprint == b.fingerprint
        assert a.state.round == b.state.round == TRAINING.rounds
        for part in ("meta", "opt_state"):
            assert_same_bits(*(_sorted(getattr(c.state, part)) for c in (a, b)))
        assert a.averaged == b.averaged == 2  # the last quarter of 7 rounds
        assert_same_bits(_sorted(a.average), _sorted(b.average))
        for ours, its in ((a.history, b.history), (a.validation, b.validation)):
            assert ours.keys() == its.keys()
            for name in ours:
                pd.testing.assert_frame_equal(ours[name], its[name], check_exact=True)
    for a, b in zip(one[1:], other[1:], strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def _sorted(tree):
    if isinstance(tree, dict):
        return {name: _sorted(tree[name]) for name in sorted(tree)}
    return tree


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kept", [1, 4])
def test_left_between_rounds_and_resumed(data, unbroken, tmp_path, name, kept):
    """Stopped after some evaluations: the generator is closed, as on Ctrl-C."""
    whole, folder = unbroken[name]
    start = start_of(name, unbroken)
    generator = chunks(data, tmp_path, name, start=start)
    for _ in range(kept):
        next(generator)
    generator.close()
    resumed = run(data, tmp_path, name, start=start)
    assert_same_end(whole, resumed, folder, tmp_path)


@pytest.mark.parametrize("name", TRAINED)
def test_ctrl_c_within_a_round_and_resumed(data, unbroken, tmp_path, name, monkeypatch):
    """Twice, on a client's work in the middle of a round."""
    whole, folder = unbroken[name]
    start = start_of(name, unbroken)
    genuine = nodes.run_rounds
    for stop_at in (4, 7):

        def interrupted(algorithm, state, cohorts, for_each, *rest, stop_at=stop_at):
            def stopping(meta, cohort, number):
                for i, output in enumerate(for_each(meta, cohort, number)):
                    if (number, i) == (stop_at, 1):
                        raise KeyboardInterrupt
                    yield output

            return genuine(algorithm, state, cohorts, stopping, *rest)

        monkeypatch.setattr(nodes, "run_rounds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path, name, start=start)
    monkeypatch.setattr(nodes, "run_rounds", genuine)
    first, *_ = resumed = list(chunks(data, tmp_path, name, start=start))
    assert first[0].state.round == 6  # not from the start
    assert_same_end(whole, resumed[-1], folder, tmp_path)


@pytest.mark.parametrize("name", TRAINED)
def test_a_finished_training_is_not_trained_again(data, unbroken, name, monkeypatch):
    whole, folder = unbroken[name]

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(nodes, "run_rounds", never)
    again = list(chunks(data, folder, name, start=start_of(name, unbroken)))
    assert len(again) == 1
    assert_same_end(whole, again[0], folder, folder)


def test_more_rounds_go_on_from_the_last_one(data, unbroken, tmp_path):
    longer = TRAINING.model_copy(update={"rounds": 10})
    whole = run(data, tmp_path / "whole", "meta_sgd", longer)
    run(data, tmp_path, "meta_sgd")
    first, *_ = resumed = list(chunks(data, tmp_path, "meta_sgd", longer))
    assert first[0].state.round == 7
    for part in ("meta", "opt_state"):
        assert_same_bits(
            *(_sorted(getattr(c[0].state, part)) for c in (whole, resumed[-1]))
        )
    assert resumed[-1][1]["round"].tolist() == [0, 2, 4, 6, 7, 8, 10]


KEEPING = ["fedper", "fedrep", "scaffold"]  # whose clients keep something


@pytest.mark.parametrize("name", KEEPING)
def test_more_rounds_go_on_with_what_clients_have_kept(data, tmp_path, name):
    longer = TRAINING.model_copy(update={"rounds": 10})
    whole = run(data, tmp_path / "whole", name, longer)
    run(data, tmp_path, name)
    first, *_, last = chunks(data, tmp_path, name, longer)
    assert first[0].state.round == 7
    assert torch.equal(last[0].states, whole[0].states)
    for part in ("meta", "opt_state"):
        assert_same_bits(*(_sorted(getattr(c[0].state, part)) for c in (whole, last)))


def test_the_number_of_training_clients_is_known_to_the_algorithm(data, tmp_path):
    """Three of 14 clients: the controls of the first round count as 3/14 each."""
    one = TRAINING.model_copy(update={"rounds": 1})
    known = run(data, tmp_path, "scaffold", one)[0]
    given = run(data, tmp_path / "given", "scaffold", one, population=14)[0]
    assert_same_bits(_sorted(known.state.meta), _sorted(given.state.meta))
    halved = run(data, tmp_path / "half", "scaffold", one, population=28)[0]
    for name, leaf in given.state.meta["control"].items():
        torch.testing.assert_close(halved.state.meta["control"][name], leaf / 2)


def test_without_what_clients_have_kept_it_starts_over(data, tmp_path, caplog):
    """As after a longer training, whose rounds have replaced that of earlier ones."""
    longer = TRAINING.model_copy(update={"rounds": 10})
    whole = run(data, tmp_path / "whole", "fedrep", longer)
    run(data, tmp_path, "fedrep")
    (states,) = tmp_path.glob("fedrep-*-states")
    row, last = (int(n) for n in whole[0].states[0])
    kept = sorted((states / str(row)).iterdir())
    assert kept
    kept[-1].unlink()
    first, *_, last = chunks(data, tmp_path, "fedrep", longer)
    assert first[0].state.round == 0
    assert "training from the start, since what its clients kept up to" in caplog.text
    assert_same_bits(*(_sorted(c[0].state.meta) for c in (whole, last)))


def test_what_clients_keep_is_replaced_as_checkpoints_are_written(data, tmp_path):
    longer = TRAINING.model_copy(update={"rounds": 30})
    last = run(data, tmp_path, "fedrep", longer)
    (states,) = tmp_path.glob("fedrep-*-states")
    for row, number in last[0].states.tolist():
        kept = sorted(int(path.stem) for path in (states / str(row)).iterdir())
        assert kept[-1] == number
        assert len(kept) <= 3  # the last before a checkpoint, and those after it
    assert len(last[0].states) == len(list(states.iterdir())) - 1


def test_fewer_rounds_than_were_trained(data, unbroken, tmp_path):
    """The longer training is kept, and gone on with where it is asked for again."""
    run(data, tmp_path, "maml")
    shorter = TRAINING.model_copy(update={"rounds": 5})
    first, *_, last = chunks(data, tmp_path, "maml", shorter)
    assert first[0].state.round == 0
    assert last[0].state.round == 5
    (back,) = chunks(data, tmp_path, "maml")
    assert back[0].state.round == TRAINING.rounds


def test_changed_options_start_anew_and_keep_the_old_checkpoint(data, tmp_path):
    old = run(data, tmp_path, "maml")
    kept = files(tmp_path)
    new = list(chunks(data, tmp_path, "maml", inner_lr=0.2))
    assert new[0][0].state.round == 0
    assert new[-1][0].fingerprint != old[0].fingerprint
    assert files(tmp_path).items() > {
        (n, c) for n, c in kept.items() if n != "maml.safetensors"
    }
    (back,) = chunks(data, tmp_path, "maml")  # to the old options: nothing to do
    assert back[0].fingerprint == old[0].fingerprint


def test_other_data_start_anew(data, tmp_path):
    run(data, tmp_path, "maml")
    other = {**data, "support_query": partition_examples(data["clients"], 0.5, 0)}
    first, *_ = chunks(other, tmp_path, "maml")
    assert first[0].state.round == 0


@pytest.mark.parametrize("backend", ["threaded", "vectorized"])
@pytest.mark.parametrize("name", TRAINED)
def test_backends_train_alike_and_share_checkpoints(
    data, unbroken, tmp_path, name, backend
):
    training = TRAINING.model_copy(update={"backend": backend})
    whole, _ = unbroken[name]
    other = run(data, tmp_path, name, training, start=start_of(name, unbroken))
    assert other[0].fingerprint == whole[0].fingerprint
    for ours, wanted in zip(other[1:], whole[1:], strict=True):
        pd.testing.assert_frame_equal(ours, wanted, rtol=1e-3, atol=1e-3)


def test_all_start_from_the_same_weights(unbroken):
    """Before the first round the un-adapted model is the same for all."""
    columns = ["validation_loss_before", "validation_accuracy_before"]
    first = {
        name: tuple(frame.loc[0, columns])
        for whole, _ in unbroken.values()
        for name, frame in whole[0].history.items()
    }
    assert first.keys() == ALGORITHMS.keys() - SILENT
    from_noise = {v for n, v in first.items() if ALGORITHMS[n].after is None}
    assert len(from_noise) == 1


def test_history(unbroken):
    for name, ((checkpoint, *tables), _) in unbroken.items():
        assert list(checkpoint.history) == trained_with(name)
        for history in tables[: len(tables) // 2]:
            assert history["round"].tolist() == [0, 2, 4, 6, 7]
            assert history["train_loss"].isna().tolist() == [True] + [False] * 4
            before = spent_before(start_of(name, unbroken))
            own = history[list(COSTS)] - pd.Series(before)
            assert own["client_rounds"].tolist() == [0, 6, 12, 18, 21]
            assert own.loc[0].eq(0).all()
            assert not history.drop(columns="train_loss").isna().any(axis=None)
            frozen = UNSENT.get(name, [])
            sent = tree_nbytes(
                [
                    leaf
                    for params in checkpoint.state.meta.values()
                    for parameter, leaf in params.items()
                    if parameter.partition(".")[0] not in frozen
                ]
            )
            assert own["bytes_down"].tolist() == [sent * n for n in (0, 6, 12, 18, 21)]
            assert (own["bytes_up"] - own["bytes_down"]).iloc[-1] == 8 * 21
            accuracies = history.filter(like="accuracy")
            assert accuracies.ge(0).all(axis=None)
            assert accuracies.le(1).all(axis=None)


def test_every_validation_client_is_kept_at_every_evaluation(data, unbroken):
    """And the history is the means of that, bit for bit."""
    watched = data["client_split"]["validation"]
    for name, ((checkpoint, *tables), _) in unbroken.items():
        histories, scores = tables[: len(tables) // 2], tables[len(tables) // 2 :]
        assert list(checkpoint.validation) == trained_with(name)
        for history, kept in zip(histories, scores, strict=True):
            assert kept.attrs.items() <= history.attrs.items()
            rounds = [n for n in (0, 2, 4, 6, 7) for _ in watched]
            assert kept["round"].tolist() == rounds
            assert kept["client_id"].tolist() == 5 * watched
            totals = kept.drop(columns="client_id").groupby("round").sum()
            for when in ("before", "after"):
                for metric in ("accuracy", "loss"):
                    mean = totals[f"{metric}_sum_{when}"] / totals["num_query"]
                    wanted = history[f"validation_{metric}_{when}"]
                    assert mean.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", sorted(SILENT))
def test_what_learns_nothing_in_rounds_has_none(data, unbroken, tmp_path, name):
    """Nor a client's work: it is judged at the start and, as all, at the end."""
    start = start_of(name, unbroken)
    whole = list(chunks(data, tmp_path, name, start=start))
    checkpoint, history, scores = whole[-1]
    assert checkpoint.state.round == TRAINING.rounds
    first = start.learned if start else whole[0][0].state.meta
    assert_same_bits(_sorted(checkpoint.learned), _sorted(first))
    assert history["round"].tolist() == [0, TRAINING.rounds]
    for column, before in spent_before(start).items():  # of what led there
        assert history[column].tolist() == [before] * 2
        assert (before > 0) == (start is not None)
    same = history.filter(like="validation_")
    assert (same.iloc[0] == same.iloc[1]).all()
    assert (history["validation_loss_after"] != history["validation_loss_before"]).all()
    (again,) = chunks(data, tmp_path, name, start=start)
    pd.testing.assert_frame_equal(again[1], history, check_exact=True)


def test_fedavg_does_not_adapt_and_fedavg_meta_does(unbroken):
    plain, tuned = unbroken["fedavg"][0][1:3]
    before = plain.filter(like="_before")
    after = plain.filter(like="_after")
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(before, tuned.filter(like="_before"))
    assert (tuned["validation_loss_after"] != tuned["validation_loss_before"]).all()


def test_the_number_of_validation_clients_watched(data, tmp_path):
    training = TRAINING.model_copy(update={"rounds": 1, "evaluation_clients": 1})
    (_, few, _), *_ = chunks(data, tmp_path, "maml", training)
    first = data["client_split"]["validation"][:1]
    table = data["support_query"].set_index("client_id")
    hits = few["validation_accuracy_before"] * table.loc[first, "num_query"].sum()
    assert float(hits[0]) == pytest.approx(round(float(hits[0])))


def test_more_clients_a_round_than_there_are(data, tmp_path):
    training = TRAINING.model_copy(update={"clients_per_round": 15})
    with pytest.raises(ValueError, match="clients_per_round is 15, but there are 14"):
        run(data, tmp_path, "maml", training)
    assert files(tmp_path) == {}


def test_seeds_decide(data, unbroken, tmp_path):
    training = TRAINING.model_copy(update={"seed": 1})
    other = run(data, tmp_path, "maml", training)[0].state.meta["theta"]
    ours = unbroken["maml"][0][0].state.meta["theta"]
    assert not any(torch.equal(ours[n], other[n]) for n in ours)


AVERAGED = TRAINING.model_copy(
    update={"rounds": 8, "evaluate_every": 1, "iterate": "average"}
)


def test_the_average_is_that_of_the_last_quarter(data, tmp_path):
    checkpoints = [c for c, *_ in chunks(data, tmp_path, "meta_sgd", AVERAGED)]
    assert [c.averaged for c in checkpoints] == [0] * 7 + [1, 2]
    *_, before, last = checkpoints
    for group, params in last.state.meta.items():
        for name, leaf in params.items():
            mean = (leaf + before.state.meta[group][name]) / 2
            torch.testing.assert_close(last.average[group][name], mean)
            assert torch.equal(last.learned[group][name], last.average[group][name])
    plain = AVERAGED.model_copy(update={"iterate": "last"})
    folder = tmp_path / "plain"
    folder.mkdir()
    other = run(data, folder, "meta_sgd", plain)[0]
    assert_same_bits(other.average, last.average)  # it is kept in any case
    assert_same_bits(other.learned, last.state.meta)  # and used where it is asked for


@pytest.mark.parametrize(
    ("rounds", "begins"),
    [(12, 8), (10, 0)],  # the average begins after round 9: ahead; after round 7: past
)
def test_more_rounds_with_an_average(data, tmp_path, rounds, begins):
    run(data, tmp_path, "maml", AVERAGED)
    longer = AVERAGED.model_copy(update={"rounds": rounds})
    first, *_, last = (c for c, *_ in chunks(data, tmp_path, "maml", longer))
    assert (first.state.round, last.state.round) == (begins, rounds)
    folder = tmp_path / "unbroken"
    folder.mkdir()
    unbroken = run(data, folder, "maml", longer)[0]
    assert last.averaged == unbroken.averaged == 3
    assert_same_bits(_sorted(last.average), _sorted(unbroken.average))


def test_rounds_after_a_resumption_leave_its_checkpoint_as_it_was(data, tmp_path):
    """Where one of them diverges, it is written again with a mark."""
    begun = chunks(data, tmp_path, "maml", AVERAGED)
    assert next(c for c, *_ in begun if c.averaged).state.round == 7
    begun.close()
    resumed = chunks(data, tmp_path, "maml", AVERAGED)
    checkpoint = next(resumed)[0]
    before = tree_clone(checkpoint.average)
    assert next(resumed)[0].averaged == 2
    assert_same_bits(checkpoint.average, before)


@pytest.mark.parametrize(
    ("compression", "bytes_of"),
    [
        ({"name": "int8"}, lambda leaf: leaf.numel() + 4),
        ({"name": "top_k", "fraction": 1e-6}, lambda leaf: 4 + 4),
    ],
)
def test_compressed_updates(data, unbroken, tmp_path, compression, bytes_of):
    training = TRAINING.model_copy(update={"compression": compression})
    whole = run(data, tmp_path / "whole", "meta_sgd", training)
    checkpoint, history, _ = whole
    groups = checkpoint.state.meta.values()
    up = 8 + sum(bytes_of(leaf) for group in groups for leaf in group.values())
    rounds = TRAINING.rounds * TRAINING.clients_per_round
    assert history["bytes_up"].iloc[-1] == up * rounds
    plain, before, _ = unbroken["meta_sgd"][0]
    assert history["bytes_down"].tolist() == before["bytes_down"].tolist()
    assert checkpoint.fingerprint != plain.fingerprint
    assert not history["train_loss"].equals(before["train_loss"])
    next(chunks(data, tmp_path / "resumed", "meta_sgd", training))
    resumed = run(data, tmp_path / "resumed", "meta_sgd", training)
    assert_same_end(whole, resumed, tmp_path / "whole", tmp_path / "resumed")
