#!/usr/bin/env python3
"""Windowed PR-AUC of the rare classes on real streams, one line a stream.

usage: benches/streams.py FOLDER [SETTING=VALUE ...]

FOLDER holds the streams as CSV files (NAME.csv); those that are not there are left out and named. SKEWD names another binary.
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


def replay(binary, path, limit, settings):
    """The report of one replay."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [binary, "replay", path, "--report", report.name]
        command += ["--limit", str(limit)] if limit else []
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.load(open(report.name))


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
        report = replay(binary, path, limit, settings)
        scores = ", ".join(
            f"{learner['name']} {learner['windowed']['pr_auc_rare']:.3f}" for learner in report["learners"]
        )
        print(f"{name}: {report['examples_per_second'] / 1000:.0f} k/s; {scores}", flush=True)


if __name__ == "__main__":
    main()
