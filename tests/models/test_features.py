"""What models give as features is what their last layer reads."""

import pytest
import torch

from fedmeta.models.cnn import femnist_cnn
from fedmeta.models.lstm import character_lstm, tweet_lstm
from fedmeta.models.mlp import mlp
from fedmeta.models.tabular import tabular

IMAGES, IDS = torch.rand(3, 64), torch.randint(5, (3, 4))
CASES = {
    "cnn": (femnist_cnn((2, 3), 5, 4, image_size=8), IMAGES, "classifier"),
    "mlp": (mlp((5, 6), 4, 64), IMAGES, "classifier"),
    "softmax": (mlp((), 4, 64), IMAGES, "classifier"),
    "tabular": (tabular(64, 4, 5), IMAGES, "layer2"),
    "regression": (tabular(64, 4), IMAGES, "layer1"),
    "characters": (character_lstm(5, 2, 6, 1), IDS, "classifier"),
    "tweets": (tweet_lstm(4, 3, 6, 1, dense=None), IDS, "classifier"),
    "dense": (tweet_lstm(4, 3, 6, 1, dense=7), IDS, "classifier"),
}


@pytest.mark.parametrize("case", CASES)
def test_features_are_what_the_last_layer_reads(case):
    model, x, last = CASES[case]
    params = model.init(1)
    features = model.features(params, x)
    assert features.shape == (3, params[f"{last}.weight"].shape[1])
    logits = features @ params[f"{last}.weight"].T + params[f"{last}.bias"]
    torch.testing.assert_close(logits, model.apply(params, x))
