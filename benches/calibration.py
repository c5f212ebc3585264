#!/usr/bin/env python3
"""What calibration gives and costs on real streams: each is replayed without and with it.

usage: benches/calibration.py FOLDER [SETTING=VALUE ...]

Calibration error (15 bins of equal mass of the top probability) and log-loss of what is served, from the written predictions
after the first tenth; windowed PR-AUC of the rare classes; balanced accuracy of the decisions by prior shift, windowed. FOLDER
holds the streams as CSV files (NAME.csv); those that are not there are left out and named. SKEWD names another binary.
"""

import csv
import math
import os
import sys
import tempfile

from streams import STREAMS, replay

BINS = 15


def served(path):
    """Of each served prediction after the first tenth: the label's probability, the top one, and whether that was right."""
    with open(path, newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        names = [name[2:] for name in header if name.startswith("p_")]
        first = len(header) - len(names)
        kept = [row for row in rows if row[1] == "served"]
    outcomes = []
    for row in kept[len(kept) // 10 :]:
        chances = [float(p) if p else 0.0 for p in row[first:]]
        top = max(chances)
        of_label = chances[names.index(row[2])]
        outcomes.append((of_label, top, names[chances.index(top)] == row[2]))
    return outcomes


def calibration_error(outcomes):
    """The mean distance between what was said and what happened, over bins of equal mass."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome[1])
    count, error = len(outcomes), 0.0
    for index in range(BINS):
        part = outcomes[index * count // BINS : (index + 1) * count // BINS]
        error += abs(sum(top for _, top, _ in part) - sum(right for _, _, right in part))
    return error / count


def measure(binary, path, limit, settings):
    """Calibration error, log-loss, PR-AUC and balanced accuracy of one replay."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as predictions:
        report = replay(binary, path, limit, settings, "--predictions", predictions.name)
        learner, outcomes = report["learners"][0], served(predictions.name)
    loss = -sum(math.log(max(of_label, 1e-12)) for of_label, _, _ in outcomes) / len(outcomes)
    decided = learner["decided"]["windowed"]["balanced_accuracy"]
    return calibration_error(outcomes), loss, learner["windowed"]["pr_auc_rare"], decided


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, settings = sys.argv[1], sys.argv[2:]
    binary = os.environ.get("SKEWD", "target/release/skewd")
    for name, limit in STREAMS:
        path = os.path.join(folder, f"{name}.csv")
        if not os.path.exists(path):
            print(f"{name}: {path} is not there")
            continue
        rule = ["decision.rule=prior_shift", *settings]
        off, on = (measure(binary, path, limit, [*rule, f"decision.calibration={state}"]) for state in ("off", "on"))
        pairs = (f"{before:.4f} → {after:.4f}" for before, after in zip(off, on))
        print(f"| {name} | " + " | ".join(pairs) + " |", flush=True)


if __name__ == "__main__":
    main()
