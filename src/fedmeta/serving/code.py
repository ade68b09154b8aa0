"""What MLflow runs to load a model: it keeps this text, and no pickled code."""

from mlflow.models import set_model

from fedmeta.serving.pyfunc import PersonalisedModel

set_model(PersonalisedModel())
