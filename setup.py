"""Builds the Cython modules of ext/ into the package; everything else is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = Path("ext/pykafkaevt")
ROOMS = ("jsonrpc", "sip", "kafka", "bridge")

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
            # what can be pickled says so: the state that Cython would make unpickles into a crash without its checks
            "auto_pickle": False,
        },
    ),
)
