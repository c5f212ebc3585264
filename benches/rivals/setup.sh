#!/usr/bin/env bash
# The Python that benches/rivals/rivals.py needs, with pinned versions, in a folder of its own (about 6 GB, most of it torch).
#   bash benches/rivals/setup.sh [FOLDER]        default: target/rivals; then FOLDER/bin/python benches/rivals/rivals.py …
# Needs python3 (3.11 or newer) and, for the forests of CapyMOA, Java 17.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder="${1:-target/rivals}"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --requirement benches/rivals/requirements.txt
echo "$folder/bin/python"
