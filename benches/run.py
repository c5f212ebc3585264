#!/usr/bin/env python3
"""Measures what `docs/performance.md` promises and prints one table: `bash benches/run.sh` prepares everything it needs.

usage: python benches/run.py [--quick] [--only WORD]

Ratios are taken within this run, of processor time where it says so; absolute figures are for orientation. A row that cannot be
measured here (no Java, no Maven) says so. `--quick` takes fewer rounds, to try the script.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.environ.get("SKEWD", "target/release/skewd")
MLP = ["learner.mode=single", "schema.encoding=standard", "schema.recent_shares=false", "learner.batch_size=128", "model.hidden=[128,64]"]
LINEAR = [*MLP[:4], "model.kind=linear"]
ROWS = []
# Nanoseconds a record of the stages of `replay`, once they were measured.
STAGES = {}


def row(work, value, mark, met):
    """One line of the table; `met` is None where there is no mark."""
    ROWS.append((work, value, mark, {True: "yes", False: "no", None: ""}[met]))
    print(f"  {work}: {value} (mark: {mark})", file=sys.stderr, flush=True)


def at_least(work, figure, least, unit=" x"):
    shown = f"{figure:,.0f}" if unit == " /s" else f"{figure:.2f}"
    row(work, f"{shown}{unit}", f"{least:,}{unit}", figure >= least)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def used(*command):
    """Seconds of the clock and of processors that a command takes."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def replay(path, settings, *options):
    arguments = [part for setting in settings for part in ("--set", setting)]
    return used(BINARY, "replay", path, *options, *arguments)


def fastest(path, settings, rounds):
    """Examples a second, the reports at the end not counted."""
    rates = []
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        for _ in range(rounds):
            replay(path, settings, "--report", report.name)
            rates.append(json.load(open(report.name, encoding="utf-8"))["examples_per_second"])
    return max(rates)


def best(of, rounds):
    """The least of each figure over the rounds."""
    return [min(figures) for figures in zip(*(of() for _ in range(rounds)))]


def steps(options):
    """The step beside a loop by hand and beside torch."""
    torch = {}
    for line in output(sys.executable, f"{HERE}/step_torch.py").splitlines()[1:]:
        network, rows, rule, micros, _ = line.split()
        torch[network, int(rows), rule] = float(micros)
    for line in output("cargo", "bench", "--locked", "--quiet", "--bench", "step").splitlines():
        parts = line.split()
        if len(parts) != 8 or (parts[0], int(parts[1]), parts[2].lower()) not in torch:
            continue
        network, rows, rule, _, fused, hand, _, _ = parts
        rows, fused, hand = int(rows), float(fused), float(hand)
        wide = network == "30-128-64-2" and rows == 128
        name = f"step {network}, {rule}, batch {rows}"
        at_least(f"{name}: of a loop by hand", hand / fused, 0.75 if wide else 0.70)
        marks, beside = {1: 15, 4: 10, 16: 7, 128: 3.3}, torch[network, rows, rule.lower()] / fused
        if wide or rows < 128:
            at_least(f"{name}: beside torch, one thread", beside, marks[rows])
        else:
            row(f"{name}: beside torch, one thread", f"{beside:.2f} x", "", None)


def decoding(options, folder):
    """Decode and encode, beside orjson and the SIMD parsers."""
    bench = ["cargo", "bench", "--locked", "--quiet", "--bench", "stages", "--"]
    output(*bench, "--write", folder)
    everything = output(*bench, "--rounds", str(options.rounds * 3))
    text = everything.split("four decimals", 1)[1].split("\n\n", 1)[0]
    nanos = {name.strip(): float(value) for name, value in re.findall(r"^  (.+?)\s+([\d.]+) ns", text, re.M)}
    orjson = float(re.search(r": ([\d.]+) ns", output(sys.executable, f"{HERE}/stages_orjson.py", f"{folder}/short.jsonl")).group(1))
    flat = nanos["skewd: flat JSON, decode + encode standard"]
    of = lambda section, name: float(re.search(rf"{re.escape(section)}.*?{re.escape(name)}\s+([\d.]+) ns", everything, re.S).group(1))
    STAGES["read and decode"] = of("read JSON lines", "skewd: records of a file") + nanos["skewd: flat JSON, decode"]
    STAGES["learn"] = of("learn an example", "skewd: standard")
    simd = min(value for name, value in nanos.items() if name.startswith(("sonic-rs", "simd-json")))
    at_least("decode + encode, flat JSON: beside orjson alone", orjson / flat, 2.5)
    at_least("decode + encode, flat JSON: beside the fastest SIMD parser", simd / flat, 0.8)
    at_least("CSV beside flat JSON", flat / nanos["skewd: CSV, decode + encode standard"], 1.6)
    by_name = nanos["skewd: envelope by name, decode + encode standard"]
    at_least("envelope by position beside by name", by_name / nanos["skewd: envelope by position, decode + encode standard"], 2)
    at_least("robust beside standard", flat / nanos["skewd: flat JSON, decode + encode robust"], 0.4)


