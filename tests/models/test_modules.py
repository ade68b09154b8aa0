"""Modules of PyTorch's as models: their derivatives, clients in threads, refusals."""

from functools import partial

import cloudpickle
import numpy as np
import pytest
import torch
from test_cnn import assert_close, batch_of, cast, derivatives, plain_network
from torch import nn
from torch.nn import functional as F

from fedmeta.core.algorithms import maml
from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.cost import analytic_flops, counted_flops
from fedmeta.core.optimizers import adam
from fedmeta.core.types import Batch, Task
from fedmeta.models.cnn import femnist_cnn
from fedmeta.models.modules import from_module

CHARACTERS, WIDTH = 7, 5


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 3)
        self.layers = kind(3, 4, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(4, CHARACTERS)

    def forward(self, x):
        return self.classifier(self.layers(self.embedding(x))[0][:, -1])


class Attentive(nn.Module):
    """Texts too, read by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.classifier = nn.Linear(4, CHARACTERS)
        self.scale = torch.tensor(2.0)  # a constant that is no buffer

    def forward(self, x):
        return self.classifier(self.layer(self.scale * self.embedding(x)).mean(1))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.linear(x)


class Noisy(Plain):
    """Dropout without a layer of it."""

    def forward(self, x):
        return F.dropout(self.linear(x))


class Listed(Plain):
    """A layer that is in no module's list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(WIDTH, WIDTH)]

    def forward(self, x):
        return self.linear(self.layers[0](x))


class Scaled(Plain):
    def forward(self, x):
        return self.linear(x.mul_(2))


class Rooted(Plain):
    def forward(self, x):
        return self.linear((-1 - x).sqrt())


class Bounded(Plain):
    """Its embedding makes vectors shorter that are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, WIDTH, max_norm=0.1)

    def forward(self, x):
        return self.linear(self.embedding(x.long()).mean(1))


def hidden_dropout() -> nn.Module:
    """Which initial logits of zero do not show."""
    last = nn.Linear(WIDTH, 2)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Dropout(0.05), last)


def drawn_by_numpy() -> nn.Module:
    linear = nn.Linear(WIDTH, 2)
    weight = np.random.default_rng().normal(size=(2, WIDTH))
    linear.weight.data = torch.tensor(weight, dtype=torch.float32)
    return linear


def normed() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, 4))
    return nn.Sequential(first, nn.ELU(), nn.Linear(4, 2))


class Centred(Plain):
    """Statistics of a batch without a layer of them."""

    def forward(self, x):
        return self.linear(x - x.mean(0))


class Talkative(Plain):
    def forward(self, x):
        return self.linear(x), x


def frozen() -> nn.Module:
    return nn.Linear(WIDTH, 2).requires_grad_(False)


def reading(build):
    """The model of a module that reads texts."""
    return from_module(build, (WIDTH,), "classifier", dtype=torch.int64)


def recurrent(kind=nn.LSTM):
    return partial(Recurrent, kind)


def texts(rows, generator) -> Batch:
    shape = (rows, WIDTH)
    return Batch(
        torch.randint(CHARACTERS, shape, generator=generator),
        torch.randint(CHARACTERS, (rows,), generator=generator),
    )


def images(rows, generator) -> Batch:
    return Batch(
        torch.rand(rows, 784, generator=generator),
        torch.randint(62, (rows,), generator=generator),
    )


def client(batch):
    """Maker of the tasks of clients that are numbers."""

    def make_task(number, _):
        generator = torch.Generator().manual_seed(number)
        support, query = batch(3, generator), batch(4, generator)
        return Task(support, query, orders=torch.zeros(0, 7, dtype=torch.int64))

    return make_task


def updates(model, backend, batch):
    algorithm = maml(model.loss, inner_lr=0.1, server=adam(1e-3))
    state = algorithm.init(model.init(0))
    found = backend(algorithm.client_update, client(batch))(state.meta, range(6), 1)
    return [list(output.update["theta"].values()) for _, output in found]


@pytest.fixture(scope="module")
def network():
    return from_module(plain_network, (784,), "10")


def test_it_is_the_network_that_is_written_by_hand(network):
    """The paper's: weights, operations, derivatives of first and second order."""
    by_hand, batch = femnist_cnn(), batch_of(8, dtype=torch.float64)
    ours, theirs = network.init(3), by_hand.init(3)
    assert [*map(torch.equal, ours.values(), theirs.values())] == [True] * 8
    assert network.flops == by_hand.flops
    ours, theirs = (cast(params, torch.float64) for params in (ours, theirs))
    found = network.apply(ours, batch.x), network.features(ours, batch.x)
    assert_close(
        found,
        (by_hand.apply(theirs, batch.x), by_hand.features(theirs, batch.x)),
        1e-12,
    )
    assert_close(
        derivatives(network.loss, ours, batch),
        derivatives(by_hand.loss, theirs, batch),
        1e-10,
    )


def test_every_backend_gives_the_same():
    """In threads too, each of which puts its own parameters into the module."""

    def build():  # max_pool2d has no second derivative under vmap
        hidden = [nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 4, 5, stride=4), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Flatten(), nn.Linear(144, 62))

    model = from_module(build, (784,), None)
    one = updates(model, sequential, images)
    for backend in (threaded(2), vectorized(3)):
        for a, b in zip(updates(model, backend, images), one, strict=True):
            assert_close(a, b, 1e-5)


