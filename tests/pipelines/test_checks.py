"""What a pipeline reads is checked before its first node runs, and nothing else."""

import contextlib
import copy
import shutil
from functools import cache
from pathlib import Path

import pytest
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError

from fedmeta.configuration import Loader, Source
from fedmeta.pipeline_registry import register_pipelines
from fedmeta.pipelines.checks import check_pipeline
from fedmeta.pipelines.studies.options import UserOptions
from fedmeta.session import USER_ERRORS, Session, message_of
from fedmeta.sweep.sweep import sweep

CONF = Path(__file__).parents[2] / "conf"
MERGE = {"parameters": "soft", "globals": "soft"}


NAMED = {"seed": 0, "support_fraction": 0.2}  # of globals.yml


@cache
def loaded(env: str, **given: float) -> dict:
    loader = Loader(
        str(CONF),
        env=env,
        base_env="base",
        default_run_env=env,
        merge_strategy=MERGE,
        runtime_params=given,
    )
    return loader["parameters"]


def parameters(env: str) -> dict:
    """A copy, to be made wrong."""
    return copy.deepcopy(loaded(env))


PIPELINES = register_pipelines()


@cache
def reading(start: str) -> list[str]:
    """The fewest pipelines that read all parameters whose names begin so."""

    def reads(name: str) -> set[str]:
        inputs = PIPELINES[name].inputs()
        return {i for i in inputs if i.startswith(f"params:{start}")}

    left, chosen = set().union(*map(reads, PIPELINES)), []
    while left:
        chosen.append(max(PIPELINES, key=lambda name: len(reads(name) & left)))
        left -= reads(chosen[-1])
    return chosen


def check(parameters: dict, start: str) -> None:
    """By every pipeline that is needed to read them."""
    for name in reading(start):
        check_pipeline(PIPELINES[name], parameters, NAMED)


def below(parameters: dict, path: str) -> tuple[dict, str]:
    """The block that holds the last key of a dotted path, and that key."""
    *parents, last = path.split(".")
    for parent in parents:
        parameters = parameters[parent]
    return parameters, last


@pytest.mark.parametrize(
    "env",
    ["base", "smoke", "paper", "tuned", "reduced", "larger_steps", "digits", "privacy"],
)
def test_parameters_of_every_environment_pass(env: str) -> None:
    found = parameters(env)
    # Of one's own data no environment but smoke has any.
    found["table"]["raw"] |= {"folder": "t.csv", "client": "user", "label": "y"}
    found["images"]["raw"] |= {"folder": "images"}
    check(found, "")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("maml", None, "femnist.maml: expected a mapping of options, not None"),
        ("maml", 8, "femnist.maml: expected a mapping of options, not 8"),
        ("maml.inner_lrr", 0.1, "femnist.maml: unknown option 'inner_lrr'"),
        ("maml.server.lrr", 0.1, "unknown option 'lrr'"),
        ("meta_sgd.alpha_init", "fast", "femnist.meta_sgd: option 'alpha_init"),
        ("fedavg_meta.fine_tuning.epoch", 1, "unknown option 'epoch'"),
        ("model.hiden", 8, "femnist.model: unknown option 'hiden'"),
        ("raw.sample.writer", 8, "femnist.raw.sample: unknown option 'writer'"),
        ("raw.parse", {}, "femnist.raw: unknown option 'parse'"),
        ("selection.min_record", 8, "femnist.selection: unknown option 'min_record'"),
        ("encoding.inverted", "maybe", "femnist.encoding: option 'inverted'"),
        ("report.target_accuracy", 74, "femnist.report: option 'target_accuracy'"),
    ],
)
def test_a_wrong_option_is_named(path: str, value: object, told: str) -> None:
    wrong = parameters("smoke")
    block, last = below(wrong["femnist"], path)
    block[last] = value
    with pytest.raises(ValueError, match=told):
        check(wrong, "femnist.")


def test_records_in_order_cannot_be_drawn_anew() -> None:
    wrong = parameters("smoke")
    wrong["femnist"]["training"]["resample"] = True
    check_pipeline(PIPELINES["femnist_maml"], wrong, NAMED)
    wrong["femnist"]["partition"]["strategy"] = "order"
    with pytest.raises(ValueError, match=r"femnist\.training\.resample .* in order"):
        check_pipeline(PIPELINES["femnist_maml"], wrong, NAMED)


