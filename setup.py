"""Builds the Cython modules of ext/ into the package; everything else is in pyproject.toml."""

import re
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = Path("ext/pykafkaevt")
LOADER = SOURCES / "kafka" / "librdkafka_loader.h"
ROOMS = ("jsonrpc", "sip", "kafka", "bridge")


def write_functions() -> None:
    """Declare librdkafka's functions to Cython as librdkafka_loader.h has them: a member NAME is rd_kafka_NAME."""
    rows = re.findall(r"^    F\((.+?), (\w+), (?:\\\n\s*)?\((.*)\)\)", LOADER.read_text(), re.MULTILINE)
    lines = ['cdef extern from "librdkafka_loader.h" nogil:', "    ctypedef struct rdkafka_api:"]
    for result, name, given in rows:
        lines += [f"        {result} (*{name})(", f"            {'' if given == 'void' else given}) noexcept nogil"]
    text = "\n".join([*lines, ""])
    target = LOADER.with_name("functions.pxi")
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


write_functions()
setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(("pykafkaevt", *source.relative_to(SOURCES).with_suffix("").parts)),
                [str(source)],
                include_dirs=[str(SOURCES / room) for room in ROOMS],
                depends=[str(header) for header in sorted(SOURCES.rglob("*.h"))],
                extra_compile_args=["-O3", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"],
            )
            for source in sorted(SOURCES.rglob("*.pyx"))
        ],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "autotestdict": False,
            # a class that can be pickled has its own __reduce__: Cython's reads a state without a look at its length
            "auto_pickle": False,
        },
    ),
)
