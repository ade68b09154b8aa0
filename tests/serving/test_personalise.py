"""Users' rows of a table -> predictions, for every benchmark, in Python and typed."""

import io
import json
import re
from pathlib import Path

import learned_samples as samples
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner, Result
from pyarrow import parquet

from fedmeta import serving
from fedmeta.benchmarks.femnist.parse import parse_femnist
from fedmeta.benchmarks.recommendation.upcoming import read_upcoming
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.benchmarks.sent140.parse import parse as parse_sent140
from fedmeta.benchmarks.shakespeare.parse import parse_shakespeare
from fedmeta.benchmarks.table.parse import parse as parse_table
from fedmeta.cli import cli
from fedmeta.core.types import Batch
from fedmeta.data.errors import DataError
from fedmeta.data.user_records import text_of
from fedmeta.options import build_algorithm
from fedmeta.serving import Personaliser, build_personaliser, load_run, personalise
from fedmeta.serving.learned import (
    CODEBOOK,
    PARAMETERS,
    read_learned,
    write_learned,
)
from fedmeta.serving.personal import UNCALIBRATED
from fedmeta.serving.tables import read_rows


def made(benchmark: str, folder: Path) -> tuple[Personaliser, pd.DataFrame]:
    """A model, and rows of one user."""
    found = build_personaliser(samples.learned(benchmark, folder))
    return found, found.form.example(found.metadata)


@pytest.fixture(params=[n for n, b in BENCHMARKS.items() if b.table_form is not None])
def any_model(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Personaliser, pd.DataFrame]:
    return made(request.param, tmp_path)


@pytest.fixture
def femnist(tmp_path: Path) -> tuple[Personaliser, pd.DataFrame]:
    return made("femnist", tmp_path)


def test_scores_are_those_of_the_core(any_model):
    """Adapt to the support, then softmax: by hand, from the records as read."""
    model, rows = any_model
    records = model.form.read(rows, model.codebook, model.metadata)
    x, y = model.encoding.examples(records.columns, records.support)
    adapted = model.algorithm.adapt(model.meta, Batch(x, y))
    before = {name: value.clone() for name, value in model.meta["theta"].items()}
    query, _ = model.encoding.examples(records.columns, records.query)
    logits = model.model.apply(adapted, query)[:, : len(records.classes)]
    expected = torch.softmax(logits, 1).numpy()
    found = personalise(model, rows, top=len(records.classes))
    assert found["row"].unique().tolist() == [len(rows) - 1]
    assert found["score"].is_monotonic_decreasing
    scores = found.set_index("label")["score"]
    np.testing.assert_allclose(scores[list(records.classes)], expected[0], rtol=1e-4)
    assert not np.allclose(  # it has learned something from the support
        torch.softmax(model.model.apply(model.meta["theta"], query), 1)[
            :, : len(records.classes)
        ],
        expected,
        atol=1e-6,
    )
    assert all(before[n].equal(value) for n, value in model.meta["theta"].items())


def test_neighbours_among_the_users_own_records_are_served(any_model):
    """As evaluated: a model of the user's own, by hand, from all of its records."""
    model, rows = any_model
    options = {"neighbours": 50, "share": 0.75}
    own = model._replace(algorithm=build_algorithm("knn_per", None, options))
    records = model.form.read(rows, model.codebook, model.metadata)
    x, y = model.encoding.examples(records.columns, records.support)
    query, _ = model.encoding.examples(records.columns, records.query)
    network, theta = model.model, model.meta["theta"]
    offsets = network.features(theta, query)[:, None] - network.features(theta, x)
    votes = (-offsets.norm(dim=-1)).softmax(-1)
    expected = 0.25 * network.apply(theta, query).softmax(-1)
    for row, weight in zip(expected, votes, strict=True):
        row.index_add_(0, y.long(), 0.75 * weight)
    expected = expected[:, : len(records.classes)]
    np.testing.assert_allclose(
        own.scores(records), expected / expected.sum(1, keepdim=True), rtol=1e-4
    )


