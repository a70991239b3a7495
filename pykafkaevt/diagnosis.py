"""Why a client does not reach its brokers or is not let in, in librdkafka's words, and behind them what to do.

All advice about librdkafka's errors stands here. What peers and librdkafka write may repeat a secret, which is blanked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pykafkaevt.references import shown, without

MSG_TIMED_OUT, ALL_BROKERS_DOWN, PURGE_QUEUE, PURGE_INFLIGHT = -192, -187, -152, -151
UNKNOWN_TOPIC, UNKNOWN_TOPIC_OR_PART, TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED = -188, 3, 29, 31

REFUSALS = {UNKNOWN_TOPIC, UNKNOWN_TOPIC_OR_PART, TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED}
# What says only that a record was given up: the reason is why brokers were not reached.
GIVEN_UP = {MSG_TIMED_OUT, PURGE_QUEUE, PURGE_INFLIGHT}

OF_CODE = {
    TOPIC_AUTHORIZATION_FAILED: "allow {principal} to WRITE to the topic {topic}",
    CLUSTER_AUTHORIZATION_FAILED: "allow {principal} to WRITE to the topic {topic} (before Kafka 2.8 it needs "
    "IDEMPOTENT_WRITE on the cluster), or do without idempotence: g.enable.idempotence=false",
}

NO_TLS, TLS = ("plaintext", "sasl_plaintext"), ("ssl", "sasl_ssl")
NO_SASL, SASL = ("plaintext", "ssl"), ("sasl_plaintext", "sasl_ssl")
ALL = NO_TLS + TLS
# What has another protocol in its place: by the one in use.
WITH_TLS = {"plaintext": "ssl or sasl_ssl", "sasl_plaintext": "sasl_ssl"}
WITHOUT_TLS = {"ssl": "plaintext", "sasl_ssl": "sasl_plaintext"}
WITH_SASL = {"plaintext": "sasl_plaintext", "ssl": "sasl_ssl"}
WITHOUT_SASL = {"sasl_plaintext": "plaintext", "sasl_ssl": "ssl"}

# The protocols in use, what librdkafka says then, what to do. The first that fits is it.
OF_CONNECTION = [
    (
        NO_TLS,
        r"Disconnected.* state APIVERSION_QUERY",
        "a listener that speaks TLS does so: set g.security.protocol={tls}",
    ),
    # a broker hangs up at once when a client that did not say who it is asks for something
    (
        NO_SASL,
        r"Disconnected.*\(after 1?\d{1,3}ms in state UP",
        "a listener that wants SASL does so: set g.security.protocol={sasl} and g.sasl.mechanism",
    ),
    (
        TLS,
        r"PLAINTEXT broker listener|Disconnected.* state SSL_HANDSHAKE|wrong version number",
        "the listener speaks no TLS: use another port, or set g.security.protocol={no_tls}",
    ),
    (
        TLS,
        r"alert (?:(?:bad|unsupported) certificate|certificate (?:required|unknown|expired|revoked)|unknown ca)",
        "the broker wants a client certificate by an authority it trusts: set g.ssl.certificate.location and "
        "g.ssl.key.location",
    ),
    (
        SASL,
        r"Request not valid in current SASL state",
        "the listener wants no SASL: use another port, or set g.security.protocol={no_sasl}",
    ),
    (SASL, r"Unsupported SASL mechanism", "set g.sasl.mechanism to one that the broker supports"),
    (
        SASL,
        r"invalid_token|OAUTHBEARER authentication",
        "the broker does not accept the token: compare its issuer, audience, scope (g.sasl.oauthbearer.scope) and "
        "signing key with what the broker expects",
    ),
    (SASL, r"SASL.* (?:authentication|SCRAM)", "check g.sasl.username and g.sasl.password"),
    (
        ALL,
        r"SASL OAUTHBEARER token.*(?:invalid_client|unauthorized|[Uu]nauthenticated|\b401\b)",
        "check g.sasl.oauthbearer.client.id and g.sasl.oauthbearer.client.secret",
    ),
    (
        ALL,
        r"SASL OAUTHBEARER token.* unexpired",
        "the token server's tokens are over already: compare its clock with this machine's",
    ),
    (
        ALL,
        r"SASL OAUTHBEARER token.*(?:trust anchors|certificate)",
        "set g.https.ca.location to the file of the token server's CA, or to probe for this machine's CAs",
    ),
    (ALL, r"SASL OAUTHBEARER token", "check g.sasl.oauthbearer.token.endpoint.url"),
    # properties
    (
        ALL,
        r"No provider for SASL mechanism GSSAPI",
        "set g.sasl.mechanism: without it librdkafka takes GSSAPI, and this one is built without",
    ),
    (ALL, r"Unsupported SASL mechanism: ", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are there"),
    (ALL, r"^ssl\.key\.location failed", "is it a PEM file, and g.ssl.key.password right?"),
    (ALL, r"^ssl\.[a-z.]*location failed", "is the file there, readable, and PEM?"),
]

# By OpenSSL's X509_V_ERR_…: why a certificate is refused.
OF_CERTIFICATE = {
    9: "is not valid yet: compare its dates with this machine's clock",
    10: "has expired: the broker needs a new one",
    **dict.fromkeys(
        (2, 18, 19, 20, 21), "is by no authority that is trusted: set g.ssl.ca.location to the file of the broker's CA"
    ),
    23: "was revoked",
    **dict.fromkeys(
        (62, 64),
        "is for another host: name the broker as its certificate does, in the socket and in the broker's "
        "advertised.listeners",
    ),
}
GUESS = re.compile(r": broker certificate could not be verified, verify that .*? installed(?: \([^)]*\))?")
CERTIFICATE = re.compile(
    r"(\S+): Certificate \(subject=(.*), issuer=.*\) verification callback failed: X509_V_ERR (\d+)"
)
UNMATCHED = re.compile(r"\[thrd:(.*?)\]: No matching issuer found")
THREAD = re.compile(r"^\[thrd:.*?\]: ")
BROKER = re.compile(r"^(?:(\w+)://)?\S+:\d+/\S+(?=: )")
# A token (RFC 7519: base64 of '{"…'), and what a URL has before its host.
TOKEN = re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}|(?<=://)[^/@\s\"]+(?=@)")


def advice(text: str) -> str:
    """What to do about a text of librdkafka's, empty when nothing is known."""
    broker = BROKER.match(text)
    protocol = (broker[1] if broker else None) or "plaintext"
    for protocols, pattern, what in OF_CONNECTION:
        if protocol in protocols and re.search(pattern, text):
            return what.format(
                tls=WITH_TLS.get(protocol),
                no_tls=WITHOUT_TLS.get(protocol),
                sasl=WITH_SASL.get(protocol),
                no_sasl=WITHOUT_SASL.get(protocol),
            )
    return ""


