"""Stanford's CSV and LEAF's JSON: what is read, what is refused, and how it says so."""

import csv
import logging

import numpy as np
import pytest
from leaf_shards import write_shard

from fedmeta.benchmarks.sent140.parse import find_raw, parse
from fedmeta.benchmarks.sent140.stanford import TEST, TRAINING
from fedmeta.benchmarks.sent140.tokens import LENGTH, PADDING, token_hash
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed


def row(polarity="4", user="ann", text="so good", query="NO_QUERY"):
    return [polarity, "1", "Mon May 11 03:17:40 UTC 2009", query, user, text]


def write_csv(path, rows):
    with open(path, "w", encoding="latin-1", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return path


def leaf_record(text, user="ann"):
    return ["1", "Mon May 11", "NO_QUERY", user, text]


def tokens_of(*texts):
    rows = [[token_hash(t) for t in text.split()] for text in texts]
    return [r + [PADDING] * (LENGTH - len(r)) for r in rows]


def read(files, **options):
    clients, metadata = parse(files, **{"lowercase": True, **options})
    return {c.client_id: c.columns for c in clients}, metadata


def test_rows_of_two_files_are_grouped_by_user(tmp_path):
    training = [
        row("0", "zoe", "a b"),
        row("4", "ann", "B\xe9 c"),
        row("0", "zoe", 'say "d"'),
    ]
    write_csv(tmp_path / TRAINING, training)
    write_csv(tmp_path / TEST, [row("2", "Bob", "e\nf"), row("4", "zoe", "g")])
    files = find_raw(tmp_path)
    clients, metadata = parse(files, lowercase=True)
    write_packed(tmp_path / "packed.arrow", clients, metadata)
    dataset = read_packed(tmp_path / "packed.arrow")
    assert dataset.client_ids == ["Bob", "ann", "zoe"]
    assert metadata == {
        "benchmark": "sent140",
        "synthetic": "false",
        "source": f"Stanford's {TEST}, {TRAINING}",
        "lowercase": "true",
    }
    zoe = dataset.columns("zoe")
    assert zoe["tokens"].tolist() == tokens_of("g", "a b", "say d")
    assert zoe["label"].tolist() == [1, 0, 0]
    assert dataset.columns("ann")["tokens"].tolist() == tokens_of("b\xe9 c")
    # neutral is not positive, and a line break separates words
    assert dataset.columns("Bob")["label"].tolist() == [0]
    assert dataset.columns("Bob")["tokens"].tolist() == tokens_of("e f")
    assert [c.dtype for c in zoe.values()] == [np.int64, np.uint8]


def test_users_come_in_order_and_small_ones_can_be_left_out(tmp_path):
    users = ["c", "a", "b", "a", "c", "a"]
    path = write_csv(tmp_path / "a.csv", [row(user=user) for user in users])
    clients, _ = read([path])
    assert {c: len(columns["label"]) for c, columns in clients.items()} == {
        "a": 3,
        "b": 1,
        "c": 2,
    }
    assert list(clients) == ["a", "b", "c"]
    assert list(read([path], min_records=2)[0]) == ["a", "c"]


def test_case_is_kept_on_request(tmp_path):
    path = write_csv(tmp_path / "a.csv", [row(text="So Good")])
    clients, metadata = read([path], lowercase=False)
    assert clients["ann"]["tokens"].tolist() == tokens_of("So Good")
    assert metadata["lowercase"] == "false"


def test_a_tweet_without_a_token_stays_and_is_counted_once(tmp_path, caplog):
    texts = [":-)", "good", ""]
    path = write_csv(tmp_path / "a.csv", [row(text=text) for text in texts])
    shard = write_shard(
        tmp_path / "a.json", {"ann": ([leaf_record(t) for t in texts], [1, 1, 0])}
    )
    for file in (path, shard):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            columns = read([file])[0]["ann"]
        assert columns["tokens"].tolist() == tokens_of("", "good", "")
        (record,) = caplog.records
        assert record.getMessage().startswith("2 of 3 tweets have no token")


@pytest.mark.parametrize(
    ("file", "query", "options", "expected"),
    [
        (TRAINING, "NO_QUERY", {}, ("false", None)),
        ("critics.csv", "NO_QUERY", {}, ("false", "critics.csv")),
        ("critics.csv", "NO_QUERY", {"name": "reviews"}, ("false", "reviews")),
        (TRAINING, "SYNTHETIC", {}, ("true", None)),
    ],
)
def test_data_go_by_their_own_name(tmp_path, file, query, options, expected):
    path = write_csv(tmp_path / file, [row(query=query)])
    metadata = read([path], **options)[1]
    assert (metadata["synthetic"], metadata.get("name")) == expected


def test_synthetic_data_is_kept_apart(tmp_path):
    path = write_csv(tmp_path / "a.csv", [row(query="SYNTHETIC")])
    with pytest.raises(DataError, match=r"a\.csv: is synthetic and cannot be called"):
        read([path], name="Sent140")
    other = write_csv(tmp_path / "b.csv", [row()])
    with pytest.raises(DataError, match=r"b\.csv: synthetic and real tweets together"):
        read([path, other])


@pytest.mark.parametrize("polarity", ["4", "4.0", " 4"])
def test_a_polarity_is_read_in_any_spelling(tmp_path, polarity):
    # pandas writes 4.0 where another row has none
    path = write_csv(tmp_path / "a.csv", [row(polarity), row("0.0"), row("2.0")])
    assert read([path])[0]["ann"]["label"].tolist() == [1, 0, 0]


def test_a_header_is_passed_over(tmp_path):
    names = ["target", "ids", "date", "flag", "user", "text"]
    path = write_csv(tmp_path / "a.csv", [names, row("4"), row("0")])
    assert read([path])[0]["ann"]["label"].tolist() == [1, 0]
    path = write_csv(tmp_path / "a.csv", [row("4", user="user", text="text")])
    assert read([path])[0]["user"]["label"].tolist() == [1]


def test_users_whose_names_differ_in_spelling_alone_are_noted(tmp_path, caplog):
    path = write_csv(tmp_path / "a.csv", [row(user="Ann"), row(user="ann")])
    assert list(read([path])[0]) == ["Ann", "ann"]
    assert "2 users differ from another in case" in caplog.text


def bad_file(content):
    def write(path):
        path.write_bytes(content)

    return write


def of_rows(*rows):
    return lambda path: write_csv(path, rows)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (bad_file(b""), "the file is empty"),
        (bad_file(b"\n \n"), "the file is empty"),
        (of_rows(row(), row("3")), r"line 2: polarity '3'; expected 0 .* 2 .* or 4"),
        (of_rows(row(), row("")), r"line 2: polarity ''"),
        (of_rows(row(text="a\nb"), row("x")), r"line 3: polarity 'x'"),
        (of_rows(["target", "id", "d", "q", "u", "t"]), r"line 1: polarity 'target'"),
        (of_rows(row("positive")), r"line 1: polarity 'positive'; expected 0"),
        (of_rows(row(), row()[:5]), r"line 2: 5 columns; expected 6 columns: polarity"),
        (of_rows(row(), [*row(), "more"]), r"line 2: 7 columns"),
        (bad_file(b"4;1;d;q;ann;good\n"), r"line 1: 1 columns; .* commas between"),
        (of_rows(row(user="")), r"line 1: no user"),
        (bad_file(b'"4","1","d","q","ann","good\n'), r"ends inside a quoted field"),
        (
            bad_file(b'4,1,d,q,ann,good\n4,1,d,q,ann,"so,\nso'),  # as pandas quotes
            r"line 2: the file ends inside a quoted field",
        ),
        (
            bad_file(b'"4","1","d","q","ann","' + b"good " * 30_000 + b'"\n'),
            r"line 1: not CSV \(field larger than field limit",
        ),
        (
            lambda path: path.write_text("4,1,d,q,ann,caf\xe9\n", encoding="utf-8"),
            r"is in UTF-8; expected ISO-8859-1.*iconv -f UTF-8 -t ISO-8859-1//TRANSLIT",
        ),
        (
            lambda path: path.write_text("4,1,d,q,ann,a\n", encoding="utf-8-sig"),
            "is in UTF-8",
        ),
        (
            lambda path: path.write_text("4,1,d,q,ann,a\n", encoding="utf-16"),
            "is in UTF-16",
        ),
        (
            bad_file(b"4,1,d,q,ann,a\n4,1,d,q,ann,\0\n"),
            r"line 2: a NUL byte; .* UTF-16",
        ),
    ],
)
def test_what_is_not_stanfords_csv(tmp_path, write, message):
    path = tmp_path / "a.csv"
    write(path)
    with pytest.raises(DataError, match=message) as caught:
        read([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_users_of_too_few_tweets_alone_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        write_csv(path, [row(), row()])
    else:
        write_shard(path, {"ann": ([leaf_record("a")] * 2, [1, 1])})
    assert list(read([path], min_records=2)[0]) == ["ann"]
    with pytest.raises(DataError, match=f"^{path}: nobody .* 3 .*lower raw.min_rec"):
        read([path], min_records=3)


def test_latin_1_is_no_utf8_however_little_there_is(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("caf\xe9", "1234567\xe9\n"):
        path.write_text(f'"4","1","d","q","ann","{text}"\n', encoding="latin-1")
        assert len(read([path])[0]["ann"]["label"]) == 1
    path.write_text('"4","1","d","q","ann","\xe9"\n', encoding="utf-8")
    with pytest.raises(DataError, match="is in UTF-8"):
        read([path])


def test_leaf_json_gives_the_same_records(tmp_path):
    texts = ["So good", "no , really"]
    path = write_csv(
        tmp_path / "a.csv",
        [row(p, text=t) for p, t in zip("40", texts, strict=True)],
    )
    users = {"ann": ([leaf_record(t) for t in texts], [1, 0])}
    users["bob"] = ([leaf_record("me")], [1])
    shard = write_shard(tmp_path / "a.json", users)
    clients, metadata = read([shard], min_records=2)
    assert list(clients) == ["ann"]
    for name, column in read([path])[0]["ann"].items():
        np.testing.assert_array_equal(clients["ann"][name], column, strict=True)
    assert metadata == {
        "benchmark": "sent140",
        "synthetic": "false",
        "source": "LEAF JSON",
        "lowercase": "true",
    }


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (["text"], [1], r"record 0 is not a tweet; expected \[id, date, query, user"),
        ([leaf_record("a")[1:]], [1], "record 0 is not a tweet"),
        ([leaf_record("a"), leaf_record(3)], [1, 1], "record 1 is not a tweet"),
        ([leaf_record("a")], [4], "record 0 has the label 4; expected 0 or 1"),
        ([leaf_record("a")], [True], "label true"),
        ([leaf_record("a")], [None], "label null"),
        ([leaf_record("a")], ["yes"], 'label "yes"'),
    ],
)
def test_what_is_not_leafs_sent140(tmp_path, x, y, message):
    path = write_shard(tmp_path / "a.json", {"ann": (x, y)})
    with pytest.raises(DataError, match=message) as caught:
        read([path])
    assert str(caught.value).startswith(f"{path}: client 'ann': ")


def test_a_folder_has_one_kind_of_file(tmp_path):
    with pytest.raises(DataError, match=r"no \*\.csv or \*\.json .*sent140\.fetch"):
        find_raw(tmp_path)
    write_csv(tmp_path / "b.csv", [row()])
    write_csv(tmp_path / "a.csv", [row()])
    assert [path.name for path in find_raw(tmp_path)] == ["a.csv", "b.csv"]
    write_shard(tmp_path / "c.json", {})
    with pytest.raises(DataError, match=r"both a\.csv and c\.json"):
        find_raw(tmp_path)


@pytest.mark.parametrize("junk", ["._a.csv", "~$a.csv", "._b.json", ".~lock.a.csv#"])
def test_what_systems_and_editors_leave_is_passed_over(tmp_path, junk):
    path = write_csv(tmp_path / "a.csv", [row()])
    (tmp_path / junk).write_bytes(b"\0\5\x16\7")
    assert find_raw(tmp_path) == [path]
