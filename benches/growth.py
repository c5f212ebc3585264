#!/usr/bin/env python3
"""How the time of an example and the memory grow: with the examples, the features, the classes and the hidden units.

usage: benches/growth.py [--most N] [--svg FILE]      (10000000, docs/growth.svg)

`replay` of JSON lines into one MLP, batch 128. Processor time of the whole process an example, and its largest resident memory.
The stream is written once and read again and again (`--passes`) for the longest. SKEWD names another binary.
"""

import argparse
import os
import random
import resource
import subprocess
import tempfile

BINARY = os.environ.get("SKEWD", "target/release/skewd")
BASE = ["learner.mode=single", "schema.encoding=standard", "learner.batch_size=128"]


def stream(path, rows, features=10, classes=2):
    generator = random.Random(rows * 31 + features * 7 + classes)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(rows):
            label = min(int(generator.expovariate(1.0)), classes - 1)
            fields = ",".join(f'"f{i}":{generator.gauss(label if i < 4 else 0, 1):.3f}' for i in range(features))
            out.write(f'{{{fields},"label":"c{label}"}}\n')


def replay(path, settings, passes=1):
    """Processor seconds, and the largest resident memory in MiB."""
    arguments = [part for setting in BASE + settings for part in ("--set", setting)]
    command = [BINARY, "replay", path, "--passes", str(passes), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def serve(path, rows, passes):
    """Resident memory in MiB of a daemon that has learned the file so many times."""
    from restart import Daemon

    lines = open(path, encoding="utf-8").read().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(folder, BASE + ["source.retention_bytes=33554432"])
        for turn in range(passes):
            daemon.feed(lines)
            daemon.wait_for((turn + 1) * rows // 128 * 128 - 128)
        status = open(f"/proc/{daemon.process.pid}/status", encoding="utf-8").read()
        daemon.kill()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def chart(out, left, title, unit, points):
    """One small chart: bars would hide that both axes begin at 0."""
    width, height = 210, 150
    most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.15
    place = [(left + 40 + width * x / most_x, 190 - height * y / most_y) for x, y in points]
    out.append(f'<text x="{left + 40}" y="24" font-weight="600">{title}</text>')
    out.append(f'<path d="M{left + 40} 40V190H{left + 40 + width}" fill="none" stroke="#888"/>')
    out.append(f'<text x="{left + 36}" y="48" text-anchor="end">{most_y:.3g}</text><text x="{left + 44}" y="48">{unit}</text>')
    out.append(f'<text x="{left + 40 + width}" y="206" text-anchor="end">{most_x:,}</text>')
    out.append('<polyline fill="none" stroke="#0072B2" stroke-width="2" points="%s"/>' % " ".join(f"{x:.1f},{y:.1f}" for x, y in place))
    out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0072B2"/>' for x, y in place)


def measure(folder, most):
    """Title, unit and points of each chart."""
    base = os.path.join(folder, "base.jsonl")
    stream(base, 100_000)
    found = []
    points, memory = [], []
    examples = 100_000
    while examples <= most:
        seconds, _ = replay(base, [], passes=examples // 100_000)
        points.append((examples, 1e6 * seconds / examples))
        examples *= 10
    found.append(("examples", "us an example", points))
    for passes in (1, 4, 16):
        memory.append((passes * 100_000, serve(base, 100_000, passes)))
    found.append(("examples, daemon", "MiB resident", memory))
    for title, values, of in [
        ("features", (10, 30, 100, 300), lambda value: ({"features": value}, [])),
        ("classes", (2, 8, 32, 64), lambda value: ({"classes": value}, [])),
        ("hidden units", (32, 128, 256, 512), lambda value: ({}, [f"model.hidden=[{value}]"])),
    ]:
        points = []
        for value in values:
            shape, settings = of(value)
            path = os.path.join(folder, f"{title}{value}.jsonl")
            stream(path, 20_000, **shape)
            seconds, _ = replay(path, settings)
            points.append((value, 1e6 * seconds / 20_000))
            os.remove(path)
        found.append((title, "us an example", points))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=10_000_000)
    parser.add_argument("--svg", default="docs/growth.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(folder, options.most)
    out = []
    for index, (title, unit, points) in enumerate(found):
        chart(out, 270 * index, title, unit, points)
        print(f"{title}: " + ", ".join(f"{x:,} -> {y:.3g} {unit}" for x, y in points))
    with open(options.svg, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {270 * len(found)} 220" font-family="sans-serif" font-size="12" fill="#444">'
                   f'<rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>\n')


if __name__ == "__main__":
    main()
