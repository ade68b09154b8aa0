"""LEAF shards: any order of keys, any block size, one line for each fault."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta.data import leaf
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
        patch.setattr(leaf, "BLOCK", block)
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
        monkeypatch.setattr(leaf, "BLOCK", block)
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
        ("[1, 2]", r"byte 0: malformed JSON, expected '\{', found b'\['"),
        ("{1: 2}", r"byte 1: malformed JSON, expected a key"),
        (without("users"), r"no key users; a LEAF file has"),
        (without("num_samples"), r"no key num_samples"),
        (without("user_data"), r"no key user_data"),
        (
            {**GOOD, "num_samples": [2, 2]},
            r"client 'b': num_samples says 2.*has 1; .*make",
        ),
        ({**GOOD, "num_samples": [2]}, r"2 users but 1 num_samples"),
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