RIVAL = """
import json, sys, time
def rows(path):
    with open(path, "rb") as lines:
        for line in lines:
            yield line
def run_river(path):
    from river import linear_model, preprocessing
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for line in rows(path):
        record = json.loads(line)
        label = record.pop("label") == "fraud"
        model.predict_proba_one(record)
        model.learn_one(record, label)
def run_vowpal(path, form):
    from vowpalwabbit import Workspace
    Workspace(f"--quiet --loss_function logistic -d {path} {form}").finish()
def run_forest(path):
    from capymoa.classifier import AdaptiveRandomForestClassifier
    from capymoa.core import LabeledInstance
    from capymoa.stream import Schema
    names = [f"f{i}" for i in range(30)]
    schema = Schema.from_custom(features=[*names, "label"], target="label", categories={"label": ["ok", "fraud"]}, name="s")
    model = AdaptiveRandomForestClassifier(schema=schema, random_seed=1, ensemble_size=10)
    import numpy
    for line in rows(path):
        record = json.loads(line)
        instance = LabeledInstance.from_array(schema, numpy.array([record[name] for name in names]), int(record["label"] == "fraud"))
        model.predict_proba(instance)
        model.train(instance)
"""


def rival(call):
    """Processor seconds of a rival in a process of its own, imports not counted."""
    code = f"{RIVAL}\nimport river.linear_model, vowpalwabbit\n"
    code += f"begun = time.process_time()\n{call}\nprint(time.process_time() - begun)"
    return float(output(sys.executable, "-c", code).split()[-1])


def wabbit(path, count, folder):
    """The stream in the two forms that Vowpal Wabbit reads."""
    as_json, as_text = f"{folder}/vw.json", f"{folder}/vw.txt"
    with open(path, encoding="utf-8") as lines, open(as_json, "w") as first, open(as_text, "w") as second:
        for _, line in zip(range(count), lines):
            record = json.loads(line)
            label = 1 if record.pop("label") == "fraud" else -1
            first.write(json.dumps({"_label": label, **record}) + "\n")
            second.write(f"{label} | " + " ".join(f"{name}:{value}" for name, value in record.items()) + "\n")
    return as_json, as_text


def streams(options, folder):
    """Whole replays, beside what else reads the same records."""
    path, count = f"{folder}/stream.jsonl", 50_000 if options.quick else 200_000
    output(sys.executable, f"{HERE}/glue.py", "--make", path, "--rows", str(count))
    glue = output(sys.executable, f"{HERE}/glue.py", path, "--rounds", str(options.rounds), "--skewd", BINARY)
    at_least("replay, MLP: beside orjson + torch", float(re.search(r"skewd is ([\d.]+) times", glue).group(1)), 8)
    wall, work = best(lambda: replay(path, MLP), options.rounds)
    if STAGES:
        slower = 1e9 / max(STAGES.values())
        at_least("replay, MLP: of the slower of its two stages alone", fastest(path, MLP, options.rounds) / slower, 0.8)
    as_json, as_text = wabbit(path, count, folder)
    json_seconds = min(rival(f"run_vowpal({as_json!r}, '--json')") for _ in range(options.rounds))
    text_seconds = min(rival(f"run_vowpal({as_text!r}, '')") for _ in range(options.rounds))
    at_least("replay, MLP: beside Vowpal Wabbit's linear learner on JSON, a processor second", json_seconds / work, 2.5)
    few = 20_000
    short = f"{folder}/short_stream.jsonl"
    with open(path, encoding="utf-8") as lines, open(short, "w", encoding="utf-8") as out:
        out.writelines(line for _, line in zip(range(few), lines))
    river = rival(f"run_river({short!r})") / few
    at_least("replay, MLP: beside River's logistic regression, a processor second", river / (work / count), 20)
    linear_wall, linear_work = best(lambda: replay(path, LINEAR), options.rounds)
    at_least("replay, linear: million examples a second", count / linear_wall / 1e6, 1, " M/s")
    at_least("replay, linear: beside Vowpal Wabbit on its own text, a processor second", text_seconds / linear_work, 1)
    _, portfolio = best(lambda: replay(path, []), options.rounds)
    dearest = max(best(lambda of=of: replay(path, of), options.rounds)[1] for of in dearest_members())
    at_least("the portfolio beside its dearest member alone, a processor second", dearest / portfolio, 0.25)
    forest = rival(f"import capymoa.classifier\nbegun = time.process_time()\nrun_forest({short!r})") / few
    at_least("the portfolio beside a forest of ten trees, a processor second", forest / (portfolio / count), 5)
    return path, count, work / count