def test_users_do_not_mix(any_model):
    model, rows = any_model
    user, label, *_ = model.form.columns(model.metadata)
    others = rows.assign(**{user: "bob"})
    others.loc[0, label] = rows[label][1]
    alone = [personalise(model, some) for some in (rows, others)]
    mixed = pd.concat([rows, others]).sort_index(kind="stable")  # row by row
    found = personalise(model, mixed)
    assert found["user"].tolist() == ["ann", "bob"]
    assert found["score"].tolist() == [one["score"][0] for one in alone]
    assert found["row"].tolist() == [2 * len(rows) - 2, 2 * len(rows) - 1]


def leaf_file(path: Path, x: list, y: list) -> Path:
    held = {"users": ["ann"], "num_samples": [len(y)]}
    held["user_data"] = {"ann": {"x": x, "y": y}}
    path.write_text(json.dumps(held))
    return path


@pytest.mark.parametrize("benchmark", ["femnist", "sent140", "shakespeare"])
def test_rows_are_read_as_the_data_of_a_run_are(benchmark, tmp_path):
    """As the parser has packed the same records of the same user."""
    model, rows = made(benchmark, tmp_path)
    rows = rows[rows["label"].notna()]
    x = rows["pixels" if benchmark == "femnist" else "text"].tolist()
    y = rows["label"].tolist()
    if benchmark == "femnist":
        y = [1, 18]  # "1" and "I"
        packed, _ = parse_femnist([leaf_file(tmp_path / "a.json", x, y)])
    elif benchmark == "sent140":
        x = [["", "", "", "", text] for text in x]
        y = [int(label) for label in y]
        path = leaf_file(tmp_path / "a.json", x, y)
        packed, _ = parse_sent140([path], lowercase=True)
    else:
        packed, _ = parse_shakespeare([leaf_file(tmp_path / "a.json", x, y)])
    (client,) = packed
    records = model.form.read(rows, model.codebook, model.metadata)
    numbers = np.arange(len(rows))
    expected = model.encoding.examples(client.columns, numbers)
    for found, wanted in zip(
        model.encoding.examples(records.columns, numbers), expected, strict=True
    ):
        assert found.equal(wanted)
    # and by the labels' numbers, as LEAF has them
    if benchmark != "shakespeare":
        numbered = rows.assign(label=y)
        again = model.form.read(numbered, model.codebook, model.metadata)
        assert (again.columns["label"] == client.columns["label"]).all()


