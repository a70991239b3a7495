#!/usr/bin/env bash
# tests/sanitize/run.sh [SEED [ROUNDS [SECONDS]]]: with gcc's sanitizers, ending with non-zero on any report:
# - the C headers that threads share under ThreadSanitizer, all C headers under AddressSanitizer and
#   UndefinedBehaviorSanitizer (ASan, UBSan), by the programs of tests/unit/kernel;
# - the serializer, the JSON scanner, the socket, SIP and HEP parsers under ASan and UBSan on ROUNDS of random and mutated
#   input;
# - the whole engine under them: cells of tests/races for SECONDS. librdkafka itself is not instrumented.
# Everything is built in build/sanitize, with the interpreter $PYTHON (.venv/bin/python without it).
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
python=${PYTHON:-$root/.venv/bin/python}
seed=${1:-$RANDOM$RANDOM}
rounds=${2:-30000}
seconds=${3:-60}
out=$root/build/sanitize

ask() { "$python" -c "import sysconfig; print(sysconfig.$1)"; }
read -ra compiler <<<"${CC:-$(ask 'get_config_var("CC")')}"
suffix=$(ask 'get_config_var("EXT_SUFFIX")')
include=$(ask 'get_path("include")')
libasan=$("${compiler[@]}" -print-file-name=libasan.so)
if [ ! -e "$libasan" ]; then
    echo "sanitize: ${compiler[0]} has no libasan; use gcc with its sanitizers" >&2
    exit 1
fi
flags=(-fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g -std=c11 -D_GNU_SOURCE -pthread)
for room in ext/pykafkaevt/*/; do
    flags+=("-I$root/$room")
done
sanitized=("${compiler[@]}" -fsanitize=address,undefined "${flags[@]}")

echo "sanitize: seed $seed, again with: tests/sanitize/run.sh $seed $rounds $seconds"
rm -rf "$out"
mkdir -p "$out"
# Frames on a stack of their own: in a forked child librdkafka's threads, of which ASan knows nothing, get the stacks of
# threads that stayed in the parent, and would be reported for what those left there.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1

# A program that has threads goes under ThreadSanitizer too. It needs its addresses where they were in older kernels.
programs() {
    local source name
    for source in tests/unit/kernel/*.c; do
        name=$(basename "$source" .c)
        grep -q "int main" "$source" || continue
        echo "$name address,undefined"
        [ "$name" != escape ] || echo "$name address,undefined -DJSON_SCALAR"
        ! grep -q pthread_create "$source" || echo "$name thread"
    done
}
while read -r name sanitizer options; do
    program=$out/$name-$sanitizer$options
    # shellcheck disable=SC2086  # none or one option
    "${compiler[@]}" "-fsanitize=$sanitizer" "${flags[@]}" -isystem "$include" $options \
        "tests/unit/kernel/$name.c" -o "$program"
    setarch -R timeout 120 "$program" "$seed" >/dev/null
    echo "sanitize: kernel/$name.c $sanitizer $options passed"
done < <(programs)

# setup.py translates to C whatever it is asked for, with the directives that the package is built with.
"$python" setup.py -q --name >/dev/null
find pykafkaevt -name '*.py' -exec cp --parents '{}' "$out" ';'
cp --parents pykafkaevt/cli/*.pcap pykafkaevt/bridge/page/* "$out"
modules=$(cd ext && find pykafkaevt -name '*.pyx')
echo "sanitize: compiling the $(wc -w <<<"$modules") modules"
xargs -P 2 -I '{}' "${sanitized[@]}" -shared -fPIC -w -isystem "$include" "build/cython/ext/{}.c" \
    -o "$out/{}$suffix" <<<"${modules//.pyx/}"

# malloc instead of Python's arenas: each object has the sanitizer's red zones around it. An endless loop ends too.
instrumented() {
    (cd "$out" && env LD_PRELOAD="$libasan" PYTHONMALLOC=malloc PYTHONPATH="$out:$root" "$@")
}
instrumented timeout 600 "$python" "$root/tests/sanitize/fuzz.py" "$seed" "$rounds"
# without forks: a child may find the sanitizer's own locks held, by a thread it does not have
instrumented timeout $((seconds + 240)) "$python" -m tests.races.long "$seconds" "$seed" fork forked
echo "sanitize: no report"
