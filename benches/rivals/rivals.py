#!/usr/bin/env python3
"""Windowed PR-AUC of the rare classes, in one pass, of what a user might take instead of skewd.

usage: FOLDER/bin/python benches/rivals/rivals.py DATA_FOLDER [--seeds N] [--only TEXT] [--streams A,B] [--results FILE.jsonl]

The streams are those of benches/streams.py, and each row is predicted before it is learned. A rival has a few settings and is
shown at the best of them, chosen afterwards and a stream at a time; skewd runs as it comes. Before a stream's rivals run, the
figure is computed from the predictions that `skewd replay` wrote, and must be the one in its report. Rivals know all classes
beforehand, skewd discovers them. The second table has the settings and the processor seconds of one run, without reading the
file (skewd's include it). --only takes the rivals whose name contains TEXT. Runs that --results holds are not repeated. SKEWD
names another binary.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time

from figures import Stream, windowed_pr_auc_rare, written

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from streams import STREAMS, replay  # noqa: E402

TOLERANCE = 1e-6
MODULES = ["in_river", "in_moa", "in_vw", "in_torch"]


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def served(stream, path, limit, seed):
    """skewd's figure, computed here and compared with its report, and its processor seconds without written predictions."""
    binary = os.environ.get("SKEWD", "target/release/skewd")
    begun = children_seconds()
    replay(binary, path, limit, [f"seed={seed}"])
    seconds = children_seconds() - begun
    with tempfile.NamedTemporaryFile(suffix=".csv") as predictions:
        report = replay(binary, path, limit, [f"seed={seed}"], "--predictions", predictions.name)
        score = windowed_pr_auc_rare(stream.labels, written(predictions.name, stream))
    reported = report["learners"][0]["windowed"]["pr_auc_rare"]
    if abs(score - reported) > TOLERANCE:
        sys.exit(f"{path}: {score} from the predictions, {reported} in the report")
    return score, seconds


def measured(module, rival, setting, stream, seed, answers):
    """Runs in a process of its own."""
    run = importlib.import_module(module).RIVALS[rival][setting]
    begun = time.process_time()
    scores = run(stream, seed)
    seconds = time.process_time() - begun
    answers.put((windowed_pr_auc_rare(stream.labels, scores), seconds))


def in_a_process(*task):
    # Forked processes share neither a JVM nor torch's threads; the parent has imported none of them.
    answers = multiprocessing.get_context("fork").Queue()
    process = multiprocessing.get_context("fork").Process(target=measured, args=(*task, answers))
    process.start()
    while process.is_alive() and answers.empty():
        time.sleep(0.05)
    answer = answers.get(timeout=5) if process.exitcode in (None, 0) else (None, 0.0)
    process.join()
    return answer


class Results:
    """What was measured, by stream, rival, setting and seed; appended to a file where one is named."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    *key, score, seconds = json.loads(line)
                    self.known[tuple(key)] = score, seconds

    def of(self, key, measure, *arguments):
        if key not in self.known:
            self.known[key] = measure(*arguments)
            score, seconds = self.known[key]
            print(*key, "failed" if score is None else f"{score:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
            if self.path:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps([*key, score, seconds]) + "\n")
        return self.known[key]


def short(seconds):
    return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"


def best(runs):
    """The best setting by its mean over the seeds: figure, name, seconds; None where all failed."""
    means = []
    for setting, pairs in runs.items():
        if all(score is not None for score, _ in pairs):
            means.append((sum(p[0] for p in pairs) / len(pairs), setting, sum(p[1] for p in pairs) / len(pairs)))
    return max(means, default=None)


def measure(name, path, limit, rivals, results, seeds):
    """Per rival, `served` first, what `best` gives on one stream."""
    stream = Stream(path, limit)
    pairs = [results.of((name, "served", "", seed), served, stream, path, limit, seed) for seed in seeds]
    row = [best({"as it comes": pairs})]
    for rival, (module, settings) in rivals.items():
        runs = {}
        for setting in settings:
            tasks = [((name, rival, setting, seed), (module, rival, setting, stream, seed)) for seed in seeds]
            runs[setting] = [results.of(key, in_a_process, *task) for key, task in tasks]
        row.append(best(runs))
    return row


def show(columns, rows):
    """Figures, the best of a line in bold; then settings and seconds."""
    head = "| stream | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|"
    print(head)
    for name, row in rows.items():
        top = max(cell[0] for cell in row if cell)
        figures = ((f"**{cell[0]:.3f}**" if cell[0] == top else f"{cell[0]:.3f}") if cell else "failed" for cell in row)
        print(f"| {name} | " + " | ".join(figures) + " |")
    print(f"\n{head}")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{cell[1]} ({short(cell[2])})" if cell else "failed" for cell in row) + " |")


def listed():
    """Every rival with its module and the names of its settings."""
    found = {}
    for module in MODULES:
        for rival, settings in importlib.import_module(module).RIVALS.items():
            found[rival] = module, list(settings)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--streams", default=",".join(name for name, _ in STREAMS))
    parser.add_argument("--results")
    options = parser.parse_args()
    rivals = multiprocessing.get_context("fork").Pool(1).apply(listed)
    rivals = {name: of for name, of in rivals.items() if options.only in name}
    results, rows = Results(options.results), {}
    for name, limit in STREAMS:
        path = os.path.join(options.folder, f"{name}.csv")
        if name not in options.streams.split(","):
            continue
        if os.path.exists(path):
            rows[name] = measure(name, path, limit, rivals, results, range(1, options.seeds + 1))
        else:
            print(f"{name}: {path} is not there")
    show(["served", *rivals], rows)


if __name__ == "__main__":
    main()
