"""What decides a result: options, data, and the code that computes."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fedmeta import identity, syntax
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.training.nodes import train


@pytest.fixture
def package(tmp_path):
    """A copy of the package, to be edited."""
    return Path(shutil.copytree(identity.PACKAGE, tmp_path / "fedmeta"))


def trained_by(name, benchmark, package=identity.PACKAGE):
    """Versions of the code of one training."""
    entry = BENCHMARKS[benchmark]
    roots = (train, ALGORITHMS[name].factory, entry.model, entry.encoding)
    return identity.code(*roots, package=package)


def packed_by(benchmark, package=identity.PACKAGE):
    return identity.code(BENCHMARKS[benchmark].parse, package=package)


def edit(package, file, old, new):
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def changed(package, before):
    """Modules that differ between the package and its edited copy."""
    after = trained_by("maml", "femnist", package)
    return [name for name in before | after if before.get(name) != after.get(name)]


def test_a_copy_has_the_same_version(package):
    for benchmark in BENCHMARKS:
        for name in ALGORITHMS:
            here = trained_by(name, benchmark)
            assert here == trained_by(name, benchmark, package)
        assert packed_by(benchmark) == packed_by(benchmark, package)


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("core/optimizers.py", "p.sub_(", "p.add_("),
        ("core/inner.py", "def ", "def renamed_"),
        ("core/engine.py", "start=state.round + 1", "start=state.round"),
        ("models/cnn.py", "def ", "LEAK = 0.01\n\n\ndef "),
        ("data/tasks.py", "def draw", "def draws"),
        ("benchmarks/femnist/pixels.py", "255", "256"),
        ("options.py", '!= "name"', "not in (1, 2)"),  # optimizer_from
    ],
)
def test_what_computes_counts(package, file, old, new):
    before = trained_by("maml", "femnist")
    edit(package, file, old, new)
    module = file.removesuffix(".py").replace("/", ".")
    assert changed(package, before) == [f"code.{module}"]


def test_what_computes_nothing_does_not_count(package):
    before = trained_by("maml", "femnist")
    packed = {name: packed_by(name) for name in BENCHMARKS}
    for path in package.rglob("*.j2"):
        path.write_text("<p>edited</p>" + path.read_text())
    for place in ("tracking/hook.py", "reporting/tables.py", "sweep/sweep.py"):
        (package / place).write_text("raise SystemExit\n")
    for path in package.rglob("*.py"):
        path.write_text("# a comment\n" + path.read_text())
    assert trained_by("maml", "femnist", package) == before
    assert {name: packed_by(name, package) for name in BENCHMARKS} == packed


@pytest.mark.parametrize(
    "old, new",
    [
        ('"""Two."""', '"""Two, in other words."""'),
        ('    """Two."""\n', ""),
        ("# why", "# for another reason"),
        ('log.info("%d", n)', 'log.warning("n is %d", n)'),
        ('log.info("%d", n)  # why', "pass"),
        ("if n > 2:\n        log.debug(n)", "pass"),
        ('f"{n} is odd"', '"expected an even number"'),
        ("from None", ""),
        ("(1, 2)", "(\n        1,\n        2,\n    )"),
    ],
)
def test_words_and_layout_do_not_count(tmp_path, old, new):
    assert version_of(tmp_path / "a", TOY) == version_of(
        tmp_path / "b", TOY.replace(old, new)
    )
    assert old in TOY


@pytest.mark.parametrize(
    "old, new",
    [
        ("n % 2", "n % 3"),
        ("ValueError", "TypeError"),
        ("(1, 2)", "(2, 1)"),
        ('"even"', '"Even"'),
        ("log.", "catalog."),
        ("n: int", "n: int = 2"),
    ],
)
def test_what_runs_does(tmp_path, old, new):
    assert old in TOY
    assert version_of(tmp_path / "a", TOY) != version_of(
        tmp_path / "b", TOY.replace(old, new)
    )


TOY = '''"""A module."""
import logging

log = logging.getLogger(__name__)


def two(n: int):
    """Two."""
    log.info("%d", n)  # why
    if n > 2:
        log.debug(n)
    if n % 2:
        raise ValueError(f"{n} is odd") from None
    return "even", (1, 2)
'''


def version_of(folder, text):
    package = folder / "fedmeta"
    package.mkdir(parents=True)
    (package / "toy.py").write_text(text)
    return identity.code("toy", package=package)


@pytest.mark.parametrize(
    "line, found",
    [
        ("from fedmeta.below.other import x", ["below.other"]),
        ("from fedmeta.below import other", ["below", "below.other"]),
        ("from fedmeta import below", ["below"]),
        ("import fedmeta.below.other as o", ["below.other"]),
        ("def f():\n    from fedmeta.below.other import x", ["below.other"]),
        ("from .below.other import x", ["below.other"]),
        ("from . import below", ["below"]),
        ("import logging, json.decoder", []),
        ("from fedmeta.reporting.report import render", []),
    ],
)
def test_imports_are_followed(tmp_path, line, found):
    package = tmp_path / "fedmeta"
    for path in ("below/__init__.py", "below/other.py", "reporting/report.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text("x = 1")
    (package / "toy.py").write_text(line)
    names = [f"code.{name}" for name in sorted([*found, "toy"])]
    assert list(identity.code("toy", package=package)) == names


def test_imports_are_followed_upwards(tmp_path):
    package = tmp_path / "fedmeta"
    (package / "below").mkdir(parents=True)
    (package / "below" / "__init__.py").write_text("from .toy import x")
    (package / "below" / "toy.py").write_text("from ..other import y")
    (package / "other.py").write_text("y = 1")
    assert list(identity.code("below", package=package)) == [
        "code.below",
        "code.below.toy",
        "code.other",
    ]


def test_a_missing_module(tmp_path):
    with pytest.raises(ValueError, match="no source of the module 'nowhere'"):
        identity.code("nowhere", package=tmp_path)


def test_a_parser_concerns_its_benchmark_alone(package):
    before = {name: packed_by(name) for name in BENCHMARKS}
    trained = trained_by("maml", "femnist")
    edit(package, "benchmarks/shakespeare/parse.py", "import", "import this, ")
    after = {name: packed_by(name, package) for name in BENCHMARKS}
    assert [name for name in before if before[name] != after[name]] == ["shakespeare"]
    assert trained_by("maml", "femnist", package) == trained


def test_a_model_concerns_its_benchmarks_alone(package):
    before = {name: trained_by("maml", name) for name in BENCHMARKS}
    edit(package, "models/lstm.py", "def ", "def renamed_")
    after = {name: trained_by("maml", name, package) for name in BENCHMARKS}
    assert [name for name in before if before[name] != after[name]] == [
        "shakespeare",
        "sent140",
    ]


def test_an_algorithm_more_concerns_no_other(package):
    before = {name: trained_by(name, "femnist") for name in ALGORITHMS}
    (package / "core/algorithms/new.py").write_text("def new(loss): ...\n")
    table = "from fedmeta.core.algorithms.new import new\n"
    edit(package, "core/algorithms/__init__.py", "from typing", f"{table}from typing")
    assert {n: trained_by(n, "femnist", package) for n in ALGORITHMS} == before


def test_what_is_declared_neutral_is_there():
    """A line that no module has any more says nothing, and hides that one lacks."""
    root = identity.PACKAGE
    paths = [path for path in root.rglob("*.py") if path.name != "__init__.py"]
    names = [".".join(p.relative_to(root).with_suffix("").parts) for p in paths]
    hashes = {syntax.read_module(name, root)[0] for name in names}
    assert identity.EQUIVALENT.keys() <= hashes


def test_a_refactoring_that_is_declared_neutral(package, monkeypatch):
    before = trained_by("maml", "femnist")
    edit(package, "core/trees.py", "def ", "from fedmeta.core import split\n\n\ndef ")
    (package / "core/split.py").write_text("def part(x):\n    return x\n")
    after = trained_by("maml", "femnist", package)
    assert before != after
    monkeypatch.setitem(
        identity.EQUIVALENT, after["code.core.trees"], before["code.core.trees"]
    )
    monkeypatch.setitem(identity.EQUIVALENT, after["code.core.split"], "")
    assert trained_by("maml", "femnist", package) == before


def test_what_computes_takes_no_numbers_from_reports():
    """Those modules count for nothing: a change there would go unseen."""
    kinds = ("training", "evaluation", "preparation", "studies", "recommendation")
    roots = [f"pipelines.{kind}.nodes" for kind in kinds]
    names = identity.code(*roots, "pipelines.studies.halving")
    imported = {
        (name, other)
        for name in names
        for other in syntax.read_module(name.removeprefix("code."), identity.PACKAGE)[1]
    }
    assert len(names) > 40
    assert not [pair for pair in imported if pair[1].startswith("reporting")]


def test_modules_left_out_are_there():
    """A module that was renamed would count again, in silence."""
    for name in (*identity.NEUTRAL, *identity.TABLES):
        assert syntax.source_of(name, identity.PACKAGE), name


def test_it_is_light():
    """It is asked before torch, Kedro or pandas are there, and takes little time."""
    script = (
        "import sys, time; began = time.process_time();"
        "from fedmeta import identity;"
        "identity.code('pipelines.training.nodes', 'core.algorithms.maml',"
        " 'models.cnn', 'benchmarks.femnist.pixels');"
        "print(time.process_time() - began);"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    seconds, modules = done.stdout.splitlines()
    assert float(seconds) < 2  # 0.2 s where it is quiet
    assert not {"torch", "numpy", "pandas", "kedro"} & set(modules.split())


def test_an_option_that_was_added_later_says_nothing_at_its_former_value():
    before = identity.settings(model={"hidden": 8})
    assert identity.settings(model={"hidden": 8, "precision": "float32"}) == before
    assert identity.settings(model={"hidden": 8, "precision": "bfloat16"}) != before


def test_settings_are_flat_and_without_options_that_change_no_result():
    loop = {"clients_per_round": 4, "chunk": 8, "evaluate_every": 2, "episode": None}
    assert identity.settings(
        training=loop, study={"support_fractions": (0.2, 0.5)}, model={}
    ) == {
        "training.clients_per_round": 4,
        "training.episode": None,
        "study.support_fractions": [0.2, 0.5],
        "model": {},
    }


def test_options_that_change_no_result_are_options():
    from fedmeta.pipelines.options import TrainingOptions  # noqa: PLC0415

    known = set(TrainingOptions.model_fields)
    assert {*identity.NON_RESULT_OPTIONS, identity.ROUND_LOOP} <= known


def test_fingerprints():
    one = {"a": 1, "b": [1, 2]}
    turned = {"b": [1, 2], "a": 1}
    assert identity.fingerprint(one) == identity.fingerprint(turned)
    assert identity.fingerprint(one) != identity.fingerprint({**one, "a": 2})
    kept = json.loads(json.dumps(one))
    assert identity.fingerprint(kept) == identity.fingerprint(one)


def test_functions_are_named():
    factory = ALGORITHMS["fomaml"].factory
    assert identity.named(factory) == {
        "function": "core.algorithms.maml.maml",
        "first_order": True,
    }
    assert identity.named(partial(factory, first_order=False))["first_order"] is False


def test_differences():
    found = {"training.rounds": 2, "code.core.optimizers": "1", "same": 0, "more": 1}
    wanted = {"training.rounds": 4, "code.core.optimizers": "2", "same": 0}
    names = identity.differences(found, wanted)
    assert identity.in_words(names, found, wanted) == (
        "more=1, training.rounds=2 instead of 4, other code (core/optimizers.py)"
    )
    names = identity.differences(wanted, found)
    assert identity.in_words(names, wanted, found).startswith("no more, ")
    assert identity.conflicts(found, wanted) == ["training.rounds", *names[-1:]]


def test_results_that_cannot_be_compared_are_refused():
    alike = {"training.rounds": 4, "data.split": "1", "code.core.model": "1"}
    results = {
        "fedavg history": {**alike, "fedavg.epochs": 1},
        "maml history": {**alike, "maml.inner_lr": 0.5, "training.rounds": 2},
        "maml scores": {**alike, "maml.inner_lr": 0.5, "training.rounds": 2},
        "reptile scores": {**alike, "data.split": "2"},
        "fomaml scores": alike,
        "meta_sgd scores": alike,
    }
    with pytest.raises(ValueError) as refused:
        identity.refuse_mixed(results, "run it again")
    assert str(refused.value) == (
        "these results cannot be compared: maml history, maml scores were made with"
        " training.rounds=2 instead of 4; reptile scores was made with other data"
        " (split); run it again"
    )


def test_an_option_that_is_null_is_another_value_than_options_below_it():
    plain = identity.settings(training={"privacy": None, "rounds": 4})
    private = identity.settings(training={"privacy": {"clip": 1.0}, "rounds": 4})
    for found, wanted, words in (
        (private, plain, "training.privacy.clip=1.0"),
        (plain, private, "no training.privacy.clip"),
    ):
        names = identity.conflicts(found, wanted)
        assert identity.in_words(names, found, wanted) == words
        names = identity.differences(found, wanted)
        assert set(names) == {"training.privacy", "training.privacy.clip"}
        assert len(names) == 2
    # one that has neither is older than both; a block without options says nothing
    for other in ({"training.rounds": 4}, {"training": {}}):
        assert identity.conflicts(other, private) == []
        assert identity.conflicts(plain, other) == []
    with pytest.raises(ValueError, match="compared: c was made with training.privacy"):
        identity.refuse_mixed({"a": plain, "b": plain, "c": private}, "")
    with pytest.raises(ValueError, match="compared: a was made with no training.priv"):
        identity.refuse_mixed({"a": plain, "b": private, "c": private}, "")


def test_results_that_differ_in_what_is_compared_are_not():
    shared = {"training.rounds": 4}
    identity.refuse_mixed(
        {"a": {**shared, "a.lr": 1}, "b": {**shared, "b.lr": 2}, "c": shared}, ""
    )


def test_the_environment_decides_nothing_and_is_told():
    found = identity.environment()
    assert found.keys() == {"python", "torch", "numpy", "processor", "threads"}
    assert all(found.values())
