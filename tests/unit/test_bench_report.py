"""What the bench command makes of its runs: tables, files, the sweep, the budget; and what it looks at before."""

import csv
import json
import os
import re
import shlex
import socket
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykafkaevt.bench import programs, sweep
from pykafkaevt.bench.budget import judge, read_budget
from pykafkaevt.bench.report import markdown
from pykafkaevt.bench.runner import Measured, Report
from pykafkaevt.bench.schedule import QUANTILES
from pykafkaevt.bench.sweep import curves, offered_rates, run_sweep
from pykafkaevt.bench.tables import against_load, by_thread, figures, ratios
from pykafkaevt.cli.commands import commands

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return CliRunner().invoke(commands, ["bench", *(str(argument) for argument in arguments)])


def one(side, number=1, rate=1000.0, cpu=1.0, p99=2000, offered=None, **threads):
    latencies = {name: 1000 if name == "p50" else p99 for name in QUANTILES}
    return Measured(side, number, 1000, 0, 1.0, rate, 0.3, cpu, latencies, 1024, [], threads, offered)


ABOUT = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": "pykafkaevt bench --compare c",
    "versions": {"pykafkaevt": "0.1.0", "librdkafka": "2.16.0"},
    "machine": {"processor": "P", "cores": 2, "memory_mb": 2048, "system": "Linux-6", "load_average": 0.1},
}
MEASURED = [
    one("ours", 1, rate=300.0, cpu=0.5, p99=1000, main=0.3, reports=0.2),
    one("c", 1, rate=100.0, main=1.0),
    one("ours", 2, rate=400.0, cpu=0.5, p99=3000, main=0.3, reports=0.2),
    one("c", 2, rate=100.0, main=1.0),
]
SWEEP = [
    one("ours", 1, rate=100.0, p99=4000, offered=100.0),
    one("c", 1, rate=100.0, p99=6000, offered=100.0),
    one("ours", 1, rate=199.0, p99=8000, offered=200.0),
    one("c", 1, rate=120.0, p99=90000, offered=200.0),
]
RUN = {"api": "emit_many", "reports": "none", "repeat": 2, "processes": 1}


def report(**changed):
    plain = {"socket": "kafka:h/t", "settings": {"acks": "all"}, "run": RUN, "measured": MEASURED, "about": ABOUT}
    return Report(**{**plain, **changed})


# tables


def test_the_tables_say_what_was_measured():
    full = report(sweep=SWEEP, absent={"java": "no java"})
    assert figures(full).rows == [
        ["ours", "300", "0.3", "0.50", "1.0", "1.0", "1.0", "1.0", "1.0", "1", "0"],
        ["c", "100", "0.3", "1.00", "1.0", "2.0", "2.0", "2.0", "2.0", "1", "0"],
        ["java", "absent", *"---------"],
    ]
    assert ratios(full).rows == [["c", "3.50 x (3.00 to 4.00)", "0.50 x (0.50 to 0.50)", "1.00 x (0.50 to 1.50)"]]
    assert by_thread(full)[1:] == (["side", "main", "reports"], [["ours", "0.30", "0.20"], ["c", "1.00", "-"]])
    assert against_load(full)[1:] == (
        ["records/s", "ours", "c"],
        [["100", "1.0 / 4.0", "1.0 / 6.0"], ["200", "1.0 / 8.0", "1.0 / 90.0*"]],
    )


