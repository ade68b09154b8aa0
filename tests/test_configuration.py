"""The loader of the configuration: what it keeps, and when it reads anew."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from fedmeta.configuration import KEPT, Loader

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted((CONF / "base").glob("parameters_*.yml"))
GLOBALS, FILE = "base/globals.yml", "base/parameters_x.yml"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for folder in ("base", "local", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / GLOBALS).write_text("seed: 1")
    (tmp_path / FILE).write_text("x: {seed: '${globals:seed}', rate: 0.1}")
    return tmp_path


def loader(conf: Path, env: str | None = None, **given: object) -> Loader:
    soft = {"parameters": "soft", "globals": "soft"}
    return Loader(
        str(conf),
        env,
        given,
        base_env="base",
        default_run_env="local",
        merge_strategy=soft,
    )


def test_files_are_read_once_while_none_changes(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loader(conf)["parameters"]
    opened = []
    monkeypatch.setattr(
        "kedro.config.OmegaConfigLoader._read_raw_config",
        lambda *args: opened.append(args),
    )
    assert loader(conf)["parameters"] == first
    assert not opened


@pytest.mark.parametrize("change", ["edited", "of one size", "new", "gone", "replaced"])
def test_a_changed_file_is_read_anew(conf: Path, change: str) -> None:
    (conf / "local/parameters_y.yml").write_text("x: {more: 1}")
    before = loader(conf)["parameters"]
    if change == "edited":
        (conf / FILE).write_text("x: {seed: 1, rate: 0.25}")
    elif change == "of one size":
        (conf / FILE).write_text((conf / FILE).read_text().replace("0.1", "0.2"))
    elif change == "new":
        (conf / "local/parameters_z.yml").write_text("x: {rate: 0.3}")
    elif change == "gone":
        (conf / "local/parameters_y.yml").unlink()
    else:  # by one of the same size and time, as an archive or git may write it
        status = (conf / FILE).stat()
        beside = conf / "base/beside"
        beside.write_text((conf / FILE).read_text().replace("0.1", "0.2"))
        os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
        beside.replace(conf / FILE)
    assert loader(conf)["parameters"] != before


def test_an_editors_lock_stops_nothing(conf: Path) -> None:
    (conf / "local/.#parameters.yml").symlink_to("somebody@somewhere.1")
    assert loader(conf)["parameters"]["x"]["rate"] == 0.1


def test_a_caller_may_change_what_it_was_given(conf: Path) -> None:
    loader(conf)["parameters"]["x"]["rate"] = "changed"
    assert loader(conf)["parameters"]["x"]["rate"] == 0.1


def test_what_is_set_is_what_is_given(conf: Path) -> None:
    own = loader(conf)
    own["parameters"] = {"x": "set"}
    assert own["parameters"] == {"x": "set"}
    assert loader(conf)["parameters"] != {"x": "set"}


def test_given_parameters_and_environments_are_kept_apart(conf: Path) -> None:
    (conf / "other/globals.yml").write_text("seed: 7")
    plain, given, other = (
        loader(conf),
        loader(conf, x={"rate": 5}),
        loader(conf, "other"),
    )
    for _ in range(2):
        assert plain["parameters"]["x"] == {"seed": 1, "rate": 0.1}
        assert given["parameters"]["x"] == {"seed": 1, "rate": 5}
        # Though another loader was made since, whose globals are not these.
        assert other["parameters"]["x"]["seed"] == 7


def test_the_files_alone(conf: Path) -> None:
    (conf / FILE).write_text("x: {seed: '${runtime_params:seed, ${globals:seed}}'}")
    given = loader(conf, seed=5)
    assert given["parameters"]["x"]["seed"] == 5
    assert given.plain()["parameters"]["x"]["seed"] == 1
    assert given["parameters"]["x"]["seed"] == 5
    assert loader(conf)["parameters"]["x"]["seed"] == 1


def test_a_benchmark_has_the_defaults_for_what_it_does_not_name(conf: Path) -> None:
    (conf / FILE).write_text(
        "defaults: {maml: {inner_lr: 0.1, server: {name: adam, lr: 1}},"
        " anil: {head: [a]}}"
        "\na: {raw: {}, maml: {server: {lr: 2}}, anil: {head: [b, c]}}"
        "\nb: {raw: {}, maml: null, own: 1}"
        "\nstudy: {maml: {server: {lr: 3}}}"
    )
    (conf / "other/parameters.yml").write_text("b: {maml: {inner_lr: 5}}")
    maml = {"inner_lr": 0.1, "server": {"name": "adam", "lr": 2}}
    assert loader(conf)["parameters"] == {
        "a": {"raw": {}, "maml": maml, "anil": {"head": ["b", "c"]}},
        "b": {"raw": {}, "maml": None, "own": 1, "anil": {"head": ["a"]}},
        "study": {"maml": {"server": {"lr": 3}}},
    }
    given = loader(conf, "other", a={"anil": {"head": ["d"]}})["parameters"]
    assert given["a"] == {"raw": {}, "maml": maml, "anil": {"head": ["d"]}}
    assert given["b"]["maml"]["inner_lr"] == 5
    assert given["b"]["maml"]["server"]["lr"] == 1


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_file_names_what_departs_from_the_defaults(file: Path) -> None:
    defaults = read(CONF / "base/parameters_defaults.yml")["defaults"]
    for block in read(file).values():
        if "raw" in block:
            assert not set(flat(block)) & set(flat(defaults))


def read(path: Path) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(path))


def flat(block: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in block.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)


def test_no_more_are_kept_than_said(conf: Path) -> None:
    for rate in range(KEPT + 3):
        assert loader(conf, x={"rate": rate})["parameters"]["x"]["rate"] == rate
    assert len(Loader._kept) == KEPT
