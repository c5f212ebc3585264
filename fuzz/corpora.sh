#!/usr/bin/env bash
# The corpora that fuzzing has grown, a file a target in fuzz/packed, and the same unpacked as seeds in fuzz/seeds.
#   bash fuzz/corpora.sh unpack [TARGET…]    fuzz/packed/TARGET.tar.zst -> fuzz/seeds/TARGET
#   bash fuzz/corpora.sh pack [TARGET…]      fuzz/seeds/TARGET -> fuzz/packed/TARGET.tar.zst
# Inputs are numbered from small to large: names by content would be a third of a file. Wants GNU tar and zstd.
set -euo pipefail
cd "$(dirname "$0")"

pack() {
  local staged count=0 file
  staged="$(mktemp -d)"
  while IFS= read -r file; do
    cp "$file" "$staged/$(printf '%06d' "$count")"
    count=$((count + 1))
  done < <(find "seeds/$1" -type f -printf '%s %p\n' | LC_ALL=C sort -k1,1n -k2 | cut -d' ' -f2-)
  mkdir -p packed
  tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 \
    -C "$staged" -cf - --transform 's,^\./,,' --no-recursion $(cd "$staged" && ls) |
    zstd -q -19 -f -o "packed/$1.tar.zst"
  rm -r "$staged"
  echo "$1: $count inputs, $(stat -c %s "packed/$1.tar.zst") bytes"
}

unpack() {
  mkdir -p "seeds/$1"
  zstd -q -dc "packed/$1.tar.zst" | tar -xf - -C "seeds/$1"
  echo "$1: $(find "seeds/$1" -type f | wc -l) inputs in fuzz/seeds/$1"
}

verb="${1:-}"
case "$verb" in pack | unpack) shift ;; *) sed -n '2,5p' corpora.sh >&2; exit 64 ;; esac
if [ "$#" = 0 ]; then set -- checkpoint csv journal predict_body record settings; fi
for target in "$@"; do "$verb" "$target"; done
