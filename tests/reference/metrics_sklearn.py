#!/usr/bin/env python3
"""Writes tests/golden/metrics.json: small prediction streams and what scikit-learn says about them.

Usage: python3 tests/reference/metrics_sklearn.py > tests/golden/metrics.json
Needs numpy, scipy and scikit-learn (written with 1.9.1). The output is deterministic.
"""
import json
import warnings

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

warnings.filterwarnings("ignore")
WINDOWS, MINIMUM = 10, 5


def number(value):
    return None if value is None or np.isnan(value) else float(value)


def average(values):
    values = [v for v in values if v is not None]
    return float(np.mean(values)) if values else None


def rare_classes(counts):
    present = [c for c in range(len(counts)) if counts[c] > 0]
    smallest = min(present, key=lambda c: (counts[c], -c))
    below = [c for c in present if counts[c] < 0.05 * sum(counts)]
    return [smallest] if len(present) == 2 or not below else below


def figures(labels, rows, classes, rare, minimum):
    """The figures of one stretch of predictions; rows may be shorter than the number of classes."""
    labels = np.array(labels)
    scores = np.zeros((len(rows), classes), dtype=np.float32)
    for i, row in enumerate(rows):
        scores[i, : len(row)] = row
    predicted = np.array([int(np.argmax(np.float32(r))) if len(r) else -1 for r in rows])
    counts = np.bincount(labels, minlength=classes)
    counted = [c for c in range(classes) if counts[c] >= minimum]
    pr, roc, recall, precision = ([None] * classes for _ in range(4))
    for c in range(classes):
        if (predicted == c).any():
            precision[c] = number(precision_score(labels == c, predicted == c))
    for c in counted:
        recall[c] = number(recall_score(labels == c, predicted == c))
        if counts[c] < len(labels):
            pr[c] = number(average_precision_score(labels == c, scores[:, c]))
            roc[c] = number(roc_auc_score(labels == c, scores[:, c]))
    losses = [
        -np.log(max(float(np.float32(r[y])), 1e-15)) if y < len(r) else -np.log(1e-6)
        for y, r in zip(labels, rows)
    ]
    recalls = [recall[c] for c in counted]
    balanced = average(recalls)
    if minimum == 1:
        assert abs(balanced - balanced_accuracy_score(labels, predicted)) < 1e-12
    return {
        "pr_auc_rare": average([pr[c] for c in rare]),
        "pr_auc_macro": average(pr),
        "roc_auc_macro": average(roc),
        "balanced_accuracy": balanced,
        "g_mean": float(np.prod(recalls) ** (1 / len(recalls))) if recalls else None,
        "accuracy": float(accuracy_score(labels, predicted)),
        "log_loss": float(np.mean(losses)),
        "brier": half_squared_distance(labels, rows),
        "calibration_error": calibration_error(labels, rows),
        "pr_auc": pr,
        "roc_auc": roc,
        "recall": recall,
        "precision": precision,
    }


