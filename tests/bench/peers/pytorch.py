"""Hand-written PyTorch: the table as uint8 tensors, eager steps, fused Adam."""

import numpy as np
import torch
from common import DEVICE, HELD_OUT, Stopwatch, arguments, mnist
from torch import nn

options = arguments()
place = "cuda" if DEVICE == "gpu" else "cpu"
x, y, x_test, y_test = mnist()
x, x_test = torch.tensor(x, device=place), torch.tensor(x_test, device=place)
y, y_test = (torch.tensor(each.astype(np.int64), device=place) for each in (y, y_test))
split = len(x) - HELD_OUT

watch = Stopwatch()
torch.manual_seed(0)
model = nn.Sequential(
    nn.Linear(784, 350), nn.ReLU(), nn.Linear(350, 50), nn.ReLU(), nn.Linear(50, 10)
)
for layer in model[::2]:
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
model = model.to(place)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7, fused=True)
cross_entropy = nn.CrossEntropyLoss()


def pixels(rows: torch.Tensor) -> torch.Tensor:
    return rows.float().div_(255)


@torch.no_grad()
def score(rows: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    logits = model(pixels(rows))
    return float(cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


for _ in range(options.epochs):
    loss_sum, hits = torch.zeros((), device=place), torch.zeros((), dtype=torch.int64, device=place)
    for batch in torch.randperm(split, device=place).split(options.batch_size):
        optimizer.zero_grad(set_to_none=True)
        logits = model(pixels(x[batch]))
        loss = cross_entropy(logits, y[batch])
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(batch)
        hits += (logits.argmax(1) == y[batch]).sum()
    history = float(loss_sum) / split, float(hits) / split, *score(x[split:], y[split:])
    watch.epoch_ended()
watch.report(lambda: score(x_test, y_test)[1])
