"""The generated usage log: what it says of itself, and how well rules do on it."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fedmeta.benchmarks.recommendation import synthetic, usage_model
from fedmeta.benchmarks.recommendation.parse import parse
from fedmeta.benchmarks.recommendation.synthetic import write_sample
from fedmeta.data.files import whole_path
from fedmeta.options import build

SMALL = {"users": 12, "records_per_user": (20, 200)}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The 300 users of the default, `label` numbering each one's services."""
    (path,) = write_sample(tmp_path_factory.mktemp("sample"))
    table = pq.read_table(path).to_pandas()
    pair = table.groupby(["user", "service"], observed=True).ngroup()
    first = pair.groupby(table["user"], observed=True).transform("min")
    return table.assign(label=pair - first)


def test_it_says_that_it_is_synthetic(tmp_path):
    (path,) = write_sample(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == [path]
    metadata = pq.read_schema(path).metadata
    assert metadata[b"fedmeta.synthetic"] == b"true"
    assert b'"users": 12' in metadata[b"fedmeta.arguments"]
    table = pq.read_table(path).to_pandas()
    assert list(table) == ["user", "time", "service", "battery", "category"]
    assert set(table["user"]) == {f"synthetic-{i:05d}" for i in range(12)}
    columns = {name: name for name in ("user", "time", "service")}
    clients, metadata = parse(
        [path], **columns, context=["battery"], event=["category"]
    )
    assert metadata["synthetic"] == "true"
    assert metadata["notes"] == "[]"  # in order, and no record twice
    assert sum(len(c.columns["number"]) for c in clients) == len(table)


def test_counts_and_bounds(log):
    sizes = log.groupby("user", observed=True).size()
    assert sizes.min() == 100
    assert 5000 < sizes.max() <= 6000
    assert sizes.mean() == pytest.approx(686.3, rel=0.01)
    assert sizes.median() < sizes.mean() / 2  # heavy-tailed
    services = log.groupby("user", observed=True)["service"].nunique()
    assert services.min() == 2
    assert 20 < services.max() <= 36
    assert log["battery"].between(0, 100).all()
    assert log["battery"].nunique() > 80
    assert log["category"].nunique() == 4
    assert (log.groupby("service", observed=True)["category"].nunique() == 1).all()


def test_the_full_size_has_the_papers_number_of_records():
    sizes = usage_model.sizes_of(9369, 100, 6000)
    assert sizes.sum() == pytest.approx(6_430_120, rel=0.01)


def test_records_are_in_order_and_sessions_apart(log):
    gap = log["time"].diff().dt.total_seconds()
    same = log["user"] == log["user"].shift()
    gap = gap[same].to_numpy()
    assert (gap > 0).all()
    # bursts of seconds and minutes, then a quarter of an hour or more
    assert not ((gap > 500) & (gap < 900)).any()
    assert (gap > 900).mean() == pytest.approx(1 / usage_model.SESSION, abs=0.01)


def test_popular_services_are_used_by_more_users(log):
    users = log.groupby("service", observed=True)["user"].nunique()
    rank = users.index.astype(str).str.removeprefix("service-").astype(int)
    assert users[rank < 24].mean() > 10 * users[rank >= 240].mean()


@pytest.mark.parametrize(
    ("support", "expected"), [(0.8, (42.9, 81.5)), (0.05, (42.2, 72.9))]
)
def test_most_frequent_services_do_as_in_the_paper(log, support, expected):
    hits = np.zeros(2)
    for labels, query in users(log):
        known = labels[: int(support * len(labels) + 1e-9)]
        counts = np.bincount(known, minlength=40)
        best = [s for s in np.argsort(-counts, kind="stable")[:4] if counts[s]]
        target = labels[query:]
        hits += (target == best[0]).sum(), np.isin(target, best).sum()
    total = sum(len(labels) - query for labels, query in users(log))
    assert 100 * hits / total == pytest.approx(expected, abs=4)


def test_most_recent_services_do_as_in_the_paper(log):
    hits = np.zeros(2)
    for labels, query in users(log):
        last = recency(labels)
        hits += (last[query:] == 1).sum(), (last[query:] <= 4).sum()
    total = sum(len(labels) - query for labels, query in users(log))
    assert 100 * hits / total == pytest.approx([70.4, 81.4], abs=4)


def users(log):
    """Labels in the order of time and where the query begins, user by user."""
    for _, labels in log.groupby("user", observed=True)["label"]:
        yield labels.to_numpy(), int(0.8 * len(labels) + 1e-9)


def recency(labels):
    """[n] 1 where a record is of the last service, 2 of the last but one, and so on."""
    last = np.full(labels.max() + 1, -1)
    ranks = np.empty(len(labels), int)
    for i, label in enumerate(labels):
        ranks[i] = 1 + (last > last[label]).sum() if last[label] >= 0 else 99
        last[label] = i
    return ranks


def test_recency_by_hand():
    # a b a a c b: b was last used before a and c
    assert recency(np.array([0, 1, 0, 0, 2, 1])).tolist() == [99, 99, 2, 1, 99, 3]


def test_gaps_tell_all_users_alike_whether_a_service_is_repeated(log):
    same_user = log["user"] == log["user"].shift()
    gap = log["time"].diff().dt.total_seconds()[same_user]
    repeats = (log["label"] == log["label"].shift())[same_user]
    assert repeats[gap < 60].mean() > 0.95
    assert repeats[(gap > 60) & (gap < 300)].mean() < 0.2


def test_rounds_depend_on_service_and_battery_together(log):
    last = log.shift()
    pause = (log["time"] - last["time"]).dt.total_seconds()
    within = (log["user"] == last["user"]) & (pause < 300)
    side = within & (last["category"] == "utility") & (last["label"] != log["label"])
    busy = log.groupby("user", observed=True)["label"].transform("size") > 2000
    steps = log[side & busy]
    low = steps["battery"] < usage_model.LOW_BATTERY
    before = last["label"][steps.index]
    known = {"service": [before], "battery": [low], "both": [before, low]}
    share = {}
    for name, by in known.items():
        counts = steps.groupby([steps["user"], *by, "label"], observed=True).size()
        levels = list(range(1 + len(by)))
        share[name] = counts.groupby(level=levels, observed=True).max().sum()
        share[name] /= len(steps)
    assert share["both"] > share["service"] + 0.1 > share["battery"] + 0.1


def test_same_arguments_same_records(tmp_path):
    def sample(name, **options):
        return write_sample(tmp_path / name, **SMALL, **options)[0].read_bytes()

    assert sample("a") == sample("b")
    assert sample("a") != sample("c", seed=1)


def test_a_sample_that_is_there_stays_and_another_is_replaced(tmp_path, monkeypatch):
    (path,) = write_sample(tmp_path, **SMALL)
    before = path.stat().st_mtime_ns
    written = []
    monkeypatch.setattr(
        synthetic, "whole_path", lambda p: written.append(p) or whole_path(p)
    )
    write_sample(tmp_path, **SMALL)
    assert (written, path.stat().st_mtime_ns) == ([], before)
    write_sample(tmp_path, **SMALL, seed=1)
    assert written == [path]
    path.write_bytes(b"no Parquet")
    write_sample(tmp_path, **SMALL, seed=1)
    assert pd.read_parquet(path)["user"].nunique() == 12


def test_a_stop_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "records_of", stop)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())


def test_shortest_logs_have_two_services(tmp_path):
    (path,) = write_sample(tmp_path, users=100, records_per_user=(9, 9))
    by_user = pd.read_parquet(path).groupby("user", observed=True)
    assert (by_user.size() == 9).all()
    assert by_user["service"].nunique().max() <= 9


@pytest.mark.parametrize(
    "options",
    [
        {"users": 0},
        {"services": 63},
        {"records_per_user": (1, 5)},
        {"records_per_user": (9, 8)},
    ],
)
def test_refuses_an_impossible_sample(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(write_sample, options, "raw.sample", tmp_path)
