#!/usr/bin/env python3
"""What is served against plain momentum SGD, and decisions by prior shift against training with logit adjustment.

usage: benches/decisions.py FOLDER [--seeds N] [--table plain|shift]

Two tables over the streams of benches/streams.py, means over the seeds 1 to N (1 without --seeds). The first: windowed PR-AUC of
the rare classes of `served` without settings, and of one learner under momentum SGD (cross-entropy, lambda = inf, inputs
standardised and nothing else), with a step size of .05 and batches of 64, and of .02 and 16; beside them the same learners on the
inputs that `served` has. The second: windowed balanced accuracy of the decisions, and windowed PR-AUC, of a learner trained on
cross-entropy and decided by `prior_shift`, and of the same learner trained with logit adjustment (loss.prior_adjustment=1) and
decided by the most probable class. FOLDER holds NAME.csv; those that are not there are left out and named. SKEWD names another
binary.
"""

import argparse
import os

from streams import STREAMS, replay

SMALL, LARGE = (
    ["learner.learning_rate=0.02", "learner.batch_size=16"],
    ["learner.learning_rate=0.05", "learner.batch_size=64"],
)
MOMENTUM = ["learner.mode=single", "learner.lambda=inf"]
PLAIN = ["schema.encoding=standard", "schema.recent_shares=false"]
ADJUSTED = ["loss.prior_adjustment=1"]
# The calibration of a portfolio would take the adjustment off again.
PORTFOLIO = ["learner.mode=portfolio"]
UNDONE = ["decision.calibration=off"]
SHIFT = ["decision.rule=prior_shift"]

LEARNERS = {
    "SGD": [*MOMENTUM, *LARGE],
    "SGD, λ = 5": ["learner.mode=single", "learner.lambda=5", *LARGE],
    "portfolio": PORTFOLIO,
}


class Runs:
    """Replays of one stream under the seeds 1 to N."""

    def __init__(self, path, limit, seeds):
        self.path, self.limit, self.seeds = path, limit, seeds
        self.binary = os.environ.get("SKEWD", "target/release/skewd")

    def first(self, *settings):
        """Per seed the first learner of the report: of a portfolio, what is served."""
        seeds = range(1, self.seeds + 1)
        return [replay(self.binary, self.path, self.limit, [f"seed={s}", *settings])["learners"][0] for s in seeds]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def ranked(learners):
    return mean(learner["windowed"]["pr_auc_rare"] for learner in learners)


def decided(learners):
    return mean(learner["decided"]["windowed"]["balanced_accuracy"] for learner in learners)


def plain(runs):
    """`served`, the two plain learners, and the same on the inputs that `served` has."""
    scores = [ranked(runs.first())]
    for inputs in (PLAIN, []):
        scores += [ranked(runs.first(*MOMENTUM, *size, *inputs)) for size in (LARGE, SMALL)]
    return [f"{score:.3f}" for score in scores] + ["yes" if scores[0] > max(scores[1:3]) else "no"]


def shift(runs):
    """Of each learner: balanced accuracy by argmax, by the shift, and trained with the adjustment; PR-AUC of the two trainings."""
    cells = []
    for settings in LEARNERS.values():
        argmax, shifted = runs.first(*settings), runs.first(*settings, *SHIFT)
        trained = runs.first(*settings, *ADJUSTED, *UNDONE)
        if any(a["windowed"] != b["windowed"] for a, b in zip(argmax, shifted)):
            raise SystemExit(f"{runs.path}: the rule of the decision changed a probability")
        mark = "" if decided(shifted) >= decided(trained) else " (less)"
        cells.append(f"{decided(argmax):.3f}, **{decided(shifted):.3f}**, {decided(trained):.3f}{mark}")
        cells.append(f"{ranked(shifted):.3f}, {ranked(trained):.3f}")
    return cells


TABLES = {
    "plain": (
        plain,
        ["served", ".05, 64", ".02, 16", ".05, 64, all inputs", ".02, 16, all inputs", "served above plain"],
    ),
    "shift": (shift, [f"{name}: {figure}" for name in LEARNERS for figure in ("argmax, shift, trained", "PR-AUC")]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", choices=TABLES)
    options = parser.parse_args()
    for table, (measure, columns) in TABLES.items():
        if options.table not in (None, table):
            continue
        print("| stream | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
        for name, limit in STREAMS:
            path = os.path.join(options.folder, f"{name}.csv")
            if not os.path.exists(path):
                print(f"{name}: {path} is not there")
                continue
            print(f"| {name} | " + " | ".join(measure(Runs(path, limit, options.seeds))) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
