"""What a run has learned as a model of MLflow's. This imports MLflow, which is slow."""

import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from fedmeta.data.errors import DataError
from fedmeta.serving.learned import (
    Learned,
    build_personaliser,
    read_learned,
    write_learned,
)
from fedmeta.serving.personal import personalise

CODE = Path(__file__).with_name("code.py")
LEARNED = "learned"  # the folder of its files within the model
PARAMS = {"top": 1}  # of predict, with their defaults
# Asked for by name: to infer them, MLflow would load the model in another process. This
# package is not among them, since no registry has it: it has to be installed.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch")


class PersonalisedModel(mlflow.pyfunc.PythonModel):
    """Adapts to each user's labelled rows of a table and predicts the others."""

    def load_context(self, context: Any) -> None:
        """Read what was learned from the model's files."""
        folder = Path(context.artifacts[LEARNED])
        self.personaliser = build_personaliser(read_learned(folder))

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """As `personalise`; ``top`` of the params is how many labels a row.

        Raises:
            MlflowException: for rows that cannot be used, which a server answers by
                the status 400.
        """
        top = int((params or PARAMS)["top"])
        try:
            return personalise(self.personaliser, model_input, top)
        except DataError as error:
            raise MlflowException(
                str(error), error_code=INVALID_PARAMETER_VALUE
            ) from None


def save_model(
    folder: Path, learned: Learned, codebook_file: Path | None = None
) -> None:
    """Write a model that `mlflow.pyfunc.load_model` and `mlflow models serve` take.

    Args:
        folder: is made.
        learned: whose parameters and codebook it holds.
        codebook_file: as for `write_learned`: one that is too large to be copied.

    Raises:
        ValueError: where no model can be made of it.
    """
    personaliser = build_personaliser(learned)
    example = personaliser.form.example(learned.metadata)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        # That a row's number, an integer, cannot be missing.
        warnings.filterwarnings("ignore", "Hint: Inferred schema", UserWarning)
        signature = infer_signature(example, personalise(personaliser, example), PARAMS)
        files = Path(place) / LEARNED
        files.mkdir()
        write_learned(files, learned, codebook_file)
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(CODE),
            artifacts={LEARNED: str(files)},
            signature=signature,
            input_example=(example, PARAMS),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
