"""From a tracking store to a folder: a page, tables and figures."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from kedro.config import MissingConfigException
from kedro.framework.project import settings as kedro_settings

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.data.cells import write_table
from fedmeta.data.errors import DataError
from fedmeta.data.files import whole_path
from fedmeta.reporting.report import RULE, DataNote, Report, Section, render
from fedmeta.reporting.shown import markdown
from fedmeta.reporting.verdicts import claims_frame
from fedmeta.reproduction import study as reproduced
from fedmeta.reproduction.claims import headline, paper_gains
from fedmeta.reproduction.runs import Recorded, matching
from fedmeta.reproduction.settings import choose
from fedmeta.reproduction.study import Reproduction
from fedmeta.tracking.uri import tracking_uri

PUBLISHED = {name: b for name, b in BENCHMARKS.items() if b.published}
STUDY = "Table 3 and Figures 6 and 7"  # of the benchmark that is not in Table 2
TABLE2, TABLE3 = "test/accuracy_after", "test/top1_"  # metrics, or how they begin
# Words in a figure stay words: they can be found, and a journal's editor can set them.
PAPER: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "fedmeta"}
SAVE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # the same every time


ABOUT = """
A claim is about what was measured; what was not is named among its figures. The range
of gains above is over MAML and Meta-SGD, all support fractions and all data sets, as in
the paper's abstract. Rounds and costs to an accuracy are means of what each seed
needed."""
MISSING = """
These lines fill the cells that are missing, or have fewer seeds than others. What is
there already is not trained again."""
WRITTEN = """
The runs had parameters that --params does not take; put them into conf/local first:"""
NEXT = """
Tables as Markdown and CSV, and figures as SVG and PDF, lie beside this page, a folder
an experiment; runs.csv there says which MLflow run stands for which cell."""


def reproduce(
    project: Path,
    *,
    experiments: Sequence[str] = (),
    output: Path | None = None,
    where: Mapping[str, str] | None = None,
) -> Path:
    """The report over a project's recorded runs.

    Args:
        experiments: names of experiments in MLflow; none: all.
        output: folder to write into; None: data/08_reporting/reproduction.
        where: parameters, as MLflow names them, that the runs must have.

    Returns:
        The page.

    Raises:
        DataError: if there is no run to report on.
    """
    recorded = Recorded(tracking_uri(project))
    runs = matching(recorded.runs(experiments), where or {})
    studies = read_studies(recorded, runs, project)
    if not studies:
        raise DataError(
            "none of the recorded runs has finished with a test accuracy; kedro run "
            "--pipeline femnist_fedmeta, typed again, goes on with one"
        )
    folder = output or project / "data" / "08_reporting" / "reproduction"
    return write(studies, folder)


def read_studies(
    recorded: Recorded, runs: pd.DataFrame, project: Path
) -> list[Reproduction]:
    """The results of every experiment, those on the benchmarks' own data first."""
    studies = list(reproduced.declared_studies(recorded, runs))
    runs = runs[runs["benchmark"].isin(list(PUBLISHED))]
    for name, rows in runs.groupby("experiment"):
        for metric in (TABLE2, TABLE3):
            measured = [_belongs(run, metric) for run in rows.itertuples()]
            chosen = choose(rows[pd.Series(measured, rows.index, dtype=bool)])
            home = rows["benchmark"].iloc[0]
            found = reproduced.read(recorded, {home: chosen})
            if found.table.empty:
                continue
            given = configuration(project, found.newest["env"]).get(home, {})
            if metric == TABLE2:
                studies.append(reproduced.table2_study(name, found, given))
            else:
                sizes = recorded.report(found.newest, "table3.csv")
                studies.append(reproduced.table3_study(name, found, given, sizes))
    labels = [benchmark.label for benchmark in PUBLISHED.values()]

    def place(study: Reproduction) -> tuple:
        related = not {"gains", "table3"} & study.report.tables.keys()
        data = study.data
        number = labels.index(data.benchmark) if data.benchmark in labels else 0
        return related, data.synthetic, data.stands_in, number, study.name

    return sorted(studies, key=place)


