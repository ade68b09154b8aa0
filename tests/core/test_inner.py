"""The meta-gradient: by hand, in closed form, by finite differences, by unrolling."""

import pytest
import torch
from toys import (
    CLASSES,
    FEATURES,
    assert_trees_close,
    finite_differences,
    flat,
    labelled,
    linear_loss,
    normal,
    quadratic_batch,
    quadratic_loss,
    scalar_batch,
    scalar_loss,
    smooth_convolution,
    tanh_net,
)

from fedmeta.core.inner import (
    FIRST_ORDER,
    Hessians,
    Plan,
    descend,
    meta_gradient,
    train,
)
from fedmeta.core.optimizers import adam, sgd
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Batch
from fedmeta.models.cnn import femnist_cnn

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def one(value):
    return {"w": torch.tensor(value, dtype=torch.float64)}


def test_one_step_by_hand():
    # theta 1, support target 0, step .1: slope 1, adapted .9; query target .4: slope .5
    # there; d adapted / d theta = 1 - .1 * curvature 1 = .9; .5 * .9 = .45
    support, query = [scalar_batch(0.0)], scalar_batch(0.4)
    assert descend(scalar_loss, one(1.0), support, 0.1)["w"] == pytest.approx(0.9)
    exact = meta_gradient(scalar_loss, one(1.0), support, query, 0.1)
    assert exact.theta["w"] == pytest.approx(0.45)
    assert exact.query_loss == pytest.approx(0.125)  # (.9 - .4)² / 2
    assert exact.alpha is None
    first = meta_gradient(
        scalar_loss, one(1.0), support, query, 0.1, hessians=FIRST_ORDER
    )
    assert first.theta["w"] == pytest.approx(0.5)
    # the slope at theta was 1, that of the query .5: alpha's gradient is -1 * .5
    learned = meta_gradient(
        scalar_loss, one(1.0), support, query, one(0.1), learn_alpha=True
    )
    assert learned.theta["w"] == pytest.approx(0.45)
    assert learned.alpha["w"] == pytest.approx(-0.5)


def test_two_steps_by_hand():
    # 1 -> .5 -> .25, step .5 towards 0; query target 0: slope .25; .25 * .5² = .0625
    # alpha: d(1 - a)² / da = -2 (1 - a) = -1, times .25
    support = [scalar_batch(0.0)] * 2
    result = meta_gradient(
        scalar_loss, one(1.0), support, scalar_batch(0.0), one(0.5), learn_alpha=True
    )
    assert result.theta["w"] == pytest.approx(0.0625)
    assert result.alpha["w"] == pytest.approx(-0.25)


@pytest.fixture(scope="module")
def quadratics():
    """theta, (A, a) of the support and (B, b) of the query, in five dimensions."""
    a, b = normal(5, 5, seed=1), normal(5, 5, seed=2)
    return (
        normal(5, seed=3),
        (a @ a.mT, normal(5, seed=4)),
        (b @ b.mT, normal(5, seed=5)),
    )


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_closed_form_of_maml(quadratics, steps):
    """g = (I - alpha A)^v B (w_v - b)."""
    theta, (big_a, a), (big_b, b) = quadratics
    alpha = 0.03
    decay = torch.linalg.matrix_power(
        torch.eye(5, dtype=torch.float64) - alpha * big_a, steps
    )
    adapted = a + decay @ (theta - a)
    query_slope = big_b @ (adapted - b)
    batches = [quadratic_batch(big_a, a)] * steps
    args = quadratic_loss, {"w": theta}, batches, quadratic_batch(big_b, b), alpha
    ours = descend(quadratic_loss, {"w": theta}, batches, alpha)["w"]
    torch.testing.assert_close(ours, adapted, **EXACT)
    torch.testing.assert_close(
        meta_gradient(*args).theta["w"], decay @ query_slope, **EXACT
    )
    torch.testing.assert_close(
        meta_gradient(*args, hessians=FIRST_ORDER).theta["w"], query_slope, **EXACT
    )


def test_closed_form_of_meta_sgd(quadratics):
    """g_theta = (I - A diag(alpha)) v, g_alpha = -(A (theta - a)) * v."""
    theta, (big_a, a), (big_b, b) = quadratics
    alpha = 0.02 * normal(5, seed=6)  # negative ones too
    slope = big_a @ (theta - a)
    v = big_b @ (theta - alpha * slope - b)
    support, query = [quadratic_batch(big_a, a)], quadratic_batch(big_b, b)
    ours = meta_gradient(
        quadratic_loss, {"w": theta}, support, query, {"w": alpha}, learn_alpha=True
    )
    torch.testing.assert_close(ours.theta["w"], v - big_a @ (alpha * v), **EXACT)
    torch.testing.assert_close(ours.alpha["w"], -slope * v, **EXACT)


