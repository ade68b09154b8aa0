"""Private trainings: epsilon, resumption, backends, and what is refused."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
from test_checks import NAMED, PIPELINES, parameters
from test_training import (
    TRAINING,
    assert_same_bits,
    assert_same_end,
    chunks,
    run,
)

from fedmeta.pipelines import checks
from fedmeta.pipelines.checks import check_pipeline
from fedmeta.pipelines.options import PrivacyOptions, TrainingOptions
from fedmeta.pipelines.training.privacy import Privacy, epsilon
from fedmeta.tracking.measures import curve_points

# One client in a round, so that some rounds have none.
PRIVATE = TRAINING.model_copy(
    update={
        "clients_per_round": 1,
        "privacy": PrivacyOptions(clip=0.5, noise_multiplier=0.8),
    }
)


def by_the_binomial_sum(noise_multiplier, rate, rounds, delta):
    """Theorem 4 of Mironov et al. 2019 at whole orders; then their conversion as
    Canonne et al. 2020 (proposition 12) and Balle et al. 2020 tightened it."""

    def divergence(order):
        k = np.arange(order + 1)
        terms = [
            math.comb(order, i)
            * (1 - rate) ** (order - i)
            * rate**i
            * math.exp((i * i - i) / (2 * noise_multiplier**2))
            for i in map(int, k)
        ]
        return math.log(math.fsum(terms)) / (order - 1)

    return min(
        rounds * divergence(order)
        + math.log((order - 1) / order)
        - (math.log(delta) + math.log(order)) / (order - 1)
        for order in range(2, 30)
    )


@pytest.mark.parametrize(
    "sampled", [(1.0, 4 / 854, 2000), (1.0, 0.1, 100), (2.0, 0.25, 60), (0.8, 0.05, 50)]
)
def test_epsilon_is_that_of_the_formula(sampled):
    ours, wanted = (f(*sampled, 1e-4) for f in (epsilon, by_the_binomial_sum))
    # opacus tries fractional orders too: never more, and hardly less.
    assert 0.94 * wanted < ours <= wanted + 1e-9


def test_epsilon_without_sampling_is_that_of_the_gaussian_mechanism():
    # order a: a / 2 z² a round; 10 rounds at z = 5: a / 5, best near a = 7.5
    orders = np.linspace(1.01, 20, 100_000)
    spent = orders / 5 + np.log1p(-1 / orders)
    spent -= (np.log(1e-4) + np.log(orders)) / (orders - 1)
    assert epsilon(5.0, 1.0, 10, 1e-4) == pytest.approx(spent.min(), rel=1e-3)


def test_epsilon_by_round():
    training = TRAINING.model_copy(
        update={"clients_per_round": 4, "privacy": PRIVATE.privacy}
    )
    privacy = Privacy("maml", training, 854)
    start, *later = (privacy.spent(number) for number in (0, 1, 50, 2000))
    delta = 854**-1.1
    assert start == {"epsilon": 0, "delta": delta}
    values = [spent["epsilon"] for spent in later]
    assert values == sorted(values) and values[-1] == epsilon(0.8, 4 / 854, 2000, delta)
    given = training.privacy.model_copy(update={"delta": 1e-6})
    training = training.model_copy(update={"privacy": given})
    spent = Privacy("maml", training, 854).spent(50)
    assert spent["delta"] == 1e-6 and spent["epsilon"] > values[1]


def test_a_resumed_training_equals_an_unbroken_one(data, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    whole = run(data, one, "maml", PRIVATE)
    for kept in (1, 3):
        generator = chunks(data, other, "maml", PRIVATE)
        for _ in range(kept):
            next(generator)
        generator.close()
    assert_same_end(whole, run(data, other, "maml", PRIVATE), one, other)
    plain = run(data, tmp_path / "plain", "maml")
    assert plain[0].fingerprint != whole[0].fingerprint


def test_some_rounds_have_no_client(data, tmp_path):
    training = PRIVATE.model_copy(update={"evaluate_every": 1})
    history = run(data, tmp_path, "maml", training)[1]
    alone = history["client_rounds"].diff() == 0
    assert alone.any() and not alone.all()
    # Noise has moved the model all the same, and there is no loss to tell.
    assert (history["validation_loss_before"].diff()[alone] != 0).all()
    assert history["train_loss"][alone].isna().all()
    assert history["train_loss"][1:][~alone[1:]].notna().all()


@pytest.mark.parametrize("backend", ["threaded", "vectorized"])
def test_backends_train_alike(data, tmp_path, backend):
    training = PRIVATE.model_copy(update={"clients_per_round": 5})
    one = run(data, tmp_path / "one", "maml", training)
    other = training.model_copy(update={"backend": backend})
    two = run(data, tmp_path / "two", "maml", other)
    if backend == "threaded":
        assert_same_bits(one[0].state.meta, two[0].state.meta)
    assert one[0].fingerprint == two[0].fingerprint
    pd.testing.assert_frame_equal(one[1], two[1], rtol=1e-3, atol=1e-3)


def test_epsilon_is_told(data, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fedmeta")
    checkpoint, history, _ = run(data, tmp_path, "maml", PRIVATE)
    assert history["epsilon"].is_monotonic_increasing and history["epsilon"][0] == 0
    assert caplog.text.count("the noise of a round is") == 1
    theta = checkpoint.state.meta["theta"]
    ratio = 0.8 * sum(leaf.numel() for leaf in theta.values()) ** 0.5 / 1
    assert f"is {ratio:.3g} times as long" in caplog.text
    last = history["epsilon"].iloc[-1]
    assert f"round 7 of 7: epsilon {last:.2f} at delta 5.5e-02 for each" in caplog.text
    points = [p for p in curve_points(history) if p.name == "cost/epsilon"]
    assert [p.value for p in points] == history["epsilon"].tolist()


def test_what_sends_nothing_spends_nothing(data, tmp_path):
    history = run(data, tmp_path, "local", PRIVATE)[1]
    assert history["round"].tolist() == [0, PRIVATE.rounds]
    assert history["epsilon"].tolist() == [0, 0]


def test_little_noise_is_no_warning(data, tmp_path, caplog):
    changes = {"privacy": PrivacyOptions(clip=0.5, noise_multiplier=0.01), "rounds": 1}
    run(data, tmp_path, "maml", PRIVATE.model_copy(update=changes))
    assert "the noise of a round" not in caplog.text


def test_a_training_that_starts_from_another_is_refused(data, tmp_path):
    start = run(data, tmp_path / "before", "maml")[0]
    with pytest.raises(ValueError, match="maml: privacy counts the rounds of one"):
        run(data, tmp_path, "maml", PRIVATE, start=start)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clip": 0}, "'privacy.clip': expected more than 0"),
        ({"noise_multiplier": -1}, "'privacy.noise_multiplier': expected more than 0"),
        ({"noise_multiplier": 0}, "'privacy.noise_multiplier': expected more than 0"),
        ({"delta": 1}, "'privacy.delta': expected less than 1"),
        ({"epsilon": 8}, "unknown option 'privacy.epsilon'"),
        ({"clip": None}, "'privacy.clip': expected a number"),
    ],
)
def test_impossible_options_are_refused(options, told):
    given = {"clip": 1.0, "noise_multiplier": 1.0, **options}
    with pytest.raises(ValueError, match=told):
        TrainingOptions.model_validate({**TRAINING.model_dump(), "privacy": given})


def test_nor_is_privacy_of_clients_whose_records_are_pooled():
    with pytest.raises(ValueError, match="privacy is that of clients, and pooled"):
        TrainingOptions.model_validate({**PRIVATE.model_dump(), "pooled": 10})


@pytest.mark.parametrize(
    ("pipeline", "changes", "told"),
    [
        (
            "femnist_maml",
            {},
            r"femnist\.training\.privacy makes .* femnist\.maml has weights:"
            r" num_examples; set them to uniform",
        ),
        ("femnist_anil", {}, r"femnist\.anil has weights"),
        (
            "femnist_tuning",
            {"weights": "uniform"},
            r"femnist_tuning\.configurations\.\w+, number 1 has weights",
        ),
        ("femnist_fedavgm_reptile", {"weights": "uniform"}, "starts from fedavgm's"),
    ],
)
def test_what_epsilon_would_not_hold_for_is_refused(pipeline, changes, told):
    given = parameters("base")
    given["femnist"]["training"]["privacy"] = {"clip": 1.0, "noise_multiplier": 1.0}
    for name in ("fedavg", "fedavgm"):
        given["femnist"][name].update(changes)
    with pytest.raises(ValueError, match=told):
        check_pipeline(PIPELINES[pipeline], given, NAMED)


def test_without_opacus_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    given = parameters("base")
    given["femnist"]["training"]["privacy"] = {"clip": 1.0, "noise_multiplier": 1.0}
    with pytest.raises(ValueError, match="privacy needs opacus: pip install opacus"):
        check_pipeline(PIPELINES["femnist_maml"], given, NAMED)