def write(studies: Sequence[Reproduction], folder: Path) -> Path:
    """The page, and for every experiment a folder of tables and figures.

    Args:
        studies: at least one.
        folder: made if there is none; files of the same names are replaced.

    Returns:
        The page.
    """
    places = slugs(studies)
    for study in studies:
        place = folder / places[study.name]
        for name, table in study.report.tables.items():
            with whole_path(place / f"{name}.csv") as file:
                write_table(table, file, float_format="%.6g")
        for name, shown in study.shown.items():
            with whole_path(place / f"{name}.md") as file:
                file.write_text(markdown(shown), encoding="utf-8")
        with matplotlib.rc_context(PAPER):
            for name, figure in study.report.figures.items():
                for kind, metadata in SAVE.items():
                    with whole_path(place / f"{name}.{kind}") as file:
                        figure.savefig(file, format=kind, metadata=metadata)
                    # found once, it holds for the other formats: a third of the time
                    figure.set_layout_engine("none")
    checked = pd.concat(
        claims_frame(s.report.claims).assign(experiment=s.name, source=s.data.source)
        for s in studies
    )
    with whole_path(folder / "claims.csv") as file:
        write_table(checked, file)
    path = folder / "report.html"
    with whole_path(path) as file:
        file.write_text(html(studies), encoding="utf-8")
    return path


def html(studies: Sequence[Reproduction]) -> str:
    """The page of all studies: style and figures inside, no request to anywhere."""
    # other data say nothing of the paper's range: shown where there is nothing else
    ranked = [study for study in studies if "gains" in study.report.tables]
    own = [study for study in ranked if not study.data.stands_in] or ranked
    tabled = {"table2", "table3"}
    found = {s.data.benchmark for s in studies if tabled & s.report.tables.keys()}
    alone = all(study.data.synthetic for study in studies)
    not_run = [
        (
            f"{f'Table 2 on {b.label}' if b.table2 else STUDY} (on a generated sample;"
            " real data: --env paper)",
            f"kedro run --pipeline {name}_fedmeta",
        )
        for name, b in PUBLISHED.items()
        if b.label not in found
    ]
    report = Report(
        "The paper's tables and figures, over seeds and support fractions",
        headline(
            _and(study.data.source for study in own) or "any data",
            [gain for study in own for gain in study.gains],
            paper_gains(),
        ),
        {},
        [
            Section("Does what the paper says hold here?", note=f"{ABOUT}{RULE}"),
            *(
                Section(
                    f"{study.name}{f' · {study.data.source}' * study.data.stands_in}",
                    claims=study.report.claims,
                    level=3,
                )
                for study in studies
                if study.report.claims
            ),
            *(part for study in studies for part in _sections(study, alone)),
            *([Section("Not in this report", commands=not_run)] if not_run else []),
        ],
        next=[NEXT],
    )
    data = DataNote(
        _and(study.data.benchmark for study in studies),
        "; ".join(study.data.source for study in studies),
        alone,
        False,  # the page says it of each experiment
        {
            f"{study.name}: {name}" if len(studies) > 1 else name: value
            for study in studies
            for name, value in study.data.parameters.items()
        },
        [f"{study.name}: {note}" for study in studies for note in study.data.notes],
    )
    return render(report, data)


def _and(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(names))


def _sections(study: Reproduction, told: bool) -> Iterator[Section]:
    """A study's part of the page; whether its head has told that it is generated."""
    data, made = study.data, "These data were drawn by a program."
    if not data.synthetic:
        made = f"Real data in the form of {data.benchmark}."
    loudly = f"{made} The numbers must not be quoted as results on {data.benchmark}."
    warned = data.stands_in and not told
    yield Section(study.name, warning=(data.source, loudly) if warned else None)
    for part in study.report.sections:
        yield part._replace(level=3)
    if study.missing:
        written = study.given.written
        pairs = ", ".join(f"{name}: {value}" for name, value in written.items())
        yield Section(
            "What is missing",
            MISSING,
            commands=study.missing,
            note=f"{WRITTEN} {pairs}." if pairs else "",
            level=3,
        )


@cache
def configuration(project: Path, env: str) -> Mapping[str, Any]:
    """Parameters as the files have them now; empty for an unknown environment."""
    loader = kedro_settings.CONFIG_LOADER_CLASS(
        str(project / kedro_settings.CONF_SOURCE),
        env=env,
        **kedro_settings.CONFIG_LOADER_ARGS,
    )
    try:
        return loader["parameters"]
    except MissingConfigException:
        return {}


def slugs(studies: Sequence[Reproduction]) -> dict[str, str]:
    """A folder for each experiment; names that differ in other letters get numbers."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(study.name for study in studies):
        plain, taken = slug(name), found.values()
        numbered = (f"{plain}_{number}" for number in count(2))
        found[name] = next(s for s in chain([plain], numbered) if s not in taken)
    return found


def slug(name: str) -> str:
    """An experiment's name as a folder's."""
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


def _belongs(run: Any, metric: str) -> bool:
    """Whether a run has such a metric, or would have if it had not diverged."""
    if run.diverged:
        return (run.algorithm in ALGORITHMS) == (metric == TABLE2)
    return any(name.startswith(metric) for name in run.metrics)
