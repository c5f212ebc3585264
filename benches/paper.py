#!/usr/bin/env python3
"""The paper's comparison in one pass: λ, losses and class weights inside the exponent, on shuttle and on long-tailed images.

usage: benches/paper.py FOLDER [--seeds N] [--streams shuttle,images] [SETTING=VALUE ...]

All thirty combinations of λ = inf, 10, 5, 2, 1, of cross-entropy, focal loss and LDAM, without and with class weights by effective
number, learn side by side (`skewd replay --grid`): an MLP 64-64 under momentum SGD on standardised inputs. Each cell is the windowed
PR-AUC of the rare classes and the windowed balanced accuracy of the most probable class, means over the seeds 1 to N; λ = inf is SGD.
FOLDER holds shuttle.csv and cifar10_lt100_train.bin (records of a label byte and 3,072 bytes as in CIFAR-10's binary files; what
is missing is named and left out). The images are learned as the means of 2 x 2 pixels, 768 numbers. SKEWD names another binary.
"""

import argparse
import csv
import os
import tempfile

from streams import replay

LAMBDAS = ["inf", "10", "5", "2", "1"]
LOSSES = {"cross_entropy": "CE", "focal": "focal", "ldam": "LDAM"}
BALANCES = {"off": "", "inside": ", class weights"}
GRID = {"learner.lambda": LAMBDAS, "loss.kind": list(LOSSES), "loss.class_balanced": list(BALANCES)}
LEARNER = ["learner.mode=single", "schema.encoding=standard", "schema.recent_shares=false", "loss.focal_gamma=1"]
# The few images are learned in more and smaller steps.
OF_STREAM = {"shuttle": [], "images": ["learner.batch_size=16", "learner.learning_rate=0.02"]}
SIDE, RECORD = 32, 3073
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def images(source, target):
    """Writes the images as CSV: the mean of each 2 x 2 pixels of each colour, and the class."""
    half = SIDE // 2
    with open(source, "rb") as file, open(target, "w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow([*(f"p{index}" for index in range(3 * half * half)), "label"])
        while record := file.read(RECORD):
            values = []
            for line in range(0, 3 * SIDE, 2):
                above, below = (record[1 + (line + next_) * SIDE : 1 + (line + next_ + 1) * SIDE] for next_ in (0, 1))
                sums = [a + b for a, b in zip(above, below)]
                values += [(left + right) / 4 for left, right in zip(sums[::2], sums[1::2])]
            rows.writerow([*values, CLASSES[record[0]]])


def measure(path, settings, seeds):
    """Per combination its figures under every seed."""
    binary = os.environ.get("SKEWD", "target/release/skewd")
    grid = [part for key, values in GRID.items() for part in ("--grid", f"{key}={','.join(values)}")]
    found = {}
    for seed in range(1, seeds + 1):
        for learner in replay(binary, path, None, [f"seed={seed}", *settings], *grid)["learners"]:
            of = learner["settings"]
            # A finite lambda is a number in the report.
            temper = of["learner.lambda"] if of["learner.lambda"] == "inf" else f"{of['learner.lambda']:g}"
            figures = learner["windowed"]["pr_auc_rare"], learner["windowed"]["balanced_accuracy"]
            found.setdefault((of["loss.kind"], of["loss.class_balanced"], temper), []).append(figures)
    return found


def show(found):
    print("| loss | " + " | ".join(f"λ = {temper}" for temper in LAMBDAS) + " |\n|---" + "|---" * len(LAMBDAS) + "|")
    for balance, suffix in BALANCES.items():
        for loss, name in LOSSES.items():
            rows = [found[loss, balance, temper] for temper in LAMBDAS]
            means = [[sum(part) / len(part) for part in zip(*row)] for row in rows]
            best = [max(mean[figure] for mean in means) for figure in (0, 1)]
            marked = (
                ", ".join(f"**{v:.3f}**" if v == top else f"{v:.3f}" for v, top in zip(mean, best)) for mean in means
            )
            print(f"| {name}{suffix} | " + " | ".join(marked) + " |", flush=True)
    for figure, what in enumerate(("PR-AUC", "balanced accuracy")):
        for balance, suffix in BALANCES.items():
            wins = ", ".join(f"λ = {temper} in {above(found, figure, balance, temper)}" for temper in LAMBDAS[1:])
            print(f"{what}{suffix}: above λ = inf under the same loss and seed: {wins}")
    print(flush=True)


def above(found, figure, balance, temper):
    """In how many of the pairs of one loss and one seed this λ is above SGD."""
    pairs = [
        (learner[figure], sgd[figure])
        for loss in LOSSES
        for learner, sgd in zip(found[loss, balance, temper], found[loss, balance, "inf"])
    ]
    return f"{sum(a > b for a, b in pairs)} of {len(pairs)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--streams", default="shuttle,images")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as work:
        for stream in options.streams.split(","):
            source = os.path.join(
                options.folder, {"shuttle": "shuttle.csv", "images": "cifar10_lt100_train.bin"}[stream]
            )
            if not os.path.exists(source):
                print(f"{stream}: {source} is not there")
                continue
            path = source
            if stream == "images":
                path = os.path.join(work, "images.csv")
                images(source, path)
            print(stream)
            show(measure(path, [*LEARNER, *OF_STREAM[stream], *options.settings], options.seeds))


if __name__ == "__main__":
    main()
