"""What a report says of the runs that it is made from."""

import pandas as pd

from fedmeta.identity import in_words
from fedmeta.reporting.wording import label_of, percent
from fedmeta.reproduction.settings import Chosen


def notes_on(chosen: Chosen) -> list[str]:
    """Which runs count, which are left out and why."""
    runs = chosen.runs
    commits = sorted({commit[:12] for commit in runs["commit"] if commit})
    dirty = any("dirty" in commit for commit in runs["commit"])
    made = f", made by the commits {', '.join(commits)}" if commits else ""
    changed = ", some of them with local changes" if commits and dirty else ""
    notes = [f"{counted(len(runs))} count{made}{changed}."]
    if chosen.repeated:
        notes.append(
            f"{counted(chosen.repeated)} of the same cells left out: newer ones count."
        )
    notes += [
        f"{label_of(run.algorithm)}, {percent(run.support_fraction)} support"
        f"{'' if pd.isna(run.seed) else f', seed {run.seed}'}: {run.diverged}; no mean"
        " is taken over what is left."
        for run in runs[runs["diverged"] != ""].itertuples()
    ]
    if chosen.unfinished:
        notes.append(f"{counted(chosen.unfinished)} did not finish, or still go on.")
    for other in chosen.others:
        who = ", ".join(map(label_of, other.algorithms))
        pairs = other.differs.items()
        theirs, ours = ({name: pair[i] for name, pair in pairs} for i in (0, 1))
        differs = in_words(other.differs, theirs, ours)
        notes.append(f"Left out: {counted(other.runs)} of {who} with {differs}.")
    if chosen.others:
        notes.append(
            "kedro reproduce --where NAME=VALUE takes the runs with another value."
        )
    return notes


def counted(runs: int) -> str:
    """ "1 run", "2 runs"."""
    return f"{runs} run{'s' * (runs != 1)}"