def test_markdown_has_the_command_and_a_row_a_side():
    text = markdown(report(sweep=SWEEP))
    assert text.startswith("    pykafkaevt bench --compare c\n\n2026-01-02T03:04:05+00:00, P, 2 cores, 2 GB, Linux-6,")
    assert "| `Producer.emit_many` | 0 k | 0.50 us | 1.0 ms | 1.0 ms |  |\n" in text
    assert "| C, `rd_kafka_produce_batch` | 0 k | 1.00 us | 1.0 ms | 2.0 ms | 3.50 x (3.00 to 4.00), " in text
    assert "CPU 0.50 x, p99 1.00 x |\n" in text
    assert "| 200 | 1.0 / 8.0 | 1.0 / 90.0* |\n" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| `") or "rd_kafka" in line}) == 1


def test_the_command_prints_markdown_alone(tmp_path):
    result = run("--markdown", "--num-records", 2000, "--output", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("    pykafkaevt bench --num-records 2000 --output")
    assert "\n| `Producer.emit_many` | " in result.stdout
    assert "written to" not in result.stdout
    assert "The embedded broker runs inside" in result.stderr
    assert "written to" in result.stderr


# sweep


@pytest.mark.parametrize("saturation", [2_345_678.0, 987.0, 31.0])
def test_ten_rates_lead_up_to_saturation(saturation):
    rates = offered_rates(saturation)
    assert len(rates) == 10
    assert rates[-1] == pytest.approx(saturation, rel=0.05)
    assert rates[0] == pytest.approx(saturation / 100, rel=0.05)
    assert all(1.5 < after / before < 1.9 for before, after in pairwise(rates))


def test_a_side_ends_with_the_second_rate_in_a_row_that_it_cannot_hold(monkeypatch):
    reaches = {"ours": 1000.0, "c": 150.0}
    asked = []
    rates = [round(rate) for rate in offered_rates(1000.0)]

    def attempt(report, spec, processes, number, progress):
        rate, side = spec["throughput"], spec["side"]
        hiccup = side == "c" and round(rate) == rates[1]
        asked.append((number, side, round(rate), spec["records"], spec["duration"]))
        assert spec["reports"] == "batch"  # the latency of every record
        return one(side, number, rate=rate / 2 if hiccup else min(rate, reaches[side]), offered=rate)

    monkeypatch.setattr(sweep, "attempt", attempt)
    swept = report(measured=[one("ours", rate=1000.0), one("c", rate=150.0)], absent={"java": "no java"})
    run_sweep(swept, {"api": "emit_many", "reports": "none"}, ["c", "java"], None, seconds=0.5)
    expected = [(side, rate) for rate in rates for side in ("ours", "c") if side == "ours" or rate <= 360]
    assert [call[1:3] for call in asked] == expected * 2
    assert [call[0] for call in asked] == [1] * len(expected) + [2] * len(expected)
    assert {(records, duration) for _, _, rate, records, duration in asked if rate == 1000} == {(500, None)}
    found = curves(swept)
    assert [step.rate for step in found["ours"]] == offered_rates(1000.0)
    assert all(step.held for step in found["ours"])
    assert [step.held for step in found["c"]] == [True, False, *[True] * 4, False, False]
    assert against_load(swept).rows[-1][1:] == ["1.0 / 2.0", "-"]


def test_a_rate_at_which_nothing_was_delivered_has_no_latency():
    lost = one("c", offered=300.0)
    lost.latency_us = dict.fromkeys(QUANTILES)
    assert [step.rate for step in curves(report(sweep=[*SWEEP, lost]))["c"]] == [100.0, 200.0]


def test_the_command_sweeps(tmp_path):
    result = run("--sweep", "--duration", 0.05, "--num-records", 5000, "--warmup", 100, "--output", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "r.json").read_text())
    offered = [run["offered"] for run in found["sweep"]]
    assert 1 <= len(offered) <= 10
    assert offered == sorted(offered)
    assert [run["offered"] for run in found["measured"]] == [None]
    assert all(run["latency_us"]["p99"] > 0 and run["failed"] == 0 for run in found["sweep"])
    assert "p50 / p99 in ms by the rate offered" in result.stdout


# budget


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"records/s": 3.4}, [True]),
        ({"records/s": 3.6}, [False]),
        ({"CPU per record": 0.5, "p99": 1.1}, [True, True]),
        ({"CPU per record": 0.4, "p99": 0.9, "records/s": 1}, [False, False, True]),
    ],
)
def test_a_budget_is_held_against_the_median_ratios(limits, kept):
    assert [line.kept for line in judge(report(), {"c": limits})] == kept


def test_a_ratio_that_was_not_measured_breaks_the_budget():
    nothing = report(measured=MEASURED[:1], absent={"c": "no c"})
    assert judge(nothing, {"c": {"p99": 9}}) == [("p99 against c: not measured, at most 9 is asked", False)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "not an object"),
        ("{}", "not an object"),
        ('{"nobody": {"p99": 1}}', "'nobody' is none of confluent, "),
        ('{"java": {"p99": 1}}', "java is not in --compare"),
        ('{"c": 3}', "c: not an object of records/s, CPU per record, p99"),
        ('{"c": {"p98": 1}}', "c: 'p98' is none of records/s"),
        ('{"c": {"p99": "1"}}', "c: p99: '1' is no positive number"),
        ('{"c": {"p99": true}}', "c: p99: True is no positive number"),
        ('{"c": {"p99": 0}}', "c: p99: 0 is no positive number"),
    ],
)
def test_what_is_wrong_in_a_budget_is_named(tmp_path, text, reason):
    (tmp_path / "budget").write_text(text)
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        read_budget(tmp_path / "budget", ["c"])
    result = run("--compare", "c", "--budget", tmp_path / "budget")
    assert result.exit_code == 2
    assert "records/s:" not in result.stdout


@pytest.mark.parametrize(("limit", "code"), [(0.001, 0), (1000, 1)])
def test_the_command_ends_with_1_when_the_budget_is_broken(tmp_path, limit, code):
    (tmp_path / "budget").write_text(json.dumps({"confluent": {"records/s": limit}}))
    arguments = ("--compare", "confluent", "--repeat", 1, "--num-records", 3000, "--warmup", 100)
    result = run(*arguments, "--budget", tmp_path / "budget")
    assert result.exit_code == code, result.output
    assert f"x, at least {limit:g} is asked: {'broken' if code else 'kept'}\n" in result.stdout
    assert ("the budget is broken in 1 of 1 lines" in result.stderr) == bool(code)


# files


class Page(HTMLParser):
    """What a page would load or lead to, and the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.links = []
        self.cells = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        if self.lasttag in ("td", "th", "dd") and data.strip():
            self.cells.append(data)


def test_every_file_says_where_its_figures_are_from(tmp_path):
    arguments = ("--num-records", 1000, "--repeat", 2, "--compare", "aiokafka,confluent", "--warmup", 100)
    command = "pykafkaevt bench --num-records 1000 --warmup 100 --repeat 2 --compare aiokafka,confluent --output "
    for kind in ("html", "csv", "json"):
        assert run(*arguments, "--output", tmp_path / f"r.{kind}").exit_code == 0

    about = json.loads((tmp_path / "r.json").read_text())["about"]
    assert about["command"] == f"{command}{tmp_path}/r.json"
    assert about["versions"].keys() == {"pykafkaevt", "python", "librdkafka", "confluent-kafka", "orjson"}
    assert about["machine"].keys() == {"processor", "cores", "memory_mb", "system", "load_average"}
    assert about["machine"]["cores"] >= 1

    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["side"], row["delivered"]) for row in rows] == [
        *[("ours", "1000"), ("confluent", "1000")] * 2,
        ("aiokafka", ""),
    ]
    assert rows[4]["absent"]
    assert float(rows[0]["latency_p99_us"]) > 0
    assert "rdk:broker=" in rows[0]["cpu_us_by_thread"]
    assert rows[0]["command"] == f"{command}{tmp_path}/r.csv"
    assert f"librdkafka {about['versions']['librdkafka']}" in rows[0]["versions"]
    assert about["machine"]["processor"] in rows[0]["machine"]
    assert rows[0]["date"][:4] == about["date"][:4]

    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.links == []
    assert text.count("Plotly.newPlot(") == 4
    assert "aiokafka is absent" in text
    assert f"{command}{tmp_path}/r.html" in page.cells
    assert page.cells[: page.cells.index("ours")] == figures(report()).heads
    assert any("x (" in cell for cell in page.cells)


def test_a_secret_is_in_no_result(tmp_path):
    for kind in ("json", "csv", "html"):
        path = tmp_path / f"r.{kind}"
        socket_text = "kafka:embedded/t?g.sasl.password=verysecret"
        result = run(socket_text, "--num-records", 100, "--warmup", 10, "--markdown", "--output", path)
        assert result.exit_code == 0, result.output
        assert "kafka:embedded/t" in result.stdout
        assert "verysecret" not in result.output + path.read_text()


@pytest.mark.parametrize("name", ["none/r.json", "folder.csv"])
def test_where_the_result_goes_is_tried_before_anything_is_measured(tmp_path, monkeypatch, name):
    monkeypatch.setattr("pykafkaevt.bench.runner.run_all", lambda *_: pytest.fail("something was measured"))
    (tmp_path / "folder.csv").mkdir()
    result = run("--output", tmp_path / name)
    assert result.exit_code in (1, 2)
    assert os.strerror(2) in result.output or "is a directory" in result.output


def test_a_run_that_fails_leaves_an_older_result_and_no_empty_one(tmp_path):
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        assert run("kafka:embedded/t?g.no.such=1", "--output", tmp_path / name).exit_code == 2
    assert (tmp_path / "old.json").read_text() == "old"
    assert not (tmp_path / "new.json").exists()


# what has to be there


def test_a_broker_that_is_away_is_told_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr("pykafkaevt.bench.runner.run_all", lambda *_: pytest.fail("something was measured"))
    monkeypatch.setattr("pykafkaevt.cli.bench.ANSWER", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        result = run(f"kafka:127.0.0.1:{port}/t", "--compare", "confluent")
    assert result.exit_code == 1
    assert f"Error: 127.0.0.1:{port}: no answer within 0.5 s" in result.stderr


SPEC = {"socket": "kafka:127.0.0.1:9092/t", "records": 10, "payload_file": None, "settings": {}}


@pytest.mark.parametrize(
    ("name", "sources", "programs_there", "reason"),
    [
        ("c", True, (), "build/c: make peers"),
        ("franz-go", True, ("go",), "build/franz-go: make peers"),
        ("franz-go", True, (), "build/franz-go: install Go (Debian: golang-go), then make peers"),
        ("c", False, (), "run make peers in a copy of pykafkaevt's sources, and set PYKAFKAEVT_PEERS to"),
        ("java", True, ("java",), "tests/kafka/libs: python -m tests.kafka.broker gets it"),
        ("java", False, ("java",), "set PYKAFKAEVT_KAFKA_LIBS to the folder libs of an unpacked Apache Kafka"),
        ("java", True, (), "no java in PATH (Debian: default-jre-headless)"),
    ],
)
def test_an_absent_program_says_how_to_get_it(tmp_path, monkeypatch, name, sources, programs_there, reason):
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    monkeypatch.setattr(programs.shutil, "which", lambda program: program if program in programs_there else None)
    for variable in ("PYKAFKAEVT_PEERS", "PYKAFKAEVT_KAFKA_LIBS"):
        monkeypatch.delenv(variable, raising=False)
    if sources:
        (tmp_path / "benchmarks" / "peers").mkdir(parents=True)
        (tmp_path / "benchmarks" / "peers" / "build.sh").touch()
    assert reason in programs.why_absent(name, SPEC)


JAVA_SETTINGS = ("acks", "compression.type", "enable.idempotence", "linger.ms", "queue.buffering.max.kbytes")


def test_kafkas_jars_may_be_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "kafka-tools-9.8.7.jar").touch()
    monkeypatch.setenv("PYKAFKAEVT_KAFKA_LIBS", str(tmp_path))
    monkeypatch.setattr(programs.shutil, "which", lambda program: program)
    assert programs.why_absent("java", SPEC) is None
    assert programs.version_of("java") == "9.8.7"
    assert f"{tmp_path}/*" in programs.java_command(
        {**SPEC, "record_size": None, "throughput": None, "settings": dict.fromkeys(JAVA_SETTINGS, "1")}
    )


# what the documents promise

PAGES = [ROOT / "README.md", ROOT / "docs" / "performance.md"]


def test_the_commands_in_the_documents_are_understood():
    found = [line for page in PAGES for line in re.findall(r"^ {4}pykafkaevt bench([^#\n]*)", page.read_text(), re.M)]
    found += [text for page in PAGES for text in re.findall(r"`pykafkaevt bench ([^`]*)`", page.read_text())]
    assert len(found) >= 5
    bench = commands.get_command(None, "bench")
    for text in found:
        bench.make_context("bench", shlex.split(text.replace("HOST:PORT", "127.0.0.1:9092")))


def test_the_budget_in_the_document_is_one(tmp_path):
    text = (ROOT / "docs" / "performance.md").read_text()
    (tmp_path / "budget").write_text(re.search(r"^ {4}(\{.*\})$", text, re.M)[1])
    assert read_budget(tmp_path / "budget", ["confluent"]) == {"confluent": {"records/s": 3.5, "CPU per record": 0.4}}
    assert f"less than {sweep.HELD * 100:g} %" in text
    assert sweep.SPAN == 100
