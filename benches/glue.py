#!/usr/bin/env python3
"""The job that skewd replaces, as it is usually glued together: orjson, a running standardiser, torch.

Usage: python3 benches/glue.py STREAM.jsonl [--skewd target/release/skewd] [--rounds 3]
       python3 benches/glue.py --make STREAM.jsonl [--rows 200000]
Needs numpy, orjson and torch. Both sides read JSON lines of 30 numeric features and a label, standardise them with
running moments, predict each batch of 128 before it is learned, and train an MLP 30-128-64-2 with the ABSGD weights
and momentum, in f32, with one training thread. The rounds alternate, and the ratio of the medians is printed: on a
shared machine only ratios within one run mean something.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
import time

FEATURES, BATCH, HIDDEN = 30, 128, (128, 64)
LAMBDA, GAMMA, RATE, MOMENTUM, CLIP, CAP = 5.0, 0.1, 0.05, 0.9, 1.0, 10.0


def make(path, rows):
    """A stream whose rare class (1 in 100) is separable, but not trivially."""
    rng = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(rows):
            rare = rng.random() < 0.01
            row = {f"f{i}": round(rng.gauss(0.6 if rare and i < 8 else 0.0, 1.0), 4) for i in range(FEATURES)}
            row["label"] = "fraud" if rare else "ok"
            out.write(json.dumps(row) + "\n")


def glue(path):
    import numpy as np
    import orjson
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    widths = (FEATURES, *HIDDEN, 2)
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += [torch.nn.Linear(a, b)] + ([torch.nn.ReLU()] if i + 2 < len(widths) else [])
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    cross_entropy = torch.nn.CrossEntropyLoss(reduction="none")
    names = [f"f{i}" for i in range(FEATURES)]
    count, mean, spread = 0, np.zeros(FEATURES), np.zeros(FEATURES)
    s, step, right, seen = 0.0, 0, 0, 0
    rows, labels = [], []

    def learn():
        nonlocal count, mean, spread, s, step, right, seen
        x = np.array(rows, dtype=np.float64)
        deviation = np.sqrt(spread / max(count, 1))
        deviation[deviation == 0] = np.inf
        inputs = torch.from_numpy(np.clip((x - mean) / deviation, -8, 8).astype(np.float32))
        target = torch.tensor(labels)
        logits = model(inputs)
        losses = cross_entropy(logits, target)
        right += int((logits.argmax(1) == target).sum())
        seen += len(rows)
        with torch.no_grad():
            step += 1
            rate = GAMMA / (1 - (1 - GAMMA) ** step)
            raised = torch.exp(losses / LAMBDA)
            s = (1 - rate) * s + rate * float(raised.mean())
            weights = torch.clamp(raised / s, max=CAP)
        optimizer.zero_grad()
        (weights * losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        fresh = x.mean(0) - mean
        total = count + len(rows)
        spread += ((x - x.mean(0)) ** 2).sum(0) + fresh**2 * count * len(rows) / total
        mean, count = mean + fresh * len(rows) / total, total

    with open(path, "rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            rows.append([record[name] for name in names])
            labels.append(1 if record["label"] == "fraud" else 0)
            if len(rows) == BATCH:
                learn()
                rows, labels = [], []
    return seen, right / max(seen, 1)


def ours(skewd, path):
    settings = [
        "model.hidden=[128,64]",
        f"learner.batch_size={BATCH}",
        "schema.encoding=standard",
        "schema.recent_shares=false",
    ]
    arguments = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([skewd, "replay", path, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stream")
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skewd", default="target/release/skewd")
    options = parser.parse_args()
    if options.make:
        make(options.stream, options.rows)
        return
    glued, skewd = [], []
    for _ in range(options.rounds):
        begun = time.perf_counter()
        ours(options.skewd, options.stream)
        skewd.append(time.perf_counter() - begun)
        # A process of its own, as a user would start it; its imports are not counted.
        code = f"import sys, time; sys.path.insert(0, {sys.path[0]!r}); import glue, torch, orjson, numpy; " \
               f"t = time.perf_counter(); print(*glue.glue({options.stream!r}), time.perf_counter() - t)"
        seen, accuracy, seconds = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
        glued.append(float(seconds))
        print(f"skewd {skewd[-1]:.2f} s, glue {glued[-1]:.2f} s ({seen} examples, accuracy {float(accuracy):.4f})")
    a, b = statistics.median(skewd), statistics.median(glued)
    print(f"median: skewd {a:.2f} s, glue {b:.2f} s; skewd is {b / a:.2f} times as fast")


if __name__ == "__main__":
    main()
