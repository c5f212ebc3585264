#!/usr/bin/env python3
"""Checks the figures of a replay against scikit-learn.

Usage: python3 benches/agree_with_sklearn.py PREDICTIONS.csv REPORT.json
Needs numpy and scikit-learn. Recomputes the PR-AUC and ROC-AUC of every learner and class, over the whole
stream and over ten equal windows, from the predictions that `skewd replay --predictions` wrote, and compares
them with what `--report` says. Exits with 1 where a figure differs by more than 0.001 or is missing on one
side, and with 64 on wrong usage.
"""
import csv
import json
import sys
import warnings

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

TOLERANCE, WINDOWS, MINIMUM = 0.001, 10, 5


def read(path):
    """Per learner its labels and, per class, the scores (an empty cell scores 0)."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows)
        fixed = ["row", "learner", "label", "class", "weight"]
        if header[: len(fixed)] != fixed or not all(c.startswith("p_") for c in header[len(fixed) :]):
            sys.exit(f"{path}: unexpected header {header}")
        classes = [column[2:] for column in header[len(fixed) :]]
        learners = {}
        for row in rows:
            labels, scores = learners.setdefault(row[1], ([], []))
            labels.append(row[2])
            scores.append([np.float32(cell) if cell else np.float32(0) for cell in row[len(fixed) :]])
    return classes, {n: (np.array(l), np.array(s, dtype=np.float32)) for n, (l, s) in learners.items()}


def areas(labels, scores, minimum):
    """PR-AUC and ROC-AUC of one class, or None where it is undefined or below the minimum."""
    positives = int(labels.sum())
    if positives < max(minimum, 1) or positives == len(labels):
        return None, None
    return average_precision_score(labels, scores), roc_auc_score(labels, scores)


def windowed(labels, scores):
    bounds = [w * len(labels) // WINDOWS for w in range(WINDOWS + 1)]
    parts = [areas(labels[a:b], scores[a:b], MINIMUM) for a, b in zip(bounds, bounds[1:]) if a < b]
    means = []
    for area in (0, 1):
        defined = [part[area] for part in parts if part[area] is not None]
        means.append(float(np.mean(defined)) if defined else None)
    return means


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 64
    warnings.filterwarnings("ignore")
    classes, learners = read(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        report = json.load(file)
    reported = {learner["name"]: learner for learner in report["learners"]}
    if set(reported) != set(learners):
        print(f"learners differ: report {sorted(reported)}, predictions {sorted(learners)}")
        return 1
    compared, largest, failures = 0, 0.0, 0
    for name, (labels, scores) in learners.items():
        for index, cls in enumerate(classes):
            mine = labels == cls
            for part, expected in [
                ("metrics", areas(mine, scores[:, index], 1)),
                ("windowed", windowed(mine, scores[:, index])),
            ]:
                for figure, want in zip(("pr_auc", "roc_auc"), expected):
                    have = reported[name][part][figure].get(cls)
                    compared += 1
                    if have is None or want is None:
                        distance = 0.0 if have is want else float("inf")
                    else:
                        distance = abs(have - want)
                    largest = max(largest, distance)
                    if distance > TOLERANCE:
                        failures += 1
                        print(f"{name}: {part}.{figure}[{cls}] is {have}, scikit-learn says {want}")
    print(f"{compared} figures compared, largest difference {largest:.2e}, {failures} beyond {TOLERANCE}")
    return 1 if failures or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
