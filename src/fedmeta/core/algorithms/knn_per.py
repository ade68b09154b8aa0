"""kNN-Per: a shared model beside the nearest of a client's own records.

Marfoq et al. 2022 (arXiv 2111.09360): with phi what the last layer of the shared
model reads, and N the k records of the client's support set whose phi is nearest,

    p(c | x) = share * p_N(c | x) + (1 - share) * p_model(c | x),

    p_N(c | x) ~ sum over (x_i, y_i) in N with y_i = c of exp(-|phi(x) - phi(x_i)|).
"""

import torch
from torch import Tensor

from fedmeta.core.algorithms.common import without_rounds
from fedmeta.core.bounds import Count, Decay
from fedmeta.core.gradients import Loss, slices
from fedmeta.core.model import Model
from fedmeta.core.types import Algorithm, Batch, Params


def knn_per(
    loss: Loss,
    *,
    neighbours: Count = 10,
    share: Decay = 0.5,
    chunk: Count | None = None,
) -> Algorithm:
    """Predict by a shared model that others have trained, and by nearest neighbours.

    Args:
        loss: mean loss of a batch; nothing is trained here.
        neighbours: k; all records of a client that has fewer.
        share: of the neighbours in the mixture, lambda; 0: the model alone.
        chunk: support records passed at once; bounds memory, changes nothing.
    """

    def own_model(model: Model, theta: Params, support: Batch) -> Model:
        features = model.features
        if features is None:
            raise ValueError("knn_per: expected a model that gives its features")
        parts = [features(theta, part.x) for part in slices(support, chunk)]
        memory = torch.cat(parts)  # [s, h]
        labelled = support.y >= 0  # [s]
        if support.mask is not None:
            labelled = labelled & (support.mask > 0)
        far = torch.zeros_like(memory[:, 0]).masked_fill(~labelled, torch.inf)
        classes = support.y.clamp(min=0)
        count = min(neighbours, len(support.y))

        def apply(theta: Params, x: Tensor) -> Tensor:
            # Not by way of a matrix product, whose rounding depends on the batch.
            distances = torch.cdist(
                features(theta, x), memory, compute_mode="donot_use_mm_for_euclid_dist"
            )
            nearest, places = (distances + far).topk(count, largest=False)  # [q, k]
            shared = model.apply(theta, x).log_softmax(-1)  # [q, c]
            votes = torch.zeros_like(shared).scatter_add(
                -1, classes[places], (-nearest).softmax(-1)
            )
            mixed = torch.logaddexp(
                shared + torch.log1p(shared.new_tensor(-share)), (share * votes).log()
            )
            return torch.where(labelled.any(), mixed, shared)

        return model._replace(apply=apply)

    algorithm = without_rounds(lambda meta, support: meta["theta"])
    return algorithm._replace(own_model=own_model)