def test_a_table_is_read_as_the_data_of_a_run_are(tmp_path):
    """Missing values too; a value that the run's data do not have is missing."""
    model, _ = made("table", tmp_path)
    rows = pd.DataFrame(
        {
            "who": "zoe",
            "what": ["b", "a", "a"],
            "size": ["2.5", None, "7"],
            "kind": ["z", "x", ""],
        }
    )
    rows.to_csv(tmp_path / "own.csv", index=False)
    packed, _ = parse_table([tmp_path / "own.csv"], client="who", label="what")
    (client,) = packed
    records = model.form.read(rows, model.codebook, model.metadata)
    numbers = client.columns["numbers"]
    np.testing.assert_array_equal(records.columns["numbers"], numbers)
    assert records.columns["categories"].tolist() == [[2], [0], [-1]]  # of x, y, z
    assert (records.columns["label"] == client.columns["label"]).all()
    strange = model.form.read(rows.assign(kind="w"), model.codebook, model.metadata)
    assert strange.columns["categories"].tolist() == [[-1]] * 3
    assert "3 records have a 'kind' that the data of the run do not" in strange.notes[0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_values_may_be_spelt_as_another_program_does(suffix):
    """True, true; 7, 7.0: as CSV, Parquet and JSON have them."""
    text = str if suffix == ".csv" else lambda value: str(value).lower()
    metadata = {
        "roles": json.dumps(["who", "what"]),
        "classes": json.dumps(["1.5", "7"]),
        "numbers": "[]",
        "categories": json.dumps({"on": [text(False), text(True)], "n": ["7", "8"]}),
    }
    form = BENCHMARKS["table"].table_form
    for on in ([True, False, None], ["true", "False", ""]):
        for n in ([8.0, 7.0, None], ["8.0", "7", ""]):
            rows = pd.DataFrame({"what": [7.0, "7", None], "on": on, "n": n})
            rows = rows.astype(object)
            records = form.read(rows, None, metadata)
            assert records.columns["categories"].tolist() == [[1, 1], [0, 0], [-1, -1]]
            assert records.columns["label"].tolist() == [1, 1, 0]
            assert not records.notes


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_logs_rows_are_read_as_the_log_of_the_run(tmp_path, form):
    """Truth values too, and those of rows to come: what is new counts as missing."""
    times = pd.date_range("2024-01-01", periods=6, freq="h").strftime("%FT%T")
    log = pd.DataFrame({"who": "ann", "when": times, "what": [*"abcabc"]})
    log = log.assign(busy=[True, False] * 3, net=["wifi"] * 4 + ["lte", "fibre"])
    log[:5].to_csv(tmp_path / "log.csv", index=False)
    names = {"user": "who", "time": "when", "service": "what"}
    benchmark = BENCHMARKS["recommendation"]
    clients, metadata = benchmark.parse(
        [tmp_path / "log.csv"], **names, context=["busy", "net"]
    )
    (client,) = clients
    path = tmp_path / f"own.{form}"
    path.write_bytes(FORMS[form](log.assign(what=[*log["what"][:4], None, None])))
    read = benchmark.table_form.read(read_rows(path), None, metadata)
    found, expected = read.columns["context"], client.columns["context"]
    np.testing.assert_array_equal(found[:5], expected)
    np.testing.assert_array_equal(found[5], [0, np.nan])
    assert read.notes == [
        "1 records have a 'net' that the data of the run do not have; it counts as"
        " missing"
    ]


def test_times_that_are_numbers_may_be_missing_in_rows_to_come(tmp_path, monkeypatch):
    """pandas has whole numbers beside a missing one as floats."""
    model, rows = made("recommendation", tmp_path)
    now = 1_717_178_400
    monkeypatch.setattr("time.time_ns", lambda: now * 1_000_000_000)
    times = [now - 300, now - 200, now - 100]
    whole = personalise(model, rows.assign(time=[*times, now]))
    missing = personalise(model, rows.assign(time=[*times, None]))
    pd.testing.assert_frame_equal(missing, whole)
    with pytest.raises(DataError, match="the time '1717178100.5' cannot be read"):
        personalise(model, rows.assign(time=[now - 299.5, *times[1:], None]))


def test_the_number_of_a_class_is_no_label():
    """It would be taken for another class in silence."""
    held = {"what": "[]", "roles": '["who", "what"]', "classes": '["10", "20"]'}
    metadata = {**held, "numbers": "[]", "categories": "{}", "shape": "[1, 4]"}
    for name, column in (("table", "what"), ("images", "label")):
        rows = pd.DataFrame({column: [1, None], "pixels": [[0] * 16] * 2})
        with pytest.raises(DataError, match="unknown label '1'; expected one of 10, 2"):
            BENCHMARKS[name].table_form.read(rows, None, metadata)


def test_a_row_to_come_is_what_recommend_makes_of_its_time(tmp_path):
    """Each alone: neither knows of the other."""
    model, rows = made("recommendation", tmp_path)
    known = rows[:3]
    path = tmp_path / "own.csv"
    known.to_csv(path, index=False)
    to_come = [("2024-05-31T22:00:00", 3.0), ("2024-06-01T09:00:00", 5.0)]
    table = pd.concat(
        [
            known,
            pd.DataFrame(
                [("ann", None, *one) for one in to_come],
                columns=["user", "service", "time", "battery"],
            ),
        ]
    ).reset_index(drop=True)
    found = model.form.read(table, model.codebook, model.metadata)
    for number, (time, battery) in enumerate(to_come):
        one = read_upcoming(path, model.metadata, time, {"battery": battery})
        assert one.classes == found.classes
        for name, values in one.columns.items():
            rows_of = [*range(3), 3 + number]
            np.testing.assert_array_equal(found.columns[name][rows_of], values, name)


def test_files_of_a_model_hold_all_of_it(any_model, tmp_path, request):
    model, rows = any_model
    name = request.node.callspec.params["any_model"]
    learned = samples.learned(name, tmp_path)
    for part in ("whole", "referring"):
        (tmp_path / part).mkdir()
    write_learned(tmp_path / "whole", learned)
    write_learned(tmp_path / "referring", learned, tmp_path / "whole" / CODEBOOK)
    assert not (tmp_path / "referring" / CODEBOOK).exists()
    expected = personalise(model, rows)
    for part in ("whole", "referring"):
        again = build_personaliser(read_learned(tmp_path / part))
        pd.testing.assert_frame_equal(personalise(again, rows), expected)
    (tmp_path / "whole" / CODEBOOK).unlink()
    with pytest.raises(DataError, match=r"whole/codebook\.safetensors: no such codebo"):
        read_learned(tmp_path / "referring")


@pytest.mark.parametrize("size", [0, 100, 2000])
@pytest.mark.parametrize("file", [CODEBOOK, PARAMETERS])
def test_a_file_cut_short_is_told_in_a_line(tmp_path, file, size):
    write_learned(tmp_path, samples.learned("femnist", tmp_path))
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[: min(size, path.stat().st_size - 1)])
    with pytest.raises(DataError, match=f"{file}: ") as error:
        read_learned(tmp_path)
    assert "\n" not in str(error.value)


