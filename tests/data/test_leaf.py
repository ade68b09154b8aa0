"""LEAF shards: any order of keys, any block size, one line for each fault."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta.data import json_window
from fedmeta.data.errors import DataError
from fedmeta.data.leaf import leaf_files, read_leaf, read_leaf_header


def shard(clients, **more):
    """The members of a shard of `client -> labels`, each record a short text."""
    return {
        "users": list(clients),
        "num_samples": [len(y) for y in clients.values()],
        "user_data": {
            c: {"x": [f"r{v}" for v in y], "y": y} for c, y in clients.items()
        },
        **more,
    }


def write(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def read(*paths):
    return {c.client_id: (c.x, c.y) for c in read_leaf(paths)}


TEXT = st.text(st.sampled_from('ab"\\{}[],: \n\u00e9\U0001f600'), max_size=9)


@settings(max_examples=60, deadline=None)
@given(
    users=st.dictionaries(TEXT, st.lists(TEXT, max_size=4), max_size=5),
    block=st.integers(1, 40),
    style=st.fixed_dictionaries(
        {"indent": st.sampled_from([None, 1]), "ensure_ascii": st.booleans()}
    ),
    order=st.permutations(["users", "num_samples", "user_data", "hierarchies"]),
)
def test_reads_what_json_reads(tmp_path_factory, users, block, style, order):
    members = {
        "users": list(users),
        "num_samples": [len(x) for x in users.values()],
        "user_data": {c: {"x": x, "y": [0] * len(x)} for c, x in users.items()},
        "hierarchies": [],
    }
    content = {key: members[key] for key in order}
    path = tmp_path_factory.mktemp("leaf") / "a.json"
    write(path, json.dumps(content, **style))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_window, "BLOCK", block)
        assert read(path) == {c: (x, [0] * len(x)) for c, x in users.items()}
        header = read_leaf_header(path)
    assert header["users"] == list(users)


def test_shards_are_streamed(tmp_path):
    first = write(tmp_path / "a.json", shard({"a": [1], "b": [2]}))
    broken = write(tmp_path / "b.json", "{")
    clients = read_leaf([first, broken])
    assert [next(clients).client_id, next(clients).client_id] == ["a", "b"]


def test_the_header_stops_before_the_data_when_leaf_wrote_it(tmp_path):
    text = '{"users": [], "num_samples": [], "synthetic": "how", "user_data": {broken'
    assert read_leaf_header(write(tmp_path / "a.json", text))["synthetic"] == "how"
    late = {"user_data": shard({"a": [1]})["user_data"], "synthetic": "how"}
    assert read_leaf_header(write(tmp_path / "b.json", late)) == {"synthetic": "how"}


def test_clients_are_passed_over_in_blocks_of_any_size(tmp_path, monkeypatch):
    content = {
        "user_data": shard({"a": [1], "b": [2, 3]})["user_data"],
        "synthetic": "x",
    }
    path = write(tmp_path / "a.json", content)
    for block in range(1, 40):
        monkeypatch.setattr(json_window, "BLOCK", block)
        assert read_leaf_header(path) == {"synthetic": "x"}


def test_a_folder_without_shards_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no \*\.json files of LEAF here; do this"):
        leaf_files(tmp_path, "do this")


GOOD = shard({"a": [1, 2], "b": [3]})
TEXT_OF_GOOD = json.dumps(GOOD)


def without(key):
    return {k: v for k, v in GOOD.items() if k != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            TEXT_OF_GOOD[:-8],
            r"byte \d+: the file ends inside client 'b'.*fetch it again",
        ),
        (TEXT_OF_GOOD[:-1], r"byte \d+: the file ends here, expected ','.*cut short"),
        (
            TEXT_OF_GOOD[:3],
            r"byte 3: the file ends inside a key, which starts at byte 1",
        ),
        ("", r"byte 0: the file ends here"),
        (TEXT_OF_GOOD + "}", r"byte \d+: malformed JSON, expected the end"),
        (TEXT_OF_GOOD.replace('"r2"', "r2"), r"byte 77: malformed JSON in client 'a'"),
        (TEXT_OF_GOOD.replace('"r2"', "NaN"), r"byte \d+: client 'a' has NaN"),
        (TEXT_OF_GOOD.replace("}, ", "} "), r"byte \d+: malformed JSON, expected ','"),
        ("[1, 2]", r"byte 0: malformed JSON, expected '\{', found '\['"),
        ("{1: 2}", r"byte 1: malformed JSON, expected a key"),
        (without("users"), r"no key users; a LEAF file has"),
        (without("num_samples"), r"no key num_samples"),
        (without("user_data"), r"no key user_data"),
        (
            {**GOOD, "num_samples": [2, 2]},
            r"client 'b': num_samples says 2.*has 1; .*make",
        ),
        ({**GOOD, "num_samples": [2]}, r"2 users but 1 num_samples"),
        ({**GOOD, "num_samples": [2, "one"]}, r"client 'b': num_samples says \"one\""),
        ({**GOOD, "num_samples": [2, None]}, r"client 'b': num_samples says null"),
        ({**GOOD, "num_samples": [2, 1.5]}, r"client 'b': num_samples says 1\.5"),
        (
            {**GOOD, "num_samples": {"a": 2}},
            r"\"num_samples\" is \{\"a\":2\}; expected",
        ),
        ({**GOOD, "users": None}, r"\"users\" is null; expected a list"),
        ({**GOOD, "users": 2}, r"\"users\" is 2; expected a list"),
        ({**GOOD, "users": ["a", None]}, r"\"users\" has null; expected the names"),
        ({**GOOD, "users": ["a", True]}, r"\"users\" has true; expected the names"),
        ({**GOOD, "users": ["a", ["b"]]}, r"\"users\" has \[\"b\"\]; expected the"),
        ({**GOOD, "users": ["a", 1]}, r"client '1' is in \"users\", not in"),
        (
            {**GOOD, "users": ["a", "b", "a"], "num_samples": [2, 1, 2]},
            r"client 'a' is twice in \"users\"",
        ),
        ({**GOOD, "user_data": None}, r"expected '\{', found 'n'"),
        ({**GOOD, "user_data": {"a": None}}, r"client 'a': expected an object with"),
        (
            {**GOOD, "users": ["a", "c"]},
            r"client 'b' is in \"user_data\", not in \"users\"",
        ),
        (
            {**GOOD, "users": ["a", "b", "b0"], "num_samples": [2, 1, 1]},
            r"client 'b0' is in \"users\", not in \"user_data\"",
        ),
        (
            {**GOOD, "user_data": {"a": {"x": []}}},
            r"client 'a': expected an object with",
        ),
        ({**GOOD, "user_data": {"a": 3}}, r"client 'a': expected an object with"),
        (
            {**GOOD, "user_data": {"a": {"x": 1, "y": 1}}},
            r"client 'a': .* must be lists",
        ),
        (
            {**GOOD, "user_data": {"a": {"x": [1], "y": [1, 2]}}},
            r"client 'a': 1 records in x but 2 labels in y",
        ),
        ({**GOOD, "synthetic": "how"}, r"\"synthetic\" comes after \"user_data\""),
        (
            TEXT_OF_GOOD.replace('"b": {', '"a": {'),
            r"client 'a' is also in .*bad\.json",
        ),
    ],
)
def test_bad_shards(tmp_path, content, message):
    path = write(tmp_path / "bad.json", content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_byte_offset_is_right_after_long_text(tmp_path):
    text = json.dumps({**GOOD, "note": "é" * 50}, ensure_ascii=False) + " x"
    path = write(tmp_path / "bad.json", text)
    with pytest.raises(DataError, match=f"byte {len(text.encode()) - 1}: malformed"):
        read(path)


def test_a_client_in_two_shards(tmp_path):
    first = write(tmp_path / "first.json", shard({"a": [1], "b": [2]}))
    second = write(tmp_path / "second.json", shard({"c": [1], "b": [2]}))
    with pytest.raises(DataError, match=r"second\.json: client 'b' is also in .*first"):
        read(first, second)


def names(path):
    return {client.client_id: client.y for client in read_leaf([path])}


@pytest.mark.parametrize(
    ("users", "sizes", "more"),
    [
        ([0, 1], [2, 1], {}),
        ([0.0, 1.0], ["2", "1"], {}),
        (["0", 1], [2.0, 1.0], {"hierarchies": None, "extra": {"a": [1]}}),
    ],
)
def test_numbers_and_texts_that_mean_the_same_are_read(tmp_path, users, sizes, more):
    content = {**shard({"0": [1, 2], "1": [3]}), "users": users, "num_samples": sizes}
    path = write(tmp_path / "a.json", {**more, **content})
    assert names(path) == {"0": [1, 2], "1": [3]}


def test_a_number_is_named_as_it_is_among_the_data(tmp_path):
    # json.dump makes these keys of the floats that are listed
    content = {**shard({"0.0": [1, 2], "1.5": [3]}), "users": [0.0, 1.5]}
    assert list(names(write(tmp_path / "a.json", content))) == ["0.0", "1.5"]


@pytest.mark.parametrize("junk", ["._a.json", ".a.json", "~$a.json", "a.json~"])
def test_what_systems_and_editors_leave_is_passed_over(tmp_path, junk):
    path = write(tmp_path / "a.json", shard({"a": [1]}))
    (tmp_path / junk).write_bytes(b"\0\5\x16\7")
    (tmp_path / "b.json").mkdir()
    assert leaf_files(tmp_path, "") == [path]


def test_a_folder_of_folders_says_which_have_files(tmp_path):
    for name in ("all_data", "train", "__MACOSX"):
        (tmp_path / name).mkdir()
    write(tmp_path / "all_data" / "a.json", "{}")
    write(tmp_path / "__MACOSX" / "._a.json", "")
    write(tmp_path / "train" / "a.json", "{}")
    with pytest.raises(DataError, match="here, but in all_data/, train/: name the"):
        leaf_files(tmp_path, "")


TRAIN = "all_data_0_niid_0_keep_0_train_9.json"
TEST = "all_data_0_niid_0_keep_0_test_9.json"


@pytest.mark.parametrize(
    ("train", "test"), [(TRAIN, TEST), ("train/a.json", "test/a.json")]
)
def test_the_two_parts_of_leafs_split_are_put_together(tmp_path, caplog, train, test):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    write(tmp_path / train, shard({"a": [1, 2], "b": [3], "only": [4]}))
    write(tmp_path / test, {**shard({"b": [5, 6], "a": [7], "new": [8]}), "note": 1})
    with caplog.at_level(logging.INFO):
        found = read(*leaf_files(tmp_path, ""))
    assert found == {
        "a": (["r1", "r2", "r7"], [1, 2, 7]),
        "b": (["r3", "r5", "r6"], [3, 5, 6]),
        "only": (["r4"], [4]),
        "new": (["r8"], [8]),
    }
    assert "train and test parts of 2 clients" in caplog.text


def test_one_part_of_leafs_split_alone_is_said(tmp_path, caplog):
    path = write(tmp_path / TRAIN, shard({"a": [1, 2]}))
    assert list(read(path)) == ["a"]
    assert "only the train part of LEAF's split" in caplog.text


def test_a_client_twice_in_one_part_is_refused_without_loss(tmp_path):
    write(tmp_path / TRAIN, shard({"a": [1]}))
    for number in (0, 1):
        name = TEST.replace("data_0", f"data_{number}")
        write(tmp_path / name, shard({"a": [2 + number]}))
    with pytest.raises(DataError, match=r"client 'a' is also in .*move one.*aside"):
        read(*leaf_files(tmp_path, ""))


def test_a_bad_second_part_is_named(tmp_path):
    write(tmp_path / TRAIN, shard({"a": [1]}))
    bad = shard({"a": [2]})
    bad["user_data"]["a"] = {"x": []}
    path = write(tmp_path / TEST, bad)
    with pytest.raises(DataError, match=f"^{path}: client 'a': expected an object"):
        read(*leaf_files(tmp_path, ""))


def test_clients_whose_names_differ_in_spelling_alone_are_noted(tmp_path, caplog):
    path = write(tmp_path / "a.json", shard({"Ann": [1], "ann ": [2], "bob": [3]}))
    assert list(read(path)) == ["Ann", "ann ", "bob"]
    assert "2 clients differ from another in case" in caplog.text
