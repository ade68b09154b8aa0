"""Generated tweets: what they say of themselves, and that adapting must pay."""

import csv

import numpy as np
import pytest

from fedmeta.benchmarks.sent140 import synthetic
from fedmeta.benchmarks.sent140.parse import find_raw, parse
from fedmeta.benchmarks.sent140.synthetic import user_tweets, write_sample
from fedmeta.options import build


def test_a_sample_is_stanfords_layout_and_says_synthetic(tmp_path):
    paths = write_sample(tmp_path, users=3, tweets_per_user=(25, 30), seed=7)
    assert find_raw(tmp_path) == paths == list(tmp_path.iterdir())
    with open(paths[0], encoding="latin-1", newline="") as file:
        rows = list(csv.reader(file))
    assert {row[3] for row in rows} == {"SYNTHETIC"}
    assert {row[4] for row in rows} == {f"synthetic_000{i}" for i in range(3)}
    assert len({row[1] for row in rows}) == len(rows)  # ids
    assert {row[0] for row in rows} == {"0", "4"}
    clients, metadata = parse(paths, lowercase=True)
    assert metadata["synthetic"] == "true"
    assert "name" not in metadata
    for index, client in enumerate(clients):
        texts, labels = user_tweets(7, index, (25, 30))
        np.testing.assert_array_equal(client.columns["label"], labels)
        assert 25 <= len(texts) <= 30
        words = [len(text.strip(".!").split()) for text in texts]
        assert 10 <= min(words) <= max(words) <= 24  # with the full stop, 25 at most


def test_same_arguments_same_bytes(tmp_path):
    options = {"users": 2, "tweets_per_user": (2, 4)}
    first, second = (write_sample(tmp_path / name, **options)[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    other = write_sample(tmp_path / "c", **options, seed=1)[0]
    assert other.read_bytes() != first.read_bytes()


def test_words_are_different_and_one_token_each():
    words = np.concatenate([part.ravel() for part in synthetic._language()])
    assert len(set(words)) == len(words)
    assert all(word.isalpha() and word.islower() for word in words)


def said(texts, family):
    """+1, -1 or 0 a text: the sign of a family's mood words in it."""
    bad, good = map(set, synthetic._language().moods[family])
    words = [set(text.strip(".!").split()) for text in texts]
    return np.array([bool(own & good) - bool(own & bad) for own in words])


def test_plain_words_are_shared_and_loaded_ones_personal():
    agreements = []
    for user in range(150):
        texts, labels = user_tweets(0, user)
        moods = 2 * labels.astype(int) - 1
        signs = [said(texts, family) for family in range(3)]
        agreements.append([(s == moods)[s != 0].mean() for s in signs])
    plain, *loaded = np.array(agreements).T
    assert np.nanmean(plain) == pytest.approx(1 - synthetic.NOISE, abs=0.02)
    for family in loaded:
        ironic = family < 0.5
        # a user is of one kind or the other, hardly ever in between
        assert ironic.mean() == pytest.approx(synthetic.IRONIC, abs=0.1)
        assert family[ironic].mean() == pytest.approx(synthetic.NOISE, abs=0.02)
        assert family[~ironic].mean() == pytest.approx(1 - synthetic.NOISE, abs=0.02)


def test_a_stop_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "user_tweets", stop)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, users=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("users", "tweets", "message"),
    [
        (0, (1, 2), "users.: expected 1"),
        (1, (0, 2), "tweets_per_user"),
        (1, (3, 2), "tweets_per_user from 3 to 2: expected the least"),
    ],
)
def test_refuses_an_empty_sample(tmp_path, users, tweets, message):
    options = {"users": users, "tweets_per_user": list(tweets)}
    with pytest.raises(ValueError, match=message):
        build(write_sample, options, "raw.sample", tmp_path)