def changed(rows: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    rows = rows.astype(object)
    rows.at[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (
            lambda rows: changed(rows, 1, "label", "Ω"),
            "^user 'ann': row 1: unknown label 'Ω'; expected one of 0-9, A-Z, a-z",
        ),
        (
            lambda rows: changed(rows, 1, "label", 62),
            "row 1: unknown label '62'; expected one of",
        ),
        (
            lambda rows: changed(rows, 2, "pixels", [float("nan")] * 784),
            "row 2: pixels has nan at position 0; expected 784 numbers from 0 to 1$",
        ),
        (
            lambda rows: changed(rows, 0, "pixels", [255] * 784),
            "row 0: pixels has 255 at position 0; expected 784 numbers from 0 to 1$",
        ),
        (
            lambda rows: changed(rows, 2, "pixels", [0.5] * 783),
            "row 2: pixels has 783 numbers; expected 784",
        ),
        (
            lambda rows: changed(rows, 2, "pixels", "an image"),
            "row 2: pixels is no list of numbers; expected 784",
        ),
        (
            lambda rows: changed(rows, 2, "pixels", "[" * 100_000),
            "row 2: pixels is no list of numbers; expected 784",
        ),
        (
            lambda rows: changed(rows, 2, "pixels", [10**400] * 784),
            "row 2: pixels is no list of numbers; expected 784",
        ),
        *(
            (
                lambda rows, name=name: pd.concat([rows, rows[[name]]], axis=1),
                f"column '{name}' is there twice; rename one of them$",
            )
            for name in ("user", "label", "pixels")
        ),
        (
            lambda rows: changed(rows, 2, "user", "bob"),
            "^user 'bob': none of 1 rows has a label",
        ),
        (lambda rows: changed(rows, 1, "user", None), "row 1: no user; expected a na"),
        (lambda rows: rows[:2], "every row has a label; expected one or more without"),
        (lambda rows: rows[:0], "the table has no rows"),
        (
            lambda rows: rows.drop(columns="pixels"),
            r"no column 'pixels'; the model reads user, label, pixels, and there",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(femnist, spoilt, message):
    model, rows = femnist
    with pytest.raises(DataError, match=message) as error:
        personalise(model, spoilt(rows))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("benchmark", "column", "value", "message"),
    [
        (
            "shakespeare",
            "text",
            "short",
            "text of 5 characters; expected the 80",
        ),
        (
            "shakespeare",
            "label",
            "ab",
            "unknown label 'ab'; expected the one",
        ),
        ("sent140", "label", "4", "unknown label '4'; expected 0 .negative. or 1"),
        ("sent140", "text", None, "row 1: no text; expected a text"),
        ("table", "size", "large", "row 1: size is 'large'; expected a number, or"),
        ("table", "what", "c", "row 1: unknown label 'c'; expected one of a, b, or"),
        ("recommendation", "time", "noon", "row 1: the time 'noon' cannot be read"),
    ],
)
def test_records_of_other_benchmarks(benchmark, column, value, message, tmp_path):
    model, rows = made(benchmark, tmp_path)
    with pytest.raises(DataError, match=message) as error:
        personalise(model, changed(rows, 1, column, value))
    assert "\n" not in str(error.value)


def test_a_model_that_diverges_says_so(femnist):
    model, rows = femnist
    broken = {n: value + np.nan for n, value in model.meta["theta"].items()}
    with pytest.raises(DataError, match="user 'ann': adapting to these records diverg"):
        personalise(model._replace(meta={"theta": broken}), rows)


@pytest.mark.parametrize("missing", ["NA", "NaN", "null", "#N/A", "n/a"])
def test_a_number_is_missing_as_in_the_tables_of_a_run(missing, tmp_path):
    """R writes NA, for one."""
    model, rows = made("table", tmp_path)
    empty = personalise(model, changed(rows, 1, "size", None))
    pd.testing.assert_frame_equal(
        personalise(model, changed(rows, 1, "size", missing)), empty
    )


def test_half_of_a_pair_of_surrogates_is_a_character_that_nobody_has(any_model):
    """As JSON has it where a program has cut a text within a smiley."""
    model, rows = any_model
    user, label, *columns = model.form.columns(model.metadata)
    texts = [n for n in columns if isinstance(rows[n][0], str) and n != "time"]
    if label == "service":
        texts.append(label)

    def spoilt(character):
        records = rows.to_dict("records")
        for record in records:
            record[user] = f"ann{character}"
        for name in texts:
            records[1][name] += character
        return personalise(model, pd.DataFrame(records, dtype=object))

    pd.testing.assert_frame_equal(spoilt("\ud83d"), spoilt("\ufffd"))


def test_without_a_column_of_users_all_rows_are_one_users(femnist):
    model, rows = femnist
    expected = personalise(model, rows)
    found = personalise(model, rows.drop(columns="user"))
    pd.testing.assert_frame_equal(found, expected.assign(user="-"))


def as_csv(rows: pd.DataFrame, separator: str = ",") -> bytes:
    return rows.map(text_of).to_csv(index=False, sep=separator).encode()


def as_parquet(rows: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    rows.to_parquet(content)
    return content.getvalue()


FORMS = {
    "csv": as_csv,
    "tsv": lambda rows: as_csv(rows, "\t"),
    "json": lambda rows: rows.to_json(orient="records").encode(),
    "jsonl": lambda rows: rows.to_json(orient="records", lines=True).encode(),
    "parquet": as_parquet,
}


@pytest.fixture
def typed(any_model, monkeypatch, tmp_path):
    """`kedro personalise` with that model, and its rows."""
    model, rows = any_model
    monkeypatch.setattr(serving, "load_run", lambda name, **of_run: model)

    class Project:
        project_path = tmp_path

    def run(*words: str, content: bytes | None = None) -> Result:
        words = ("personalise", "any.maml", *words)
        return CliRunner().invoke(cli, words, obj=Project(), input=content)

    return run, rows, personalise(model, rows)


@pytest.mark.parametrize("form", FORMS)
def test_a_table_may_be_in_any_form(typed, tmp_path, form):
    run, rows, expected = typed
    path = tmp_path / f"own.{form}"
    path.write_bytes(FORMS[form](rows))
    done = run(str(path), "--format", "json")
    assert done.exit_code == 0, done.output
    held = json.loads(done.stdout)
    assert held["calibrated"] is False
    found = pd.DataFrame(held["predictions"])
    pd.testing.assert_frame_equal(found, expected)


def test_standard_input_and_what_is_printed(typed):
    run, rows, expected = typed
    given = [FORMS["csv"](rows), FORMS["json"](rows)]
    user, row, label, score = expected.loc[0]
    for content in given:
        done = run("--format", "csv", content=content)
        assert done.exit_code == 0, done.output
        printed = pd.read_csv(io.StringIO(done.stdout), dtype={"label": str})
        pd.testing.assert_frame_equal(printed, expected)
        assert done.stderr == f"{UNCALIBRATED}\n"
        done = run(content=content)
        assert done.stdout == f"{user}  {row}  {label}  {score:.3f}\n"
        assert done.stderr == f"{UNCALIBRATED}\n"


def not_utf8() -> bytes:
    """A Parquet file of a text in another encoding, as other programs write it."""
    offsets = np.arange(2, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff")]
    content = io.BytesIO()
    texts = pa.Array.from_buffers(pa.string(), 1, buffers)
    parquet.write_table(pa.table({"user": texts}), content)
    return content.getvalue()


def test_lines_of_json_end_where_json_says(tmp_path):
    """Texts may hold what Python takes for the end of a line."""
    rows = [{"text": "a\u2028b\x85\x0c"}, {"text": "c"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    for content in ("\n\n".join(lines), "\r\n".join(["\ufeff", *lines, ""])):
        (tmp_path / "own.jsonl").write_text(content, encoding="utf-8", newline="")
        assert read_rows(tmp_path / "own.jsonl").to_dict("records") == rows


def test_an_index_of_pandas_is_a_column(tmp_path):
    """As it is to a run that reads the file: else all rows would be one user's."""
    rows = pd.DataFrame({"user": ["ann", "bob"], "size": [1.0, 2.0]})
    rows.set_index("user").to_parquet(tmp_path / "own.parquet")
    found = read_rows(tmp_path / "own.parquet")
    pd.testing.assert_frame_equal(found[["user", "size"]], rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.xls", b"", "expected a file of one of .csv, .tsv, .json, .jsonl, .parqu"),
        ("own.json", b"[1, 2]", "cannot be read as json (expected a list of objects"),
        ("own.json", b"12", "cannot be read as json (expected a list of objects"),
        ("own.json", b'[{"user": ', "cannot be read as json"),
        ("own.json", b'[\n{"user": "a"},\n{"user"', "delimiter: line 3 column 8"),
        ("own.json", b"[" * 100_000, "cannot be read as json (nested too deeply"),
        ("own.jsonl", b'{"user": "a"}\n{"us', "starting at: line 2 column 2"),
        ("own.csv", b"", "cannot be read as csv (the file is empty"),
        ("own.csv", b"user,y\na,1\nb\n", "csv (line 3 has 1 columns; expected 2"),
        ("own.csv", b'user,y\na,1\nb,"1\n', "csv (unexpected end of data"),
        ("own.csv", b"user,x,x\na,1,2\n", "column 'x' is there twice; rename one"),
        (
            "own.csv",
            b"user,label\na,1,2\n",
            "line 2 has 3 columns; expected 2",
        ),
        ("own.tsv", b"user\tx\tx\n", "cannot be read as tsv (column 'x' is there twi"),
        ("own.csv", b"\xff\xfe\x00", "cannot be read as csv"),
        ("own.parquet", b"PAR1", "cannot be read as parquet"),
        (
            "own.parquet",
            not_utf8(),
            "read as parquet (Column 0: In chunk 0: Inv",
        ),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_rows(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def empty(new_project):
    return new_project()


@pytest.mark.parametrize("name", ["maml", "fedavg_meta", "fedper"])
def test_a_missing_run_is_told_with_the_pipeline_that_trains_it(empty, name):
    told = f"first: kedro run --pipeline femnist_{name}$"
    with pytest.raises(ValueError, match=told):
        load_run(f"femnist.{name}", project=empty)
