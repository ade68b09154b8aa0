"""What the README and the docs tell a reader to type must exist."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import pytest

from fedmeta.cli import parameter_items
from fedmeta.configuration import Loader
from fedmeta.hooks import inherited

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Commands that nothing here can check, each with the reason why it is right.
KNOWN = {
    ". .venv/bin/activate": "made by make setup",
    "kedro run --pipeline recommendation_fedmeta --env own": "made by the reader",
    "kedro recommend my_log.csv --env own": "the same",
    "kedro run --pipeline table_fedmeta --env films": "run by test_own_data",
    "kedro viz build --include-previews": "run by tests/browser/test_site",
    "tar czf /tmp/conf.tar.gz conf": "of POSIX",
    "mlflow models serve --model-uri models:/femnist_synthetic_base_maml/1"
    " --env-manager local --host 127.0.0.1 --port 5001": "tests/tracking/test_models",
    'curl -H "Content-Type: application/json" -d @rows.json'
    " http://127.0.0.1:5001/invocations": "the same",
    "make setup VENV=.venv-federation LOCK=requirements-federation.lock": "as by make"
    " federation",
    "ssh-keygen -t ecdsa -b 384 -f node.key -N ''": "of OpenSSH; the form of keys is"
    " that of test_flower",
    "FEDMETA_PROJECT=$PWD flower-superlink --host 0.0.0.0 --port 8000 --ssl-ca-certfile"
    " ca.crt --ssl-certfile server.crt --ssl-keyfile server.key --enable-supernode-auth"
    " --disable-runtime-dependency-installation --database superlink.db": "as in"
    " fedmeta.runtime.federation.local",
    "pip install distributed": "the extra dask of pyproject.toml",
    "pip install opacus": "the extra privacy of pyproject.toml",
    "dask scheduler --host 127.0.0.1": "comes with distributed",
    "dask worker tcp://127.0.0.1:8786 --nthreads 1 --nworkers 2": "the same",
}
# Variables that tests and CI read from the environment.
FROM_OUTSIDE = {"FEMNIST", "SHAKESPEARE", "SENT140", "USAGE_LOG"}
SECTIONS = [
    "About this baseline",
    "Experimental Setup",
    "Environment Setup",
    "Running the Experiments",
    "Expected Results",
]


@cache
def hook() -> Any:
    """What MkDocs calls for every page."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "docs/hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> Iterator[str]:
    """The lines of a page's bash fences, without comments."""
    for fence in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in fence.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip()