@pytest.mark.parametrize(
    ("block", "option", "told"),
    [
        ("meta_sgd_nn", "alpha", "recommendation.meta_sgd_nn: unknown option 'alpha'"),
        (
            "maml_lr",
            "inner_rate",
            "recommendation.maml_lr: unknown option 'inner_rate'",
        ),
    ],
)
def test_blocks_of_the_recommendation_study(block: str, option: str, told: str) -> None:
    wrong = parameters("smoke")
    wrong["recommendation"][block][option] = 1
    with pytest.raises(ValueError, match=told):
        check(wrong, "recommendation.")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("femnist_per_fedavg_study.hf_tau4.tau", 4, "unknown option 'tau'"),
        (
            "femnist_per_fedavg_study.fedavg_tau10.steps",
            "ten",
            "option 'steps': .*'ten'",
        ),
        (
            "femnist_per_fedavg_study.exact_tau4.batches",
            "all",
            "'independent', 'reused'",
        ),
        ("femnist_per_fedavg_study.fo_tau10.weights", "size", "unknown weights 'size'"),
        ("femnist_per_fedavg_study.model.channels", [2], "unknown option 'channels'"),
        ("femnist_nu_step_study_skewed.nu5.nu", 5, "unknown option 'nu'"),
        ("femnist_nu_step_study_writers.nu1.nu", 1, "unknown option 'nu'"),
        ("femnist_nu_step_study_writers.model.hiden", 8, "unknown option 'hiden'"),
        ("femnist_personalized_fedavg.e20.steps_", 1, "unknown option 'steps_'"),
        ("femnist_personalized_fedavg.e2_reptile.epochs", 1, "unknown option 'epochs'"),
        ("femnist_personalized_fedavg.central.server", 1, "one of sgd, momentum"),
        ("femnist_readings.on_clients.local", {"size": 1}, "unknown option 'size'"),
        ("femnist_readings.resampled.resample", True, "unknown option 'resample'"),
        ("femnist_skewed.users.options.image", 4, "unknown option 'image'"),
        ("femnist_skewed.selection.profile", "full", "unknown option 'profile'"),
        ("femnist_skewed.encoding.inverted", "maybe", "option 'inverted'"),
        ("femnist_writers.selection.profil", "full", "unknown option 'profil'"),
    ],
)
def test_a_studys_block_is_named(path: str, value: object, told: str) -> None:
    wrong = parameters("smoke")
    block, last = below(wrong, path)
    block[last] = value
    home = path.rpartition(".")[0]
    with pytest.raises(ValueError, match=rf"^{home}: .*{told}") as error:
        check(wrong, home.partition(".")[0] + ".")
    assert "\n" not in str(error.value)


def test_a_division_of_users_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="one of two_kinds, dirichlet, not 'two_kind'"):
        UserOptions(division="two_kind", options={})


def test_options_of_two_divisions_are_not_mixed() -> None:
    wrong = parameters("smoke")
    wrong["femnist_skewed"]["users"]["division"] = "dirichlet"
    told = "^femnist_skewed.users.options: .*unknown option 'images'; known are .*alpha"
    with pytest.raises(ValueError, match=told):
        check(wrong, "femnist_skewed.")


# What a benchmark's parameters file looks like while it is being written.
UNFINISHED = {
    "no file": lambda parameters, home: parameters.pop(home),
    "an empty file": lambda parameters, home: parameters.update({home: None}),
    "no blocks": lambda parameters, home: parameters.update({home: {}}),
    "half": lambda parameters, home: parameters.update(
        {home: {"raw": {"folder": "somewhere"}, "training": {"rounds": "some"}}}
    ),
    "an unknown option": lambda parameters, home: parameters[home]["model"].update(
        {"hiden": 8}
    ),
    "no mapping": lambda parameters, home: parameters[home].update({"model": 8}),
}


