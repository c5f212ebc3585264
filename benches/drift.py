#!/usr/bin/env python3
"""What the reactions to drift are worth (learner.drift_reaction), on streams that change and on real ones.

usage: benches/drift.py FOLDER [--seeds N] [SETTING=VALUE ...]

Two streams are made to change at once: from their 50,000th row on every number stands in the column of the one after it, so that
nothing that was learned holds any more. For those: average precision of the rare class over the 5,000 rows after the change,
and over the 5,000 after these. For the real ones: windowed PR-AUC of the rare classes. Means over the seeds 1 to N (3). FOLDER holds
the streams as CSV files (NAME.csv); those that are not there are left out and named. SKEWD names another binary.
"""

import argparse
import csv
import os
import subprocess
import tempfile

from streams import STREAMS, replay

REACTIONS = [
    ("none", ["learner.drift_reaction=none"]),
    ("rate 2", ["learner.drift_reaction=rate"]),
    ("rate 4", ["learner.drift_reaction=rate", "learner.drift_rate=4"]),
    ("statistics", ["learner.drift_reaction=statistics"]),
    ("forget", ["learner.drift_reaction=forget"]),
    ("challenger", ["learner.drift_reaction=challenger"]),
]
TURNED = ["gmsc", "covertype_2v4_shuffled"]
TURN, STRETCH = 50_000, 5_000
REAL = ["bank_additional_full", "noaa_weather", "covertype_2v4", "elec2", "kddcup99_10pct"]


def turned(path, out):
    """The first rows of a stream, its columns moved by one from the row `TURN` on; the names of the classes, the rare one last."""
    counts = {}
    with open(path) as rows, open(out, "w") as turned:
        reader, writer = csv.reader(rows), csv.writer(turned)
        names = next(reader)
        label = names.index("label") if "label" in names else len(names) - 1
        writer.writerow(names)
        for number, row in enumerate(reader):
            if number == TURN + 2 * STRETCH:
                break
            counts[row[label]] = counts.get(row[label], 0) + 1
            if number >= TURN:
                numbers = row[:label] + row[label + 1 :]
                numbers = numbers[1:] + numbers[:1]
                row = numbers[:label] + [row[label]] + numbers[label:]
            writer.writerow(row)
    return sorted(counts, key=counts.get, reverse=True)


def average_precision(rows):
    """Of pairs (score, is it one), equal scores counted together."""
    rows.sort(reverse=True)
    ones = sum(is_one for _, is_one in rows)
    total = found = seen = start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end][0] == rows[start][0]:
            end += 1
        more = sum(is_one for _, is_one in rows[start:end])
        found, seen = found + more, end
        total += more * found / seen
        start = end
    return total / ones


def after(binary, path, rare, settings):
    """Average precision in the two stretches after the turn."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as written:
        command = [binary, "replay", path, "--predictions", written.name]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(written.name) as lines:
            reader = csv.DictReader(lines)
            first = None
            rows = []
            for row in reader:
                first = first or row["learner"]
                if row["learner"] == first:
                    rows.append((float(row[f"p_{rare}"] or 0), row["label"] == rare))
    return [average_precision(rows[at : at + STRETCH]) for at in (TURN, TURN + STRETCH)]


def line(name, cells):
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def mean(values):
    return sum(values) / len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("settings", nargs="*")
    asked = parser.parse_args()
    binary = os.environ.get("SKEWD", "target/release/skewd")
    seeds = range(1, asked.seeds + 1)
    line("stream", [name for name, _ in REACTIONS])
    line("---", ["---"] * len(REACTIONS))
    for name in TURNED:
        path = os.path.join(asked.folder, f"{name}.csv")
        if not os.path.exists(path):
            print(f"{name} is not there: {path}")
            continue
        with tempfile.NamedTemporaryFile(suffix=".csv") as made:
            rare = turned(path, made.name)[-1]
            cells = []
            for _, reaction in REACTIONS:
                runs = [after(binary, made.name, rare, [f"seed={s}", *reaction, *asked.settings]) for s in seeds]
                cells.append(", ".join(f"{mean(part):.3f}" for part in zip(*runs)))
        line(f"{name}, turned", cells)
    limits = dict(STREAMS)
    for name in REAL:
        path = os.path.join(asked.folder, f"{name}.csv")
        if not os.path.exists(path):
            print(f"{name} is not there: {path}")
            continue
        cells = []
        for _, reaction in REACTIONS:
            runs = [replay(binary, path, limits[name], [f"seed={s}", *reaction, *asked.settings]) for s in seeds]
            cells.append(f"{mean([run['learners'][0]['windowed']['pr_auc_rare'] for run in runs]):.4f}")
        line(name, cells)


if __name__ == "__main__":
    main()