def kafka(path, count, replayed):
    """A real broker on the same machine: processor seconds of the daemon alone, beside those of `replay` on the same records."""
    what = "from Apache Kafka: of `replay`, a processor second of the daemon"
    if not (shutil.which("java") and shutil.which("mvn")):
        return row(what, "not measured: needs Java and Maven", "0.85 x", None)
    sys.path.insert(0, HERE)
    from restart import Daemon

    broker = subprocess.Popen(["bash", f"{HERE}/kafka-local.sh", "19092"], stdout=subprocess.PIPE, text=True)
    try:
        assert broker.stdout.readline().startswith("ready"), "no broker"
        output(BINARY, "produce", path, "--topic", "examples", "--brokers", "127.0.0.1:19092")
        settings = [*MLP, "source.kind=kafka", "kafka.topic=examples", "kafka.brokers=127.0.0.1:19092", "checkpoint.every_seconds=3600"]
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(folder, settings)
            daemon.wait_for(count // 128 * 128)
            fields = open(f"/proc/{daemon.process.pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()
            daemon.kill()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        at_least(what, replayed * count / seconds, 0.85)
    finally:
        broker.terminate()
        broker.wait()


def dearest_members():
    """Settings of each member of the built-in portfolio, alone: the dearest is what the table compares with."""
    with tempfile.TemporaryDirectory() as folder:
        little = f"{folder}/little.jsonl"
        with open(little, "w", encoding="utf-8") as out:
            out.writelines(f'{{"a":{i % 7},"b":{i % 5},"label":"{i % 2}"}}\n' for i in range(2000))
        report = f"{folder}/report.json"
        subprocess.run([BINARY, "replay", little, "--report", report], check=True, capture_output=True)
        learners = json.load(open(report, encoding="utf-8"))["learners"][1:]
    for learner in learners:
        if learner["name"].endswith("-average"):
            continue
        settings = {key: value for key, value in learner["settings"].items() if key.split(".")[0] in ("learner", "model", "loss")}
        settings["learner.mode"] = "single"
        settings.pop("learner.portfolio", None)
        yield [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def traffic(options):
    """Serving and ingest, from the table of `cargo bench --bench traffic`."""
    seconds = "1" if options.quick else "3"
    text = output("cargo", "bench", "--locked", "--quiet", "--bench", "traffic", "--", "--seconds", seconds, "--rounds", "2")
    cases = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 6 and re.fullmatch(r"[\d.]+", cells[1]):
            cases[cells[0]] = [float(cell) for cell in cells[1:6]]
    for name, (rate, median, late, _, learned) in cases.items():
        if name == "JSON, alone":
            at_least("predict, 32 connections, alone: a second", rate, 35_000, " /s")
            row("the same, 99th percentile", f"{late:.2f} ms", "2 ms", late < 2)
        elif name == "JSON, learning":
            at_least("predict, 32 connections, while learning at full speed: a second", rate, 10_000, " /s")
            row("the same, median and 99th percentile", f"{median:.2f}, {late:.2f} ms", "1, 10 ms", median < 1 and late < 10)
            row("the same, examples learned a second", f"{learned:,.0f}", "", None)
    for name, rate, syncs in re.findall(r"^(.+): (\d+) examples a second, durable.*?(\d+) such batches", text, re.M):
        who = name.removeprefix("ingest, ")
        at_least(f"durable ingest, {who}; the disk syncs {syncs} a second", float(rate), 200_000, " /s")


def freshness(options):
    sys.path.insert(0, HERE)
    import freshness as bench

    linger = 20
    _, late = bench.measure(200 if options.quick else 1000, 500.0, linger)
    row(f"a record sent to a prediction that knows it, 99th percentile, batch_linger_ms = {linger}", f"{late:.1f} ms", f"{linger + 20} ms", late < linger + 20)


def starting(options):
    text = output(sys.executable, f"{HERE}/restart.py", "--rounds", "1" if options.quick else "3", "--examples", "20000")
    for line in text.splitlines():
        row("restart and journal", line.strip(), "", None)


def sizes():
    with tempfile.NamedTemporaryFile() as stripped:
        output("strip", "-o", stripped.name, BINARY)
        size = os.path.getsize(stripped.name) / 1e6
    row("the binary, stripped", f"{size:.1f} MB", "25 MB", size < 25)


def table():
    processor = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), "unknown")
    print(f"{processor}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    print("| what | reached | to reach | met |\n|---|---|---|---|")
    for cells in ROWS:
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    options.rounds = 1 if options.quick else 3
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "steps": lambda: steps(options),
            "decoding": lambda: decoding(options, folder),
            "streams": lambda: kafka(*streams(options, folder)),
            "traffic": lambda: traffic(options),
            "freshness": lambda: freshness(options),
            "starting": lambda: starting(options),
            "sizes": sizes,
        }
        for name, part in parts.items():
            if options.only in name:
                print(f"{name} ...", file=sys.stderr, flush=True)
                part()
    table()
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
