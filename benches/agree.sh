#!/usr/bin/env bash
# Replays real streams and checks every figure against scikit-learn.
#   benches/agree.sh DATA_FOLDER [NAME…]        e.g. benches/agree.sh ~/streams shuttle elec2
# DATA_FOLDER holds NAME.csv or NAME.csv.zst. Needs python3 with numpy and scikit-learn, and target/release/skewd.
set -euo pipefail
cd "$(dirname "$0")/.."
data="${1:?usage: benches/agree.sh DATA_FOLDER [NAME…]}"
shift
names=("$@")
if [ "${#names[@]}" = 0 ]; then
  for file in "$data"/*.csv "$data"/*.csv.zst; do
    [ -e "$file" ] || continue
    name="$(basename "$file")"
    names+=("${name%%.csv*}")
  done
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for name in "${names[@]}"; do
  file="$data/$name.csv"
  [ -e "$file" ] || file="$file.zst"
  echo "== $name"
  RAYON_NUM_THREADS=1 target/release/skewd replay "$file" --report "$work/a.json" --predictions "$work/a.csv"
  python3 benches/agree_with_sklearn.py "$work/a.csv" "$work/a.json"
  RAYON_NUM_THREADS=4 target/release/skewd replay "$file" --report "$work/b.json" >/dev/null
  python3 - "$work/a.json" "$work/b.json" <<'PY'
import json, sys
a, b = (json.load(open(path))["digest"] for path in sys.argv[1:])
sys.exit(0 if a == b else f"two digests: {a} {b}")
PY
  echo "the same digest twice"
done
