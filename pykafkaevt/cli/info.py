"""`pykafkaevt info`: which parts are at work."""

from __future__ import annotations

import ctypes
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from pykafkaevt import __version__


@click.command(epilog="\b\nExample:\n  pykafkaevt info --json")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def info(as_json: bool) -> None:
    """Print versions, the librdkafka that was loaded, and what is built in.

    When no librdkafka can be loaded, prints what was tried and exits with 1.
    """
    parts, failure = gather()
    if as_json:
        click.echo(json.dumps(parts, indent=2, ensure_ascii=False))
    else:
        for name, value in parts.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{name:<18} {shown if shown is not None else 'not found'}")
    if failure is not None:
        raise click.ClickException(failure)


def gather() -> tuple[dict[str, Any], str | None]:
    """The parts by name, and why librdkafka could not be loaded, if so."""
    failure = None
    parts: dict[str, Any] = {
        "pykafkaevt": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "confluent-kafka": installed("confluent-kafka"),
        "orjson": installed("orjson"),
    }
    from pykafkaevt.jsonrpc.values import simd  # noqa: PLC0415

    parts["simd"] = simd()
    try:
        from pykafkaevt.kafka.library import MINIMUM_VERSION, library_path, library_version  # noqa: PLC0415
    except ImportError as error:
        failure = str(error)
        parts["librdkafka"] = None
    else:
        parts["librdkafka"] = library_version()
        parts["librdkafka file"] = library_path()
        parts["librdkafka minimum"] = MINIMUM_VERSION
        parts["features"] = built_in_features(library_path())
    return parts, failure


def installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def built_in_features(path: str) -> list[str]:
    """librdkafka's builtin.features, from the default configuration of the library at path."""
    library = ctypes.CDLL(path)
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    library.rd_kafka_conf_destroy.argtypes = [ctypes.c_void_p]
    conf = library.rd_kafka_conf_new()
    text = ctypes.create_string_buffer(512)
    size = ctypes.c_size_t(len(text))
    library.rd_kafka_conf_get(conf, b"builtin.features", text, ctypes.byref(size))
    library.rd_kafka_conf_destroy(conf)
    return text.value.decode().split(",")
