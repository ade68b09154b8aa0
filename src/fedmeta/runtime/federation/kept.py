"""The parameters that a node was last sent, kept in its folder.

With them its owner personalises a model to its clients: `fedmeta.serving.load_node`.
"""

from pathlib import Path
from typing import NamedTuple

from fedmeta.checkpoints import flatten, unflatten
from fedmeta.core.types import MetaParams
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.tensors import read_header, read_tensors, write_tensors
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.messages import CODEBOOK, META, Message
from fedmeta.runtime.federation.trees import tensors_of

FOLDER = "learned"  # in a node's folder: a file a training
KIND = "parameters of a training"
REMEDY = "remove it; the node's next round or evaluation writes it again"


class Kept(NamedTuple):
    """What a node was last sent for a training."""

    job: Job
    meta: MetaParams
    codebook: Codebook


def keep(folder: Path, job: Job, question: Message) -> None:
    """Write the arrays of a question, in place of those of the training before."""
    tree = {group: tensors_of(held) for group, held in question.arrays.items()}
    path = folder / FOLDER / f"{job.benchmark}.{job.names[0]}.safetensors"
    write_tensors(path, KIND, dict(flatten(tree)), job._asdict())


def kept(folder: Path, benchmark: str, algorithm: str) -> Kept:
    """What `keep` has written for an algorithm, trained or sharing the training.

    Raises:
        DataError: where there is nothing, or the file is damaged.
    """
    there = []
    for path in sorted((folder / FOLDER).glob("*.safetensors")):
        job = Job(**read_header(path))
        if job.benchmark == benchmark and algorithm in job.names:
            tree = unflatten(read_tensors(path, KIND, REMEDY)[0])
            return Kept(job, tree[META], Codebook(tree.get(CODEBOOK, {}), ""))
        there += [f"{job.benchmark}.{name}" for name in job.names]
    raise DataError(
        f"{folder}: no parameters of {benchmark}.{algorithm}, but of"
        f" {', '.join(there) or 'nothing'}; a node has them from its first round or"
        " evaluation on"
    )
