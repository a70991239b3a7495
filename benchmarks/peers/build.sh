#!/usr/bin/env bash
# benchmarks/peers/build.sh: the C and the Go program that the benchmarks compare with, as build/c and build/franz-go
# beside this file. Needs a C compiler ($CC, cc without it); the Go program is made when go is there.
set -euo pipefail
cd "$(dirname "$0")"
read -ra compiler <<<"${CC:-cc}"
mkdir -p build

echo "peers: c"
"${compiler[@]}" -std=c11 -D_GNU_SOURCE -O3 -Wall -Wextra -Werror -pthread -I../../ext/pykafkaevt/kafka \
    c/producer.c -o build/c -ldl

if command -v go >/dev/null; then
    echo "peers: franz-go"
    (cd franz-go && go build -o ../build/franz-go .)
else
    echo "peers: franz-go is absent: go is not in PATH"
fi