@cache
def make_names() -> tuple[set[str], set[str]]:
    """Targets and overridable variables of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return (
        set(re.findall(r"^([a-z-]+):", text, re.M)),
        set(re.findall(r"^([A-Z_]+) \?=", text, re.M)),
    )


@cache
def pipelines() -> set[str]:
    from fedmeta.pipeline_registry import register_pipelines  # noqa: PLC0415

    return set(register_pipelines())


@cache
def parameters(env: str) -> Mapping[str, Any]:
    from kedro.framework.project import configure_project, settings  # noqa: PLC0415

    configure_project("fedmeta")
    return Loader(str(ROOT / "conf"), env=env, **settings.CONFIG_LOADER_ARGS)[
        "parameters"
    ]


def problem(command: str) -> str | None:
    """What is wrong with a command, or None."""
    words = shlex.split(command)
    if " ".join(command.split()) in KNOWN:
        return None
    if words[0] == "make":
        return problem_of_make(words[1:])
    if words[0] == "kedro" and words[1] in KEDRO:
        return KEDRO[words[1]](words[2:])
    if words[0] == "python":
        return problem_of_script(words[1], words[2:])
    if words[:3] == ["flwr", "run", "federation"]:
        return problem_of_flwr_run(words[3:])
    return "unknown command: check it here, or add it to KNOWN with the reason"


def problem_of_flwr_run(words: list[str]) -> str | None:
    if "--run-config" not in words:
        return None
    app = tomllib.loads((ROOT / "federation/pyproject.toml").read_text())["tool"][
        "flwr"
    ]
    given = tomllib.loads(words[words.index("--run-config") + 1].replace(" ", "\n"))
    if unknown := given.keys() - app["app"]["config"].keys():
        return f"the app has no option {min(unknown)}"
    if not (ROOT / "conf" / given.get("env", "base")).is_dir():
        return f"there is no conf/{given['env']}"
    there = {name.removesuffix("_fedmeta") for name in pipelines()}
    if given["pipeline"].removesuffix("_federation") not in there:
        return f"no pipeline {given['pipeline']}"
    return None


def problem_of_make(words: list[str]) -> str | None:
    targets, variables = make_names()
    for word in words:
        name, assigns, _ = word.partition("=")
        if name not in ((variables | FROM_OUTSIDE) if assigns else targets):
            return f"make knows no {name}"
    return None


def problem_of_script(script: str, words: list[str]) -> str | None:
    if script == "-m":
        found = importlib.util.find_spec(words[0])
        return None if found else f"there is no module {words[0]}"
    if not (ROOT / script).is_file():
        return f"there is no {script}"
    options = re.findall(r'add_argument\("(--[a-z-]+)"', (ROOT / script).read_text())
    unknown = [w for w in words if w.startswith("--") and w not in options]
    return f"{script} has no option {unknown[0]}" if unknown else None


def first_part(pair: str) -> str:
    return pair.partition("=")[0]


def problem_of_run(words: list[str]) -> str | None:
    given = dict(zip(words[::2], words[1::2], strict=True))
    env = given.pop("--env", "local")
    if not (ROOT / "conf" / env).is_dir():
        return f"there is no conf/{env}"
    for option, value in given.items():
        if option in ("--pipeline", "--pipelines"):
            if value not in pipelines():
                return f"no pipeline {value}"
        elif option == "--params":
            for key in map(first_part, parameter_items(value)):
                known = key_paths(parameters(env))
                if key not in runtime_parameters() | known | set(inherited(known)):
                    return f"no parameter {key} with --env {env}"
        elif option != "--conf-source":
            return f"option {option} is not checked here"
    return None


def problem_of_recommend(words: list[str]) -> str | None:
    from fedmeta.cli import cli  # noqa: PLC0415
    from fedmeta.pipelines.recommendation.methods import FEDERATED  # noqa: PLC0415

    command = cli.commands["recommend"]
    parser = command.make_parser(click.Context(command))
    try:
        given, _, _ = parser.parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if given.get("method", "maml_nn") not in FEDERATED:
        return f"no method {given['method']}"
    of_run = [(f"--{name}", given[name]) for name in ("env", "params") if name in given]
    return problem_of_run([word for option in of_run for word in option])


def problem_of_sweep(words: list[str]) -> str | None:
    from fedmeta.cli import cli  # noqa: PLC0415
    from fedmeta.sweep.grid import grid, parse_axis, typed  # noqa: PLC0415

    command = cli.commands["sweep"]
    parser = command.make_parser(click.Context(command))
    try:
        given, _, _ = parser.parse_args(list(words))
        cell = grid(map(parse_axis, given.get("grid", [])))[0]
    except click.UsageError as error:
        return error.format_message()
    except ValueError as error:
        return str(error)
    run = ["--pipeline", given["pipeline"]]
    run += ["--env", given["env"]] if "env" in given else []
    pairs = ",".join(f"{name}={value}" for name, value in typed(cell).items())
    return problem_of_run([*run, "--params", pairs])


def problem_of_own(name: str, words: list[str]) -> str | None:
    """Of a command of the project's own, by its options alone."""
    from fedmeta.cli import cli  # noqa: PLC0415

    command = cli.commands[name]
    try:
        command.make_parser(click.Context(command)).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    return None


def problem_of_personalise(words: list[str]) -> str | None:
    from fedmeta.benchmarks.registry import BENCHMARKS  # noqa: PLC0415
    from fedmeta.core.algorithms import ALGORITHMS  # noqa: PLC0415
    from fedmeta.pipelines.recommendation.methods import FEDERATED  # noqa: PLC0415

    if (found := problem_of_own("personalise", words)) is not None:
        return found
    benchmark, _, algorithm = words[0].partition(".")
    known = benchmark in BENCHMARKS and algorithm in {*ALGORITHMS, *FEDERATED}
    return None if known else f"no model {words[0]}"


KEDRO = {
    "init-table": partial(problem_of_own, "init-table"),
    "personalise": problem_of_personalise,
    "reproduce": partial(problem_of_own, "reproduce"),
    "run": problem_of_run,
    "recommend": problem_of_recommend,
    "space": partial(problem_of_own, "space"),
    "sweep": problem_of_sweep,
    "track": partial(problem_of_own, "track"),
}


@cache
def runtime_parameters() -> set[str]:
    """Names that the configuration itself looks up among ``--params``."""
    files = (ROOT / "conf").rglob("*.yml")
    found = re.findall(
        r"\${runtime_params:(\w+)", "".join(f.read_text() for f in files)
    )
    return set(found)