def test_closed_form_of_local_training(quadratics):
    """K steps on |theta - c|² / 2 end at c + (1 - lr)^K (theta - c)."""
    theta, (_, c), _ = quadratics
    batch = quadratic_batch(torch.eye(5, dtype=torch.float64), c)
    trained, seen = train(quadratic_loss, {"w": theta}, [batch] * 7, sgd(0.1))
    torch.testing.assert_close(trained["w"], c + 0.9**7 * (theta - c), **EXACT)
    losses = [0.9 ** (2 * k) * (theta - c).square().sum() / 2 for k in range(7)]
    torch.testing.assert_close(seen, torch.stack([sum(losses), seen.new_tensor(7)]))


NETWORKS = {
    "tanh": (tanh_net(), FEATURES),
    "convolution": (smooth_convolution(), 16),
    # Kinks are of measure zero; at this point none is within reach of the steps.
    "cnn": (
        femnist_cnn(channels=(1, 2), hidden=3, classes=CLASSES, image_size=4),
        16,
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """loss, theta, alpha, batches of two sizes to take steps on, query batch."""
    model, features = NETWORKS[request.param]
    theta = tree_map(lambda p: p.double(), model.init(1))
    alpha = tree_map(lambda p: 0.2 * torch.rand_like(p) + 0.05, theta)
    batches = [labelled(n, seed=n, features=features) for n in (6, 5, 6)]
    return model.loss, theta, alpha, batches, labelled(7, seed=9, features=features)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_finite_differences(network, steps):
    loss, theta, alpha, batches, query = network
    batches = batches[:steps]

    def adapted_loss(theta, alpha):
        return float(loss(descend(loss, theta, batches, alpha), query))

    ours = meta_gradient(loss, theta, batches, query, alpha, learn_alpha=True)
    wanted = finite_differences(lambda p: adapted_loss(p, alpha), theta)
    assert_trees_close(ours.theta, wanted, rtol=0, atol=1e-6)
    wanted = finite_differences(lambda a: adapted_loss(theta, a), alpha)
    assert_trees_close(ours.alpha, wanted, rtol=0, atol=1e-6)
    ours = meta_gradient(loss, theta, batches, query, 0.1)
    wanted = finite_differences(lambda p: adapted_loss(p, 0.1), theta)
    assert_trees_close(ours.theta, wanted, rtol=0, atol=1e-6)


def unrolled(loss, theta, batches, query, alpha):
    """The textbook's way: autograd through the inner loop."""
    theta, alpha = (
        {n: p.clone().requires_grad_() for n, p in tree.items()}
        for tree in (theta, alpha)
    )
    adapted = theta
    for batch in batches:
        slopes = torch.autograd.grad(
            loss(adapted, batch), adapted.values(), create_graph=True
        )
        adapted = {
            n: p - alpha[n] * s
            for (n, p), s in zip(adapted.items(), slopes, strict=True)
        }
    leaves = [*theta.values(), *alpha.values()]
    gradients = torch.autograd.grad(loss(adapted, query), leaves)
    size = len(theta)
    return (
        dict(zip(theta, gradients[:size], strict=True)),
        dict(zip(alpha, gradients[size:], strict=True)),
    )


@pytest.mark.parametrize("chunk", [None, 4, 1])
@pytest.mark.parametrize("steps", [1, 3])
def test_unrolled_autograd_and_chunks(network, steps, chunk):
    loss, theta, alpha, batches, query = network
    ours = meta_gradient(
        loss, theta, batches[:steps], query, alpha, learn_alpha=True, chunk=chunk
    )
    for_theta, for_alpha = unrolled(loss, theta, batches[:steps], query, alpha)
    assert_trees_close(ours.theta, for_theta, **EXACT)
    assert_trees_close(ours.alpha, for_alpha, **EXACT)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_second_order_is_not_first_order(network, steps):
    """Fails where the graph is cut between the steps: the commonest mistake."""
    loss, theta, _, batches, query = network
    args = loss, theta, batches[:steps], query, 0.2
    exact = flat(meta_gradient(*args).theta)
    first = flat(meta_gradient(*args, hessians=FIRST_ORDER).theta)
    assert (exact - first).norm() > 0.01 * exact.norm()


def test_gradients_of_theta_and_alpha_differ(network):
    """Fails where one is handed out for the other."""
    loss, theta, alpha, batches, query = network
    result = meta_gradient(loss, theta, batches, query, alpha, learn_alpha=True)
    for_theta, for_alpha = flat(result.theta), flat(result.alpha)
    assert (for_theta - for_alpha).norm() > 0.1 * for_theta.norm()


@pytest.mark.parametrize("hessians", [Hessians(), FIRST_ORDER, Hessians(last=1)])
def test_constant_step_sizes_give_mamls_gradient(network, hessians):
    loss, theta, _, batches, query = network
    constant = tree_map(lambda p: torch.full_like(p, 0.2), theta)
    args = loss, theta, batches, query
    number = meta_gradient(*args, 0.2, hessians=hessians)
    tree = meta_gradient(*args, constant, hessians=hessians)
    assert_trees_close(tree.theta, number.theta, **EXACT)


def test_without_curvature_first_order_is_exact():
    theta = {"w": normal(FEATURES, seed=1)}
    args = linear_loss, theta, [labelled(4, 1), labelled(3, 2)], labelled(5, 3), 0.3
    exact, first = meta_gradient(*args), meta_gradient(*args, hessians=FIRST_ORDER)
    torch.testing.assert_close(exact.theta, first.theta, rtol=0, atol=0)


def test_hessians_by_hand():
    # theta 1, two steps of .5 towards 0: adapted .25; query target 0: slope .25. Each
    # Hessian is 1, so that a kept one halves what comes back.
    support = [scalar_batch(0.0)] * 2
    args = scalar_loss, one(1.0), support, scalar_batch(0.0), 0.5

    def slope(**options):
        return float(meta_gradient(*args, hessians=Hessians(**options)).theta["w"])

    assert slope() == pytest.approx(0.0625)
    assert slope(last=0) == pytest.approx(0.25)
    assert slope(last=1) == pytest.approx(0.125)
    assert slope(last=2) == slope(last=7) == pytest.approx(0.0625)
    assert slope(difference=0.1) == pytest.approx(0.0625)  # a quadratic: no error
    assert slope(last=1, difference=0.1) == pytest.approx(0.125)


def test_truncated_keeps_the_last_factors(network):
    """The gradient of going on from where the last steps begin, held fixed."""
    loss, theta, _, batches, query = network
    ours = meta_gradient(loss, theta, batches, query, 0.2, hessians=Hessians(last=2))
    there = descend(loss, theta, batches[:1], 0.2)
    wanted = meta_gradient(loss, there, batches[1:], query, 0.2)
    assert_trees_close(ours.theta, wanted.theta, **EXACT)


@pytest.mark.parametrize("chunk", [None, 2])
def test_hessian_free_tends_to_exact(network, chunk):
    loss, theta, _, batches, query = network
    args = loss, theta, batches, query, 0.2
    exact = flat(meta_gradient(*args).theta)
    errors = []
    for width in (1e-2, 1e-3):
        free = Hessians(difference=width)
        rough = flat(meta_gradient(*args, hessians=free, chunk=chunk).theta)
        errors.append(float((rough - exact).norm() / exact.norm()))
    assert errors[1] < 1e-5
    # An error of second order falls a hundredfold; at a kink there is none at all.
    assert errors[1] < 0.05 * errors[0] or errors[0] < 1e-8


@pytest.mark.parametrize("difference", [None, 1e-5])
def test_hessians_of_other_batches(quadratics, difference):
    """(I - alpha C) B (theta_u - b), where C is the Hessian of the other batch."""
    theta, (big_a, a), (big_b, b) = quadratics
    other = normal(5, 5, seed=8)
    other = other @ other.T
    support, query = [quadratic_batch(big_a, a)], quadratic_batch(big_b, b)
    ours = meta_gradient(
        quadratic_loss,
        {"w": theta},
        support,
        query,
        0.1,
        curvature=[quadratic_batch(other, a)],
        hessians=Hessians(difference=difference),
    )
    slope = big_b @ (theta - 0.1 * big_a @ (theta - a) - b)
    wanted = slope - 0.1 * other @ slope
    torch.testing.assert_close(ours.theta["w"], wanted, rtol=1e-8, atol=1e-8)


def test_plan_goes_over_the_support_in_order():
    support = scalar_batch(0, 1, 2, 3, 4)
    sizes = [b.x.tolist() for b in Plan(epochs=2, batch_size=2).batches(support)]
    assert sizes == [[0, 1], [2, 3], [4]] * 2
    assert [b.x.tolist() for b in Plan(epochs=3).batches(support)] == [
        [0, 1, 2, 3, 4]
    ] * 3


def test_batches_of_padding_leave_adam_where_it_was():
    """A client padded to another's number of batches stands still in the surplus."""
    full = Batch(torch.ones(2).double(), torch.zeros(2).long(), torch.ones(2).double())
    empty = full._replace(mask=torch.zeros(2).double())
    alone, seen = train(scalar_loss, one(3.0), [full, full], adam(0.1))
    padded, seen_too = train(
        scalar_loss, one(3.0), [full, empty, full, empty], adam(0.1)
    )
    assert_trees_close(padded, alone, rtol=0, atol=0)
    torch.testing.assert_close(seen, seen_too, rtol=0, atol=0)
