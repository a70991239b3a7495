"""The peer: rsyslog with imudp and omkafka, as Debian has them (packages rsyslog and rsyslog-kafka).

It takes the datagrams on a UDP port of 127.0.0.1 and puts each as it is into the topic; it does not look at the JSON,
and sets no key unless `keyed`, where a regular expression finds the Call-ID. Buffers are as large as the bridge's,
librdkafka's properties are the bridge's.
"""

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

from programs import PATIENCE, running

# the bridge's properties; librdkafka's defaults otherwise, on both sides
PROPERTIES = {"enable.idempotence": "true", "queue.buffering.max.messages": "1000000"}

CONFIGURATION = r"""
global(workDirectory="{folder}" maxMessageSize="64k")
main_queue(queue.size="1000000" queue.dequeueBatchSize="1024" queue.timeoutEnqueue="600000")
module(load="imudp" batchSize="256" timeRequery="256")
module(load="omkafka")
template(name="datagram" type="string" string="%rawmsg%")
template(name="call_id" type="string" string="%rawmsg:R,ERE,1,BLANK:\"callid\":\"([^\"]*)\"--end%")
input(type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="8m" ruleset="kafka")
ruleset(name="kafka") {{
    action(type="omkafka" broker=["{bootstrap}"] topic="{topic}" template="datagram" partitions.auto="on"
           confParam=[{properties}] resubmitOnFailure="on" errorFile="{folder}/errors"{key})
}}
"""


def missing():
    """What has to be installed, None when it is there."""
    modules = any(Path(folder, "omkafka.so").exists() for folder in modules_folders())
    if program() and modules:
        return None
    return "rsyslog with omkafka (Debian: rsyslog rsyslog-kafka)"


def program():
    """rsyslogd, which not every user has in PATH."""
    return shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")


def modules_folders():
    return [*Path("/usr/lib").glob("*/rsyslog"), Path("/usr/lib/rsyslog"), Path("/usr/lib64/rsyslog")]


@contextmanager
def rsyslog(folder, port, bootstrap, topic, *, keyed=False):
    """rsyslogd on the port; the process, once it has bound the port."""
    configuration = Path(folder, "rsyslog.conf")
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder,
            port=port,
            bootstrap=bootstrap,
            topic=topic,
            properties=", ".join(f'"{name}={value}"' for name, value in PROPERTIES.items()),
            key=' key="call_id" dynaKey="on"' if keyed else "",
        )
    )
    with running([program(), "-n", "-f", configuration, "-i", Path(folder, "pid"), "-C"]) as process:
        deadline = time.monotonic() + PATIENCE
        while not bound(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("rsyslogd did not start")
            time.sleep(0.02)
        yield process


def bound(port):
    """Whether a UDP socket of 127.0.0.1 has the port."""
    return f" 0100007F:{port:04X} " in Path("/proc/net/udp").read_text()
