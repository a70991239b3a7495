"""Builds the Cython modules of ext/ into the package; everything else is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = Path("ext/pykafkaevt")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"pykafkaevt.{source.stem}",
                [str(source)],
                include_dirs=[str(SOURCES)],
                depends=[str(header) for header in sorted(SOURCES.glob("*.h"))],
                extra_compile_args=["-O3", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"],
            )
            for source in sorted(SOURCES.glob("*.pyx"))
        ],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "autotestdict": False,
        },
    ),
)
