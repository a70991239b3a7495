// The live page: asks /api/snapshot twice a second and shows what changed between answers.
// What peers sent is hostile: it goes into the page by textContent only.
"use strict";

const INTERVAL = 500; // ms between an answer and the next question
const PATIENCE = 1000; // ms for an answer; an outage must show within 2 s
const SPAN = 60; // seconds of the chart
const RATE_OVER = 1; // seconds that a rate is taken over, at least
const ROWS = 50; // of a table

const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

let history = []; // {at, counters, received, delivered}: at in seconds of the bridge's clock, rates per second
let started = null; // of the bridge whose history it is
let shown = null; // the newest snapshot

const number = (value) => whole.format(value);
const perSecond = (value) => (value > 0 && value < 10 ? tenths : whole).format(value);
const warning = (value) => (value > 0 ? "n warn" : "n");

function duration(us) {
  if (us >= 1e6) return `${tenths.format(us / 1e6)} s`;
  return us >= 1000 ? `${tenths.format(us / 1000)} ms` : `${whole.format(us)} µs`;
}

function uptime(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `up ${Math.floor(hours / 24)} days`;
  return hours ? `up ${hours} h ${minutes % 60} min` : `up ${minutes} min ${Math.floor(seconds % 60)} s`;
}

function say(element, text, className) {
  if (element.textContent !== text) element.textContent = text;
  if (className !== undefined && element.className !== className) element.className = className;
}

// rows: arrays of [text, class]; cells are kept, so that a selection in them survives
function fill(id, rows) {
  const body = $(id).tBodies[0];
  const some = rows.length ? rows.slice(0, ROWS) : [[["none", ""]]];
  while (body.rows.length > some.length) body.deleteRow(-1);
  some.forEach((cells, i) => {
    const row = body.rows[i] || body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach(([text, className], j) => say(row.cells[j] || row.insertCell(), String(text), className || ""));
  });
}

const sum = (list, name) => list.reduce((total, one) => total + (one[name] || 0), 0);
const most = (list, name) => list.reduce((top, one) => Math.max(top, one[name] || 0), 0);

// every counter that has a rate, by a name of its own
function countersOf(snapshot) {
  const counters = new Map();
  const add = (name, value) => counters.set(name, (counters.get(name) || 0) + value);
  for (const one of snapshot.inputs) {
    add("received", one.received);
    add(`input ${one.url}`, one.received);
    add("drops", one.kernel_drops);
  }
  for (const [i, one] of snapshot.targets.entries()) {
    add("delivered", one.delivered);
    add(`target ${i} ${one.socket}`, one.delivered);
    for (const [name, count] of Object.entries(one.errors)) add(`error ${name}`, count);
  }
  for (const [name, count] of Object.entries(snapshot.invalid)) add(`invalid ${name}`, count);
  for (const [name, count] of Object.entries(snapshot.events)) add(`event ${name}`, count);
  return counters;
}

// remembers the snapshot; the rate of a counter by its name, 0 while there is nothing to compare with
function ratesOf(snapshot) {
  if (snapshot.started !== started) {
    history = [];
    started = snapshot.started;
  }
  const at = snapshot.uptime_s;
  const counters = countersOf(snapshot);
  const before = history.findLast((one) => at - one.at >= RATE_OVER) || history[0];
  const rate = (name) => {
    if (!before || at <= before.at) return 0;
    return Math.max(0, (counters.get(name) || 0) - (before.counters.get(name) || 0)) / (at - before.at);
  };
  history.push({ at, counters, received: rate("received"), delivered: rate("delivered") });
  while (history[0].at < at - SPAN) history.shift();
  return rate;
}

function draw() {
  const drawn = history.slice(1); // the first has no rate
  const now = history[history.length - 1].at;
  const top = Math.max(1, most(drawn, "received"), most(drawn, "delivered"));
  for (const name of ["received", "delivered"]) {
    const points = drawn.map((one) => {
      const x = 600 * (1 - (now - one.at) / SPAN);
      return `${x.toFixed(1)},${(98 - (94 * one[name]) / top).toFixed(1)}`;
    });
    document.querySelector(`#chart .${name}`).setAttribute("points", points.join(" "));
  }
  say($("chart-top"), number(top));
}