def windowed(labels, rows, classes, rare):
    n = len(labels)
    bounds = [w * n // WINDOWS for w in range(WINDOWS + 1)]
    parts = [
        figures(labels[a:b], rows[a:b], classes, rare, MINIMUM)
        for a, b in zip(bounds, bounds[1:])
        if a < b
    ]
    out = {}
    for key in parts[0]:
        if isinstance(parts[0][key], list):
            out[key] = [average([p[key][c] for p in parts]) for c in range(classes)]
        else:
            out[key] = average([p[key] for p in parts])
    return out


def calibration_error(labels, rows, bins=15):
    """Expected calibration error over bins of equal mass; ties are spread evenly over the borders that cut them."""
    top = sorted(
        (float(np.float32(max(r))), float(int(np.argmax(np.float32(r))) == y)) for y, r in zip(labels, rows) if len(r)
    )
    if not top:
        return None
    confidence = np.array([c for c, _ in top])
    hits = np.array([h for _, h in top])
    for value in np.unique(confidence):
        hits[confidence == value] = hits[confidence == value].mean()
    # Sums up to any place, whole rows and parts of them: a bin is a difference of two.
    places = np.arange(len(top) + 1)
    gaps = np.concatenate([[0.0], np.cumsum(hits - confidence)])
    borders = np.interp(np.linspace(0, len(top), bins + 1), places, gaps)
    return float(np.abs(np.diff(borders)).sum() / len(top))


def half_squared_distance(labels, rows):
    return float(
        np.mean(
            [
                (sum((float(np.float32(p)) - (k == y)) ** 2 for k, p in enumerate(r)) + (y >= len(r))) / 2
                for y, r in zip(labels, rows)
            ]
        )
    )


def wilson(labels, rows, classes):
    """Intervals of recall and of precision by class."""
    predicted = [int(np.argmax(np.float32(r))) if len(r) else -1 for r in rows]
    out = ([], [])
    for c in range(classes):
        hits = sum(p == y == c for p, y in zip(predicted, labels))
        for found, trials in zip(out, (sum(y == c for y in labels), sum(p == c for p in predicted))):
            ci = binomtest(hits, trials).proportion_ci(method="wilson") if trials else None
            found.append([float(ci.low), float(ci.high)] if ci else None)
    return out


def stream(rng, n, shares, digits, joins, signal):
    """Noisy predictions; class c is known from row joins[c] on. Rounded scores make ties.

    Classes below 10 % come in bursts, so that some windows hold five of them and some do not."""
    classes = len(shares)
    shares = np.array(shares)
    labels = []
    for i in range(n):
        now = np.where(shares < 0.1, shares * (3.0 if (i // 45) % 4 == 0 else 0.3), shares)
        labels.append(int(rng.choice(classes, p=now / now.sum())))
    rows = []
    for i, y in enumerate(labels):
        known = sum(1 for c in range(classes) if joins[c] <= i)
        logits = rng.normal(size=known) + np.log(shares[:known] + 1e-3)
        if y < known:
            logits[y] += signal
        p = np.exp(logits - logits.max()) if known else logits
        p = np.round(p / p.sum(), digits) if known else p
        rows.append([float(v) for v in p])
    return labels, rows


def main():
    rng = np.random.default_rng(20240917)
    cases = {
        "binary_rare": (2, *stream(rng, 400, [0.92, 0.08], 4, [0, 0], 1.5)),
        "binary_with_ties": (2, *stream(rng, 200, [0.8, 0.2], 1, [0, 0], 1.0)),
        "four_classes_joining_late": (
            4,
            *stream(rng, 500, [0.62, 0.3, 0.045, 0.035], 3, [2, 9, 40, 120], 2.5),
        ),
        "a_class_without_examples": (3, *stream(rng, 80, [0.5, 0.5, 0.0], 3, [0, 0, 0], 1.0)),
        "equal_scores": (2, [0, 1, 0, 0, 1, 0, 0, 0], [[0.5, 0.5]] * 8),
        "shorter_than_the_windows": (2, [0, 1, 0], [[], [0.75], [0.25, 0.75]]),
    }
    out = []
    for name, (classes, labels, rows) in cases.items():
        counts = np.bincount(labels, minlength=classes)
        rare = rare_classes([int(c) for c in counts])
        recall_interval, precision_interval = wilson(labels, rows, classes)
        if classes == 2 and all(len(r) == 2 for r in rows):
            second = np.array([np.float32(r[1]) for r in rows], dtype=float)
            first = np.array([np.float32(r[0]) for r in rows], dtype=float)
            both = brier_score_loss(np.array(labels) == 1, second) + brier_score_loss(np.array(labels) == 0, first)
            assert abs(half_squared_distance(labels, rows) - both / 2) < 1e-12
        out.append(
            {
                "name": name,
                "classes": classes,
                "labels": labels,
                "probabilities": rows,
                "metrics": figures(labels, rows, classes, rare, 1),
                "windowed": windowed(labels, rows, classes, rare),
                "recall_interval": recall_interval,
                "precision_interval": precision_interval,
            }
        )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in out)
    print(f"[\n{lines}\n]")


if __name__ == "__main__":
    main()