def is_refusal(code: int) -> bool:
    """Whether all records of a topic fail with this error until somebody changes something at the cluster."""
    return code in REFUSALS


def is_of_a_broker(text: str) -> bool:
    """Whether an error event is about one broker: librdkafka logs those by itself."""
    return BROKER.match(text) is not None


def joined(text: str, what: str) -> str:
    """A reason, and what to do."""
    return f"{text}; {what}" if what else text


class Explanation(NamedTuple):
    """What a delivery report does not know: its topic, who the client is to the broker, what it met last."""

    topic: str
    principal: str
    trouble: str | None

    def reason(self, code: int, text: str) -> str:
        """librdkafka's text for an error of a record, with what is known and what to do."""
        if code in GIVEN_UP and self.trouble:
            return f"{text}: {self.trouble}"
        return joined(text, OF_CODE.get(code, "").format(principal=self.principal, topic=self.topic))


class Trouble(NamedTuple):
    """What was met last: in words, whether they say what to change, the records that were delivered before."""

    text: str
    advised: bool
    delivered: int


class Diagnosis:
    """What one client met. properties: its global ones, as written. For the report thread, but newest() and explain().

    hidden: values that must not be shown. `delivered` is everywhere the number of records delivered so far: what came
    before the last of them is over.
    """

    def __init__(self, properties: Iterable[tuple[str, str]]) -> None:
        self.principal = principal_of(dict(properties))
        self.hidden: list[str] = []
        # by broker: what its next errors have in their text, and more about them
        self._noted: dict[str, tuple[str, str]] = {}
        self._newest: Trouble | None = None

    def masked(self, text: str) -> str:
        """The text without secrets."""
        return without(self.hidden, TOKEN.sub("***", text))

    def line(self, facility: str, text: str, delivered: int) -> str | None:
        """A log line of librdkafka's as it is shown; None when the next one says it."""
        if found := CERTIFICATE.search(text):
            broker, subject, code = found.groups()
            why = OF_CERTIFICATE.get(int(code), f"is not valid (OpenSSL's X509_V_ERR {code})")
            self._noted[broker] = "certificate verify failed", f"the certificate {subject} {why}"
            return None
        if found := UNMATCHED.search(text):
            self._noted[found[1]] = "alert", "the broker trusts no authority that g.ssl.certificate.location is by"
        text = self.masked(text)
        if facility == "FAIL":
            text, what = self._advised(text, delivered)
            if what:
                self._newest = Trouble(THREAD.sub("", text), True, delivered)
        return f"{facility}: {text}"

    def error(self, code: int, text: str, delivered: int) -> str:
        """The text of an error event as it is shown."""
        text = self.masked(text)
        if code == ALL_BROKERS_DOWN:
            newest = self.newest(delivered)
            return f"{text}: {newest.text}" if newest else text
        text, what = self._advised(text, delivered)
        self._newest = Trouble(text, what != "", delivered)
        return text

    def newest(self, delivered: int) -> Trouble | None:
        """What was met last, None when records were delivered since."""
        newest = self._newest
        return newest if newest is not None and newest.delivered == delivered else None

    def explain(self, topic: str, delivered: int) -> Explanation:
        """For the reports of a topic's records."""
        newest = self.newest(delivered)
        return Explanation(topic, self.principal, newest and newest.text)

    def _advised(self, text: str, delivered: int) -> tuple[str, str]:
        """The text with what to do, and that alone."""
        bare = THREAD.sub("", text)
        broker = BROKER.match(bare)
        sign, noted = self._noted.get(broker[0] if broker else "", ("", ""))
        if noted and sign in bare:
            return joined(GUESS.sub("", text), noted), noted
        # who was let in before is not let in by mistake: the broker goes away
        what = "" if delivered and "Disconnected" in bare else advice(bare)
        return joined(text, what), what


def principal_of(properties: Mapping[str, str]) -> str:
    """What the broker knows a client with these properties as, in words."""
    protocol = properties.get("security.protocol", "plaintext").lower()
    mechanism = properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "")).upper()
    if protocol in SASL and mechanism == "OAUTHBEARER":
        return "the token's subject"
    if protocol in SASL and "sasl.username" in properties:
        return f"User:{shown('sasl.username', properties['sasl.username'])}"
    if protocol == "ssl" and any(name.startswith(("ssl.certificate.", "ssl.keystore.")) for name in properties):
        return "the client certificate's subject"
    return "User:ANONYMOUS"
