"""What a run has learned, as a model in MLflow: logged, registered, ready to serve."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.entities import LoggedModelOutput
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from safetensors.torch import save_file

from fedmeta.checkpoints import flatten, read_checkpoint
from fedmeta.serving.learned import PARAMETERS, learned_by, read_codebook
from fedmeta.serving.pyfunc import save_model
from fedmeta.tracking.database import AtWork
from fedmeta.tracking.record import Record

# Bytes of a codebook up to which each model has a copy of it; beyond, a path to it.
COPIED = 64 << 20
HALF_COPIED = ".artifact.uploading.*"  # as MLflow names a file until it is whole
NO_MODEL = "no_model"  # tag of a run: why there is only the file of parameters


def model_name(record: Record) -> str:
    """The name that a record's model is registered by: of experiment and algorithm.

    So that only the benchmark's own data go under its name alone: femnist_maml, but
    femnist_synthetic_base_maml.
    """
    return re.sub(r"\W+", "_", f"{record.experiment} {record.tags['algorithm']}")


def log_learned(
    client: MlflowClient,
    run: MlflowRun,
    record: Record,
    project: Path,
    at_work: AtWork,
) -> Iterator[None]:
    """Log the model that a record's checkpoint makes, and register it, once.

    Where it makes none, its parameters are logged as an artifact of the run.

    Args:
        client: of the store.
        run: of the record.
        record: of a run that has ended, with a checkpoint.
        project: folder that the record's paths begin at.
        at_work: entered while the model is made.

    Yields:
        After every request that was answered.

    Raises:
        FileNotFoundError: where there is no checkpoint any more.
    """
    checkpoint = read_checkpoint(project / record.checkpoint)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        try:
            with at_work():
                if not record.codebook:
                    raise ValueError("no codebook was read by what scored it")
                codebook_file = project / record.codebook
                learned = learned_by(
                    record.tags["algorithm"],
                    checkpoint,
                    read_codebook(codebook_file),
                    record.data,
                )
                large = codebook_file.stat().st_size > COPIED
                save_model(folder, learned, codebook_file if large else None)
        except ValueError as error:
            path = Path(place) / PARAMETERS
            save_file(dict(flatten(checkpoint.learned)), path)
            client.log_artifact(run.info.run_id, str(path))
            client.set_tag(run.info.run_id, NO_MODEL, str(error))
            yield
        else:
            yield from _log_model(client, run, record, folder)


def _log_model(
    client: MlflowClient, run: MlflowRun, record: Record, folder: Path
) -> Iterator[None]:
    name, number = model_name(record), run.info.run_id
    home = [run.info.experiment_id]
    there = client.search_logged_models(home, f"source_run_id = '{number}'")
    yield
    # One that is not ready is of a process that was killed: its files are logged again.
    model = next(iter(sorted(there, key=lambda m: m.status != "READY")), None)
    if model is None:
        model = client.create_logged_model(
            run.info.experiment_id, name, number, params=dict(record.parameters)
        )
        yield
    if model.status != "READY":
        remove_half_copied(model.artifact_location)
        client.log_model_artifacts(model.model_id, str(folder))
        yield
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(number, [LoggedModelOutput(model.model_id, step=0)])
        yield
    if client.search_model_versions(f"run_id = '{number}'"):
        return
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    yield
    client.create_model_version(
        name,
        # Not "models:/...", which MLflow looks for in the store of the present folder.
        model.artifact_location,
        number,
        tags={"data": record.experiment},
        model_id=model.model_id,
    )
    yield


def remove_half_copied(uri: str) -> None:
    """Remove what a killed process has left half-copied in a local artifact folder."""
    if uri.startswith("file:"):
        for left in Path(local_file_uri_to_path(uri)).rglob(HALF_COPIED):
            left.unlink(missing_ok=True)