@pytest.mark.parametrize("state", UNFINISHED)
@pytest.mark.parametrize(
    "home", ["femnist", "recommendation", "femnist_nu_step_study_skewed"]
)
def test_what_is_unfinished_stops_its_own_pipelines_alone(
    state: str, home: str
) -> None:
    given = parameters("smoke")
    UNFINISHED[state](given, home)
    for name in reading(""):
        if not any(i.startswith(f"params:{home}") for i in PIPELINES[name].inputs()):
            check_pipeline(PIPELINES[name], given, NAMED)
    with pytest.raises(ValueError, match=rf"^(parameters )?{home}\b") as error:
        check(given, home)
    assert "\n" not in str(error.value)


@pytest.fixture
def unfinished(new_project):
    """A project in whose environment "unfinished" the file of one benchmark is."""
    folder = new_project()

    def write(text: str) -> Path:
        shutil.copytree(folder / "conf/smoke", folder / "conf/unfinished")
        (folder / "conf/unfinished/parameters_femnist.yml").write_text(text)
        return folder

    return write


def run(folder: Path, pipeline: str, **params: object) -> None:
    bootstrap_project(folder)
    opened = Session.create(folder, env="unfinished", runtime_params=params)
    with contextlib.chdir(folder), opened as session:
        session.run(pipeline_names=[pipeline])


def test_a_run_and_a_sweep_beside_an_unfinished_benchmark(unfinished) -> None:
    """Kedro's own check of types looks at no other benchmark's blocks either."""
    folder = unfinished("femnist: {raw: {folder: 7}, training: null, model: {hid: 8}}")
    run(folder, "shakespeare_data", shakespeare={"partition": {"gap": 1}})
    assert list((folder / "data/02_intermediate").rglob("records.arrow"))
    with pytest.raises(ParameterValidationError, match="femnist.raw"):
        run(folder, "femnist_data")
    grid = [{"seed": "0"}, {"seed": "1"}]
    with contextlib.chdir(folder):
        assert sweep(folder, "shakespeare_data", Source("unfinished"), grid)
        assert not sweep(folder, "femnist_data", Source("unfinished"), grid)


@pytest.mark.parametrize("text", ["femnist:", "femnist: 8"])
def test_a_benchmark_without_blocks_is_named(unfinished, text: str) -> None:
    with pytest.raises(USER_ERRORS, match=r"femnist\.\w+") as error:
        run(unfinished(text), "femnist_data")
    assert "missing" in message_of(error.value)


def test_a_file_that_cannot_be_parsed_is_named(unfinished) -> None:
    folder = unfinished("femnist: {raw: [")
    with pytest.raises(USER_ERRORS) as error:
        run(folder, "shakespeare_data")
    assert "unfinished/parameters_femnist.yml" in message_of(error.value)


def test_an_unfinished_block_stops_those_that_read_it() -> None:
    given = parameters("smoke")
    del given["femnist"]["maml"]
    given["femnist"]["anil"]["head"] = 7
    check_pipeline(PIPELINES["femnist_fedavg"], given, NAMED)
    told = r"^parameters femnist\.maml: missing; add the block to conf/base/parameters_"
    for name in ("femnist_maml", "femnist_anil", "femnist_fedmeta"):
        with pytest.raises(ValueError, match=told):
            check_pipeline(PIPELINES[name], given, NAMED)


def leaves(tree: object, name: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {name: tree}
    below = (leaves(tree[key], f"{name}.{key}".lstrip(".")) for key in tree)
    return {k: v for found in below for k, v in found.items()}


@pytest.mark.parametrize("option", NAMED)
def test_options_that_contradict_the_name_of_a_folder_are_refused(option: str) -> None:
    """All that are read from what folders are named by, and no other."""
    before, after = leaves(loaded("smoke")), leaves(loaded("smoke", **{option: 0.375}))
    follow = [name for name in before if before[name] != after[name]]
    assert len(follow) > 5
    given = loaded("smoke", **{option: 0.375})
    for pipeline in reading(""):
        check_pipeline(PIPELINES[pipeline], given, {**NAMED, option: 0.375})
    for name in follow:
        wrong = parameters("smoke")
        block, last = below(wrong, name)
        block[last] = 0.375
        for pipeline in reading(name.rpartition(".")[0]):
            with pytest.raises(ValueError) as error:
                check_pipeline(PIPELINES[pipeline], wrong, NAMED)
            assert str(error.value).startswith(f"{name}=0.375, but")
            assert f"; give {option}=0.375 instead" in str(error.value)