@pytest.mark.parametrize(
    "build", [*map(recurrent, (nn.LSTM, nn.GRU, nn.RNN)), Attentive]
)
def test_meta_gradients_are_exact(build):
    """Against differences of the query loss, in double precision."""
    model, step = reading(build), 1e-6
    theta = cast(model.init(0), torch.float64)
    task = client(texts)(0, 1)
    algorithm = maml(model.loss, inner_lr=0.5, server=adam(1e-3))
    found = algorithm.client_update(algorithm.init(theta).meta, task).update["theta"]

    def after_adaptation(params):
        adapted = algorithm.adapt(algorithm.init(params).meta, task.support)
        return float(model.loss(adapted, task.query))

    for name, gradient in found.items():
        moved = torch.zeros_like(gradient)
        moved.view(-1)[gradient.abs().argmax()] = step
        ahead, behind = (
            after_adaptation({**theta, name: theta[name] + sign * moved})
            for sign in (1, -1)
        )
        wanted = (
            gradient.abs().max() * gradient.view(-1)[gradient.abs().argmax()].sign()
        )
        assert (ahead - behind) / (2 * step) == pytest.approx(float(wanted), rel=1e-4)


def test_attention_is_differentiated_twice_by_every_backend():
    """PyTorch's fused attention has no second derivative."""
    model = reading(Attentive)
    one = updates(model, sequential, texts)
    for backend in (threaded(2), vectorized(3)):
        for a, b in zip(updates(model, backend, texts), one, strict=True):
            assert_close(a, b, 1e-4)


def test_a_class_that_the_model_does_not_have_is_named():
    model = from_module(lambda: nn.Linear(WIDTH, 2), (WIDTH,), None)
    batch = Batch(torch.ones(2, WIDTH), torch.tensor([0, 4]))
    with pytest.raises(
        ValueError, match="of class 4, counted from 0, .* has 2 classes"
    ):
        model.loss(model.init(0), batch)


def test_recurrent_layers_are_refused_where_pytorch_gets_them_wrong():
    with pytest.raises(ValueError, match=r"set training\.backend to threaded or"):
        updates(reading(recurrent()), vectorized(3), texts)


def test_operations_of_recurrent_layers_are_counted():
    """By hand: two layers of four gates over each character, and the classifier."""
    gates = 2 * 4 * 4 * (3 + 4) + 2 * 4 * 4 * (4 + 4)
    flops = reading(recurrent()).flops
    assert flops.total == WIDTH * gates + 2 * 4 * CHARACTERS
    assert flops.first_layer < flops.total / 4  # the embedding is trained


@pytest.mark.parametrize(
    ("before", "spared"),
    [(nn.Identity, 2 * WIDTH * 8), (lambda: nn.LayerNorm(WIDTH), 0)],
)
def test_a_layer_is_spared_a_backward_pass_if_it_reads_the_data(before, spared):
    def build():
        first, last = nn.Linear(WIDTH, 8), nn.Linear(8, 2)
        return nn.Sequential(before(), first, nn.ELU(), last)

    model = from_module(build, (WIDTH,), "3")
    assert model.flops == (2 * WIDTH * 8 + 2 * 8 * 2, spared)
    algorithm = maml(model.loss, inner_lr=0.1, server=adam(1e-3))
    batches = [Batch(torch.rand(n, WIDTH), torch.zeros(n).long()) for n in (3, 4)]
    task = Task(*batches, orders=torch.zeros(0, 7, dtype=torch.int64))
    counted = counted_flops(algorithm, algorithm.init(model.init(0)).meta, task)
    assert analytic_flops(algorithm.work(3, 4), model.flops) == counted(3, 4)


