#!/usr/bin/env python3
"""Windowed PR-AUC of the rare classes on real streams, one line a stream.

usage: benches/streams.py FOLDER [--seeds N] [SETTING=VALUE ...]

With --seeds each stream is replayed under the seeds 1 to N, and means are shown, of the first learner with its range. FOLDER holds the streams as CSV files (NAME.csv); those that are not there are left out and named. SKEWD names another binary.
"""

import json
import os
import subprocess
import sys
import tempfile

STREAMS = [
    ("shuttle", None),
    ("gmsc", 100_000),
    ("bank_additional_full", None),
    ("noaa_weather", None),
    ("covertype_2v4_shuffled", 100_000),
    ("covertype_2v4", 100_000),
    ("covertype_7class_93k", 50_000),
    ("elec2", None),
    ("kddcup99_10pct", 50_000),
]


def replay(binary, path, limit, settings, *options):
    """The report of one replay."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [binary, "replay", path, "--report", report.name, *options]
        command += ["--limit", str(limit)] if limit else []
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.load(open(report.name))


def scores_of(reports):
    """Per learner, in the order of the reports, its scores under all seeds."""
    scores = {}
    for report in reports:
        for learner in report["learners"]:
            scores.setdefault(learner["name"], []).append(learner["windowed"]["pr_auc_rare"])
    return scores


def main():
    arguments = sys.argv[1:]
    seeds = 1
    if "--seeds" in arguments:
        at = arguments.index("--seeds")
        seeds = int(arguments[at + 1])
        del arguments[at : at + 2]
    if not arguments:
        sys.exit(__doc__)
    folder, settings = arguments[0], arguments[1:]
    binary = os.environ.get("SKEWD", "target/release/skewd")
    for name, limit in STREAMS:
        path = os.path.join(folder, f"{name}.csv")
        if not os.path.exists(path):
            print(f"{name}: {path} is not there")
            continue
        reports = [replay(binary, path, limit, [f"seed={seed + 1}", *settings]) for seed in range(seeds)]
        scores = scores_of(reports)
        speed = max(report["examples_per_second"] for report in reports)
        first = next(iter(scores.values()))
        means = ", ".join(f"{learner} {sum(of) / len(of):.3f}" for learner, of in scores.items())
        print(f"{name}: {speed / 1000:.0f} k/s; {means}; {min(first):.3f} to {max(first):.3f}", flush=True)


if __name__ == "__main__":
    main()