def key_paths(tree: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Every key of nested mappings, such as ``femnist.training.rounds``."""
    paths = set()
    for key, value in tree.items():
        paths.add(f"{prefix}{key}")
        if isinstance(value, Mapping):
            paths |= key_paths(value, f"{prefix}{key}.")
    return paths


@pytest.mark.parametrize(
    ("page", "command"),
    [
        pytest.param(page, command, id=f"{page.name}: {command}")
        for page in PAGES
        for command in dict.fromkeys(commands(page))
    ],
)
def test_command_exists(page: Path, command: str) -> None:
    assert (found := problem(command)) is None, f"{page}: `{command}`: {found}"


@pytest.mark.parametrize(
    "command",
    [
        "make femnits",
        "make test ARG=-x",
        "kedro run --pipeline femnist",
        "kedro run --env papers",
        "kedro run --params femnist.training.round=3",
        "kedro run --parms femnist.training.rounds=3",
        "python benchmarks/scales.py",
        "python -m fedmeta.benchmarks.images.digit",
        "python benchmarks/scale.py --client 3",
        "kedro personalise femnist.mamml log.csv",
        "kedro personalise femnist.maml --tops 3",
        "kedro recommend log.csv --tops 3",
        "kedro recommend log.csv --method nn",
        "kedro recommend log.csv --env papers",
        "kedro sweep --pipeline femnist_maml --parms seed=0,1",
        "kedro sweep --pipeline femnist --params seed=0,1",
        "kedro sweep --pipeline femnist_maml --params seeds=0,1",
        "kedro sweep --pipeline femnist_maml --params seed=0,0",
        "rm -rf data",
    ],
)
def test_wrong_command_is_found(command: str) -> None:
    assert problem(command) is not None


def test_readme_has_every_section_of_the_template() -> None:
    assert re.findall(r"^## (.+)$", PAGES[0].read_text(), re.M)[:5] == SECTIONS


def test_relative_links_of_the_readme() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[0].read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_tables_are_those_of_the_csv_files() -> None:
    text = PAGES[0].read_text()
    for path in re.findall(r"<!-- table: (\S+) -->", text):
        shown = f"<!-- table: {path} -->\n\n{hook().table(ROOT / path)}\n"
        assert shown in text, f"README.md should show:\n{shown}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", d)[0] for d in project["dependencies"]]
    explained = re.findall(
        r"^\| ([\w-]+) \|", (ROOT / "docs/design.md").read_text(), re.M
    )
    assert [name for name in names if name not in explained] == []


def test_locks_hold_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = dict(project["optional-dependencies"])
    federation = [*project["dependencies"], *optional.pop("federation")]
    for lock, needs in (
        ("requirements.lock", project["dependencies"]),
        ("requirements-federation.lock", federation),
        ("requirements-dev.lock", sum(optional.values(), [])),
    ):
        locked = set(re.findall(r"^([\w-]+)==", (ROOT / lock).read_text(), re.M))
        names = {re.match(r"[\w-]+", need)[0] for need in needs}
        assert names <= locked, f"{lock}: run `make lock`"


def test_every_locked_file_but_torchs_has_its_hash() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        pins = re.split(r"^(?=[\w-]+==)", (ROOT / lock).read_text(), flags=re.M)[1:]
        bare = [pin.strip() for pin in pins if "--hash=sha256:" not in pin]
        assert all(pin.startswith("torch==") for pin in bare), bare[:3]


def test_the_python_of_pages_runs(capsys) -> None:
    """Of those whose blocks, one after another, are a whole program."""
    page = ROOT / "docs" / "how-to" / "add-a-metric.md"
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(compile(block, page, "exec"), names)
    assert float(capsys.readouterr().out) == pytest.approx(1 / 62, rel=0.2)


def test_the_reference_has_every_public_module() -> None:
    """Those of packages come with them."""
    pages = (ROOT / "docs/reference").glob("*.md")
    told = {n for p in pages for n in re.findall(r"^::: (\S+)$", p.read_text(), re.M)}
    there = {f"fedmeta.{p.stem}" for p in (ROOT / "src/fedmeta").glob("[!_]*")}
    assert there - told == set()


def test_no_page_has_open_ends() -> None:
    assert [page.name for page in PAGES if "TODO(lead)" in page.read_text()] == []


def test_the_notebook_is_shown_with_what_it_puts_out() -> None:
    """The one that is committed was executed, and its figures are pictures."""
    page = (ROOT / "docs/notebook.md").read_text()
    (path,) = re.findall(r"<!-- notebook: (\S+) -->", page)
    shown = hook().notebook(ROOT / "docs" / path)
    assert shown.startswith("# Explore a finished run")
    assert shown.count("](data:image/png;base64,") == 2
    assert shown.count("<table") == 4
    assert "\x1b" not in shown
    assert str(ROOT) not in shown