@pytest.mark.parametrize(
    ("build", "head", "message"),
    [
        (
            lambda: nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 2)),
            None,
            r"Sequential has buffers \(0.running_mean,.*use GroupNorm or LayerNorm",
        ),
        (
            lambda: nn.Sequential(
                nn.BatchNorm1d(WIDTH, track_running_stats=False), nn.Linear(WIDTH, 2)
            ),
            None,
            "depends on the others of its batch: use GroupNorm",
        ),
        (Centred, None, "what Centred says of a record depends on the others"),
        (
            lambda: nn.Sequential(nn.Linear(WIDTH, 2), nn.Dropout(0.5)),
            None,
            "Sequential draws random numbers: leave dropout out",
        ),
        (Noisy, None, "Noisy draws random numbers"),
        (hidden_dropout, "1", "draws random numbers"),
        (Listed, "linear", "Listed has more than its parameters.*nn.ModuleList"),
        (Bounded, "linear", "Bounded changes its parameters when it is called"),
        (Scaled, "linear", "Scaled changes the records that it is given"),
        (Rooted, "linear", "Rooted has logits that are not finite"),
        (drawn_by_numpy, None, "Linear has other weights when it is built again"),
        (lambda: nn.Sequential(nn.LazyLinear(2)), "0", "has lazy layers"),
        (lambda: nn.Linear(9, 2), None, r"Linear cannot be trained on records \[5\]: "),
        (lambda: nn.Linear(WIDTH, 2).double(), None, "cannot be trained on records"),
        (normed, "2", "second derivative by 0.*original1 of Sequential is wrong"),
        (lambda: nn.EmbeddingBag(9, 2), None, "cannot be trained on records"),
        (
            lambda: nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.Linear(4, 2)),
            "0",
            "layer '0' does not give the logits from one input",
        ),
        (frozen, None, r"without gradients \(weight, bias\).*option frozen of fedavg"),
        (Talkative, None, "Talkative takes three records to <class 'tuple'>, not to"),
        (Plain, "liner", "no layer 'liner'; its layers are linear"),
        (
            lambda: nn.Flatten(0),
            None,
            r"Flatten takes three records to \[15\], not to logits \[3, classes\]",
        ),
    ],
)
def test_what_is_no_function_of_parameters_and_a_record_is_refused(
    build, head, message
):
    with pytest.raises(ValueError, match=message):
        from_module(build, (WIDTH,), head)


def test_padding_is_no_fault():
    """Rows without a gradient, by convention, are no wrong derivatives."""

    def build():
        padded = nn.Embedding(CHARACTERS, 4, padding_idx=0)
        return nn.Sequential(padded, nn.Flatten(), nn.Linear(4 * WIDTH, 2))

    from_module(build, (WIDTH,), "2", dtype=torch.int64)


def test_a_module_in_place_of_what_makes_one_is_refused():
    with pytest.raises(TypeError, match="expected a function that makes a module"):
        from_module(nn.Linear(WIDTH, 2), (WIDTH,), None)


def test_weights_follow_from_the_seed_and_others_draws_are_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    model = from_module(lambda: nn.Linear(WIDTH, 2), (WIDTH,), None)
    one, same, other = model.init(1), model.init(1), model.init(2)
    assert torch.equal(torch.rand(1), wanted)
    assert torch.equal(one["weight"], same["weight"])
    assert not torch.equal(one["weight"], other["weight"])
    assert not one["weight"].requires_grad


def test_shared_parameters_are_one():
    def tied():
        module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(4, 9))
        module[2].weight = module[0].weight
        return module

    model = from_module(tied, (1,), None, dtype=torch.int64)
    assert model.init(0).keys() == {"0.weight", "2.bias"}
    assert model.apply(model.init(0), torch.zeros(3, 1, dtype=torch.int64)).shape == (
        3,
        9,
    )


def test_a_worker_is_sent_it(network):
    """As dask does, by cloudpickle."""
    batch, params = batch_of(2), network.init(0)
    loss = cloudpickle.loads(cloudpickle.dumps(network.loss))
    assert torch.equal(loss(params, batch), network.loss(params, batch))
