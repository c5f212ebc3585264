"""What the step of `benches/step.rs` costs in torch, on one thread: forward, cross-entropy of each row, weights, backward, norm,
AdamW or momentum. Microseconds a step, the best of twelve rounds.

    python benches/step_torch.py
"""

import time

import torch
from torch import nn

CASES = [
    ([57, 64, 64, 7], 1, "adam"),
    ([57, 64, 64, 7], 4, "adam"),
    ([57, 64, 64, 7], 16, "adam"),
    ([30, 128, 64, 2], 1, "adam"),
    ([30, 128, 64, 2], 4, "adam"),
    ([30, 128, 64, 2], 16, "adam"),
    ([30, 128, 64, 2], 128, "momentum"),
    ([54, 256, 128, 7], 128, "momentum"),
]
TEMPERATURE, GAMMA = 1.0, 0.1


def network(widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def optimizer(rule, parameters):
    if rule == "adam":
        # "fused" is the fastest of torch's three ways on the CPU
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4, fused=True)
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


def race(widths, rows, rule):
    torch.manual_seed(1)
    model = network(widths)
    optim = optimizer(rule, model.parameters())
    x = torch.rand(rows, widths[0]) * 2 - 1
    labels = torch.arange(rows) % widths[-1]
    average = torch.ones(())

    def step():
        nonlocal average
        losses = nn.functional.cross_entropy(model(x), labels, reduction="none")
        with torch.no_grad():
            raised = torch.exp(losses / TEMPERATURE)
            average = (1 - GAMMA) * average + GAMMA * raised.mean()
            weights = raised / average
        optim.zero_grad(set_to_none=True)
        (weights * losses).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e9, foreach=True)
        optim.step()

    steps = max(20, min(400, 4096 // rows))
    best = float("inf")
    for _ in range(12):
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        best = min(best, (time.perf_counter() - begin) / steps)
    return best


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}")
    for widths, rows, rule in CASES:
        name = "-".join(map(str, widths))
        print(f"{name:<17} {rows:>6}  {rule:<8} {race(widths, rows, rule) * 1e6:>10.1f} us")
