#!/usr/bin/env bash
# Counts the instructions of fixed work (decoding and encoding a record, a step with four rows) and fails where one has grown by
# more than 3 % over the table in docs/performance.md.
#
# Usage: benches/guard.sh [--record]       (--record writes the table anew)
#
# Counts depend on the compiler, the C library and the instruction set that valgrind offers, not on the load or the clock of the
# machine: they are only compared where all three are those of the table.
set -euo pipefail
cd "$(dirname "$0")/.."

TABLE=docs/performance.md
WORKS="decode-json decode-json-long decode-named decode-array decode-csv encode-standard encode-robust step"
MOST=3

command -v valgrind >/dev/null || { echo "guard: valgrind is missing: install it" >&2; exit 69; }

built=$(cargo bench --locked --bench guard --no-run 2>&1) || { echo "$built" >&2; exit 1; }
program=$(sed -n 's/.*Executable.*(\(.*\)).*/\1/p' <<<"$built" | tail -1)
[ -x "$program" ] || { echo "guard: cargo named no executable: $built" >&2; exit 70; }

# Instructions of the program with these arguments.
counted() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 >/dev/null |
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p'
}

shown=$(valgrind --tool=none -q "$program" 2>/dev/null)
records=${shown%% *}
conditions="$(rustc --version), $(getconf GNU_LIBC_VERSION), ${shown#* }"

measured=""
for work in $WORKS; do
  few=$(counted "$work" 2)
  many=$(counted "$work" 6)
  measured+="$work $(((many - few) / 4 / records))"$'\n'
done

if [ "${1:-}" = --record ]; then
  {
    sed -n '1,/<!-- guard: begin -->/p' "$TABLE"
    printf '\nRecorded with %s.\n\n| work | instructions |\n|---|---|\n' "$conditions"
    while read -r work count; do [ -z "$work" ] || printf '| %s | %s |\n' "$work" "$count"; done <<<"$measured"
    printf '\n'
    sed -n '/<!-- guard: end -->/,$p' "$TABLE"
  } >"$TABLE.new"
  mv "$TABLE.new" "$TABLE"
  echo "guard: recorded in $TABLE"
  exit 0
fi

recorded=$(sed -n '/<!-- guard: begin -->/,/<!-- guard: end -->/s/^Recorded with \(.*\)\.$/\1/p' "$TABLE")
if [ "$recorded" != "$conditions" ]; then
  echo "guard: not compared: the table was recorded with $recorded, this is $conditions"
  printf '%s' "$measured"
  exit 0
fi
failed=0
while read -r work count; do
  [ -z "$work" ] && continue
  before=$(sed -n "s/^| $work | \([0-9]*\) |$/\1/p" "$TABLE")
  [ -n "$before" ] || { echo "guard: $work is not in $TABLE: run benches/guard.sh --record"; failed=1; continue; }
  verdict=ok
  if [ $((count * 100)) -gt $((before * (100 + MOST))) ]; then
    verdict="GREW by more than $MOST %"
    failed=1
  fi
  printf 'guard: %-18s %8s instructions, %8s recorded: %s\n' "$work" "$count" "$before" "$verdict"
done <<<"$measured"
exit "$failed"
