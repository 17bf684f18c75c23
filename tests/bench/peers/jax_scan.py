"""Hand-written JAX: the table as uint8 arrays, one jitted scan over the batches of an epoch."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from common import HELD_OUT, Stopwatch, arguments, mnist

options = arguments()
x, y, x_test, y_test = (jnp.asarray(array) for array in mnist())
split = len(x) - HELD_OUT
steps = split // options.batch_size  # the batch size has to divide the rows

watch = Stopwatch()
rng = np.random.default_rng(0)


def glorot(rows: int, columns: int) -> jax.Array:
    limit = np.sqrt(6 / (rows + columns))
    return jnp.asarray(rng.uniform(-limit, limit, (rows, columns)), jnp.float32)


def forward(weights, rows):
    rows = rows.astype(jnp.float32) / 255
    for kernel, bias in weights[:-1]:
        rows = jax.nn.relu(rows @ kernel + bias)
    kernel, bias = weights[-1]
    return rows @ kernel + bias


def score(weights, rows, labels):
    logits = forward(weights, rows)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None].astype(int), 1)
    return -chosen.mean(), (logits.argmax(1) == labels).mean()


def adam(weight, mean, square, rate):
    return weight - rate * mean / (jnp.sqrt(square) + 1e-7)


def step(state, batch):
    weights, means, squares, count = state
    gradient = jax.value_and_grad(score, has_aux=True)
    scores, slopes = gradient(weights, x[batch], y[batch])
    count += 1
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, slopes)
    squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, slopes)
    rate = 0.001 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(partial(adam, rate=rate), weights, means, squares)
    return (weights, means, squares, count), scores


@partial(jax.jit, donate_argnums=0)
def epoch(state, order):
    state, (losses, accuracies) = jax.lax.scan(step, state, order)
    return state, (losses.mean(), accuracies.mean(), *score(state[0], x[split:], y[split:]))


sizes = [784, 350, 50, 10]
weights = [(glorot(m, n), jnp.zeros(n)) for m, n in pairwise(sizes)]
state = (
    weights,
    jax.tree.map(jnp.zeros_like, weights),
    jax.tree.map(jnp.zeros_like, weights),
    jnp.float32(0),
)
for _ in range(options.epochs):
    order = rng.permutation(split).astype(np.int32)
    state, history = epoch(state, order[: steps * options.batch_size].reshape(steps, -1))
    history = [float(value) for value in history]
    watch.epoch_ended()
watch.report(lambda: score(state[0], x_test, y_test)[1])
