"""This machine's rate of matrix products in float32, GFLOP/s: the best of TensorFlow's."""

import json
import time

import tensorflow as tf

SIZE = 2048

a, b = tf.random.normal((SIZE, SIZE)), tf.random.normal((SIZE, SIZE))
best = float("inf")
for _ in range(40):
    began = time.perf_counter()
    tf.matmul(a, b)
    best = min(best, time.perf_counter() - began)
print(json.dumps({"gflops": 2 * SIZE**3 / best / 1e9}))