function show(snapshot) {
  const { inputs, targets, invalid, events } = snapshot;
  const rate = ratesOf(snapshot);
  const drops = sum(inputs, "kernel_drops");
  const deliveryErrors = new Map();
  for (const one of targets) {
    for (const [name, count] of Object.entries(one.errors)) {
      deliveryErrors.set(name, (deliveryErrors.get(name) || 0) + count);
    }
  }
  const reasons = [
    ...Object.entries(invalid).map(([name, count]) => [name, "message", rate(`invalid ${name}`), count]),
    ...[...deliveryErrors].map(([name, count]) => [name, "delivery", rate(`error ${name}`), count]),
  ].filter((reason) => reason[3] > 0).sort((a, b) => b[2] - a[2] || b[3] - a[3]);
  const errorRate = reasons.reduce((total, reason) => total + reason[2], 0);

  say($("state"), snapshot.draining ? "draining" : snapshot.ready ? "receiving" : "starting");
  say($("version"), snapshot.version);
  say($("uptime"), uptime(snapshot.uptime_s));
  say($("received-rate"), perSecond(rate("received")));
  say($("delivered-rate"), perSecond(rate("delivered")));
  say($("in-flight"), number(sum(targets, "in_flight")));
  say($("error-rate"), perSecond(errorRate), errorRate > 0 ? "warn" : "");
  say($("kernel-drops"), number(drops), rate("drops") > 0 ? "warn" : "");
  for (const name of ["p50", "p90", "p99", "max"]) {
    say($(`latency-${name}`), duration(most(targets, `latency_${name}_us`)));
  }
  draw();

  fill("targets", targets.map((one, i) => [
    [one.socket], one.up ? ["up", "up"] : ["DOWN", "down"],
    [perSecond(rate(`target ${i} ${one.socket}`)), "n"], [number(one.delivered), "n"], [number(one.in_flight), "n"],
    [number(one.failed), warning(one.failed)], [number(one.dropped), warning(one.dropped)],
    [number(one.rejected), warning(one.rejected)], [duration(one.latency_p50_us), "n"],
    [duration(one.latency_p99_us), "n"], [duration(one.latency_max_us), "n"],
  ]));
  fill("inputs", inputs.map((one) => [
    [one.url], [perSecond(rate(`input ${one.url}`)), "n"], [number(one.received), "n"], [number(one.bytes), "n"],
    [number(one.queued), "n"], [number(one.invalid), warning(one.invalid)],
    [number(one.unrouted), warning(one.unrouted)], [number(one.kernel_drops), warning(one.kernel_drops)],
    [number(one.connections || 0), "n"],
  ]));
  fill("reasons", reasons.map(([name, of, now, count]) => [
    [name], [of], [perSecond(now), warning(now)], [number(count), "n"],
  ]));
  fill("events", Object.entries(events).sort((a, b) => b[1] - a[1]).map(([name, count]) => [
    [name], [perSecond(rate(`event ${name}`)), "n"], [number(count), "n"],
  ]));
  fill("subscribers", snapshot.subscribers.map((one) => [
    [one.event], [one.socket], [one.expires_s === null ? "never" : `${number(one.expires_s)} s`, "n"],
  ]));
  fill("last-events", snapshot.last_events.map((one) => [
    [new Date(one.time * 1000).toISOString().slice(11, 23)], [one.event], [one.key || ""], [one.source],
  ]));
  outage(targets.filter((one) => !one.up).map((one) => `DOWN: ${one.socket}: ${one.error || "no broker is up"}`));
}

function outage(reasons) {
  const text = reasons.join("\n");
  say($("outage"), text);
  $("outage").hidden = !text;
  document.title = text ? "DOWN: pykafkaevt bridge" : "pykafkaevt bridge";
}

function unanswered(error) {
  say($("state"), "NOT ANSWERING");
  for (const id of ["received-rate", "delivered-rate", "in-flight", "error-rate"]) say($(id), "?");
  for (const row of shown ? $("targets").tBodies[0].rows : []) {
    if (row.cells.length > 1) say(row.cells[1], "DOWN", "down");
  }
  outage([`DOWN: the bridge does not answer (${error.message})`]);
}

async function poll() {
  try {
    const response = await fetch("api/snapshot", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    shown = await response.json();
    show(shown);
  } catch (error) {
    unanswered(error);
  }
  setTimeout(poll, INTERVAL);
}

poll();
