"""Compression of updates, by numbers done by hand."""

import math

import pytest
import torch
from toys import CLASSES, SIZES, assert_trees_close, assert_trees_equal, tanh_net, tasks

from fedmeta.core.algorithms import maml
from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.compression import compressed, int8, top_k
from fedmeta.core.cost import WEIGHT_BYTES, traffic
from fedmeta.core.optimizers import adam
from fedmeta.core.trees import tree_leaves, tree_map, tree_nbytes

WAYS = {"int8": int8(), "top_k": top_k(0.3)}
every_way = pytest.mark.parametrize("way", WAYS)


def there_and_back(compression, values):
    leaf = torch.tensor(values)
    return compression.decompress(compression.compress(leaf), leaf)


def test_int8_by_hand():
    leaf = torch.tensor([[-100.0, 254.0], [3.2, 0.9]])  # a scale of 2
    sent = int8().compress(leaf)
    assert sent["values"].dtype == torch.int8
    assert sent["values"].tolist() == [[-50, 127], [2, 0]]
    assert sent["scale"] == 2
    assert int8().decompress(sent, leaf).tolist() == [[-100, 254], [4, 0]]


def test_int8_is_off_by_half_a_scale_at_most():
    leaf = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    back = int8().decompress(int8().compress(leaf), leaf)
    scale = leaf.abs().max() / 127
    assert (back - leaf).abs().max() <= scale / 2 * (1 + 1e-5)
    assert back[leaf.abs().argmax()] == pytest.approx(leaf[leaf.abs().argmax()])


def test_top_k_by_hand():
    leaf = torch.tensor([[1.0, -5.0, 3.0], [0.5, -2.0, 4.0]])
    sent = top_k(0.5).compress(leaf)
    assert {k: v.dtype for k, v in sent.items()} == {
        "values": torch.float32,
        "places": torch.int32,
    }
    assert top_k(0.5).decompress(sent, leaf).tolist() == [[0, -5, 3], [0, 0, 4]]


@pytest.mark.parametrize(
    ("fraction", "size", "kept"),
    [(0.07, 100, 7), (0.071, 100, 8), (0.001, 10, 1), (1.0, 10, 10)],
)
def test_entries_that_top_k_keeps(fraction, size, kept):
    sent = top_k(fraction).compress(torch.arange(1.0, size + 1))
    assert sorted(sent["places"].tolist()) == list(range(size - kept, size))


@every_way
def test_a_tensor_of_zeros_and_one_number(way):
    assert there_and_back(WAYS[way], [0.0, 0.0]).tolist() == [0, 0]
    assert there_and_back(WAYS[way], -3.0) == pytest.approx(-3)


@every_way
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(way, value):
    assert not there_and_back(WAYS[way], [1.0, value, 2.0]).isfinite().all()


MODEL = tanh_net()
ALGORITHM = maml(MODEL.loss, inner_lr=0.1, server=adam(0.1))
CLIENTS = list(SIZES)


def outputs(backend, dtype=torch.float32, algorithm=ALGORITHM):
    theta = tree_map(lambda leaf: leaf.to(dtype), MODEL.init(0))
    for_each = backend(algorithm.client_update, tasks(dtype))
    return dict(for_each(ALGORITHM.init(theta).meta, CLIENTS, 1))


@every_way
def test_the_server_gets_what_came_over_the_wire(way):
    plain = outputs(sequential)
    for client, output in outputs(compressed(sequential, WAYS[way])).items():
        whole = plain[client]
        sent = WAYS[way].pack(whole.update)
        assert_trees_equal(output.update, WAYS[way].unpack(sent, whole.update))
        assert not torch.equal(*(tree_leaves(o.update)[0] for o in (output, whole)))
        assert output.weight == whole.weight
        assert_trees_equal(output.metrics, whole.metrics)


@every_way
@pytest.mark.parametrize(
    ("backend", "tolerance"), [(threaded(2), 0), (vectorized(2), 1e-9)]
)
def test_backends_agree(way, backend, tolerance):
    one_by_one = outputs(compressed(sequential, WAYS[way]), torch.float64)
    other = outputs(compressed(backend, WAYS[way]), torch.float64)
    assert list(other) == CLIENTS
    for client in CLIENTS:
        ours, wanted = other[client].update, one_by_one[client].update
        assert_trees_close(ours, wanted, rtol=tolerance, atol=tolerance)


@every_way
def test_bytes_are_those_of_what_is_sent(way):
    output = outputs(sequential)["ann"]
    sent = WAYS[way].pack(output.update)
    down, up = traffic(output.update, WAYS[way])
    assert up == tree_nbytes(sent) + WEIGHT_BYTES
    assert down == tree_nbytes(output.update)  # of 3 * 4, 4 and 4 * 3 float32
    assert [leaf.numel() for leaf in tree_leaves(output.update)] == [12, 4, 4 * CLASSES]
    by_hand = {"int8": 12 + 4 + 12 + 3 * 4, "top_k": (4 + 2 + 4) * (4 + 4)}
    assert up == by_hand[way] + WEIGHT_BYTES
