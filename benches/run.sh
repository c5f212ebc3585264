#!/usr/bin/env bash
# The table of what this build reaches, beside what it is to reach: one command, about a quarter of an hour on two cores.
#   bash benches/run.sh [--quick] [PYTHON]        PYTHON: of a folder that benches/rivals/setup.sh made (default: target/rivals)
# The first call installs the rivals from PyPI (torch is large); nothing of that is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
quick=""
if [ "${1:-}" = "--quick" ]; then quick="--quick"; shift; fi
python="${1:-target/rivals/bin/python}"
[ -x "$python" ] || bash benches/rivals/setup.sh "$(dirname "$(dirname "$python")")"
cargo build --release --locked
cargo bench --locked --no-run --bench step --bench stages --bench traffic
"$python" benches/run.py $quick
