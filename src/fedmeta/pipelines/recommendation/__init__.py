"""The third experiment of the paper: which service will a user want next?"""

from fedmeta.pipelines.recommendation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
