#!/usr/bin/env bash
# tests/sanitize/run.sh [SEED [ROUNDS]]: the serializer, the JSON scanner, the socket, SIP and HEP parsers and the C
# headers under AddressSanitizer and UndefinedBehaviorSanitizer, on random and mutated input. Needs gcc; ends with
# non-zero on any report.
# Everything is built in build/sanitize, with the interpreter $PYTHON (.venv/bin/python without it).
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
seed=${1:-$RANDOM$RANDOM}
rounds=${2:-30000}
out=build/sanitize
modules=(jsonrpc/buffer jsonrpc/values jsonrpc/template jsonrpc/scan jsonrpc/stream secrets socket_text sip/message
    sip/hep sip/hep_stream)

ask() { "$python" -c "import sysconfig; print(sysconfig.$1)"; }
read -ra compiler <<<"${CC:-$(ask 'get_config_var("CC")')}"
suffix=$(ask 'get_config_var("EXT_SUFFIX")')
include=$(ask 'get_path("include")')
libasan=$("${compiler[@]}" -print-file-name=libasan.so)
if [ ! -e "$libasan" ]; then
    echo "sanitize: ${compiler[0]} has no libasan; use gcc with its sanitizers" >&2
    exit 1
fi
sanitized=("${compiler[@]}" -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g
    -std=c11 -D_GNU_SOURCE -pthread -Iext/pykafkaevt/jsonrpc -Iext/pykafkaevt/sip -Iext/pykafkaevt/kafka)

# The package of these modules alone: an __init__ that imports nothing, and the exceptions they raise.
rm -rf "$out"
mkdir -p "$out/pykafkaevt/jsonrpc" "$out/pykafkaevt/sip"
touch "$out/pykafkaevt/__init__.py" "$out/pykafkaevt/jsonrpc/__init__.py" "$out/pykafkaevt/sip/__init__.py"
cp pykafkaevt/errors.py "$out/pykafkaevt/"

# setup.py translates to C whatever it is asked for, with the directives that the package is built with.
"$python" setup.py -q --name >/dev/null
echo "sanitize: compiling ${modules[*]}"
for module in "${modules[@]}"; do
    "${sanitized[@]}" -shared -fPIC -w -isystem "$include" "build/cython/ext/pykafkaevt/$module.c" \
        -o "$out/pykafkaevt/$module$suffix"
done

echo "sanitize: seed $seed, $rounds rounds; again with: tests/sanitize/run.sh $seed $rounds"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
while read -r name options; do
    # shellcheck disable=SC2086  # none or one option
    "${sanitized[@]}" $options "tests/unit/kernel/$name.c" -o "$out/$name$options"
    "$out/$name$options" "$seed" >/dev/null
    echo "sanitize: kernel/$name.c $options passed"
done <<'PROGRAMS'
escape
escape -DJSON_SCALAR
counters
event_count
PROGRAMS

# malloc instead of Python's arenas: each object has the sanitizer's red zones around it. An endless loop ends too.
timeout 600 env LD_PRELOAD="$libasan" PYTHONMALLOC=malloc PYTHONPATH="$out" \
    "$python" tests/sanitize/fuzz.py "$seed" "$rounds"
echo "sanitize: no report"
