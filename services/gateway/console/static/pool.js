// One pool on the cluster page: its rollout, its queue by class, its workers, and the adapters that they have loaded.

import { Bar } from "./bar.js";
import { el, keep, say } from "./dom.js";
import { count, rate, time, version } from "./format.js";

const ENDED_SHOWN_MS = 60_000;
// A worker sends a heartbeat about twice a second. If the last one is older than this, something is slow.
const LATE_MS = 3000;

export class PoolView {
  constructor({ name }) {
    this.facts = el("p", { class: "detail" });
    this.rollout = new RolloutView();
    this.classes = table("Queue by class", ["Class", "Queued", "Running", "Expected wait"]);
    this.workers = table("Workers", ["Worker", "State", "Running", "KV cache", "Tokens/s", "Version", "Heartbeat"]);
    this.adapters = table("Adapters in memory", ["Adapter", "Version", "Workers"]);
    this.adapters.root.classList.add("wide");
    this.root = el("section", { class: "pool", "aria-label": `Pool ${name}` },
      el("header", {}, el("h2", {}, name), this.facts), this.rollout.root,
      el("div", { class: "tables" }, this.classes.root, this.workers.root, this.adapters.root));
  }

  update(pool) {
    say(this.facts, `${pool.ready_workers} of ${pool.workers.length} workers ready, ${pool.desired_workers} wanted · serves ${pool.model} · placement ${pool.placement} · context ${count(pool.context_tokens)}`);
    this.rollout.update(pool.rollout);
    keep(this.classes.rows, pool.classes, ({ tier }) => tier, classRow);
    keep(this.workers.rows, pool.workers, ({ id }) => id, workerRow);
    this.workers.root.classList.toggle("none", !pool.workers.length);
    const adapters = loaded(pool.workers);
    keep(this.adapters.rows, adapters, ({ key }) => key, adapterRow);
    this.adapters.root.hidden = !adapters.length;
  }
}

/** The adapters in memory, by name, each with its workers. While a version replaces another one, there are two of it. */
function loaded(workers) {
  const found = new Map();
  for (const worker of workers) {
    for (const { name, version: digest } of worker.loaded_adapters) {
      const key = `${name}@${digest}`;
      if (!found.has(key)) found.set(key, { key, name, digest, workers: [] });
      found.get(key).workers.push(worker.id);
    }
  }
  return [...found.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
}

function table(name, columns) {
  const rows = el("tbody");
  const head = el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, column))));
  return { rows, root: el("div", { class: "table" }, el("table", {}, el("caption", {}, name), head, rows)) };
}

function classRow({ tier }) {
  const queued = new Bar(`${tier}: queued`, { warns: true });
  const [running, wait] = cells(2);
  const root = el("tr", {}, el("th", { scope: "row" }, tier), el("td", {}, queued.root), running, wait);
  const update = (row) => {
    queued.show(row.queued, row.max_queued, `${count(row.queued)} / ${count(row.max_queued)}`);
    say(running, count(row.running));
    say(wait, row.expected_wait_ms ? time(row.expected_wait_ms) : "none");
  };
  return { root, update };
}

function workerRow({ id }) {
  const running = new Bar(`${id}: running`, { warns: false });
  const kv = new Bar(`${id}: KV cache`, { warns: true });
  const state = el("span", { class: "state" });
  const [speed, digest, beat] = cells(3);
  const root = el("tr", {}, el("th", { scope: "row" }, id), el("td", {}, state),
    el("td", {}, running.root), el("td", {}, kv.root), speed, digest, beat);
  const update = (worker) => {
    root.title = `${worker.address}, pid ${worker.pid}`;
    show(state, worker.state);
    running.show(worker.running, worker.slots, `${worker.running} / ${worker.slots}`);
    kv.show(worker.kv_tokens_used, worker.kv_tokens, `${count(worker.kv_tokens_used)} / ${count(worker.kv_tokens)}`);
    say(speed, rate(worker.tokens_per_second));
    say(digest, version(worker.version));
    digest.title = worker.version;
    say(beat, time(worker.heartbeat_age_ms));
    beat.classList.toggle("late", worker.heartbeat_age_ms > LATE_MS);
  };
  digest.classList.add("digest");
  return { root, update };
}

function adapterRow({ name, digest }) {
  const [which, workers] = [el("td", { class: "digest", title: digest }, version(digest)), el("td")];
  const root = el("tr", {}, el("th", { scope: "row" }, name), which, workers);
  return { root, update: (adapter) => say(workers, adapter.workers.join(", ")) };
}

class RolloutView {
  constructor() {
    this.state = el("span", { class: "state" });
    this.what = el("span");
    this.progress = el("progress", { "aria-label": "Workers on the new version" });
    this.way = el("p", { class: "detail" });
    this.workers = el("ul");
    this.gate = table("Gate", ["Class", "Figure", "Old version", "New version", "Requests"]);
    this.root = el("div", { class: "rollout", role: "status", hidden: "" },
      el("p", {}, this.state, this.what), this.progress, this.way, this.workers, this.gate.root);
  }

  /** @param rollout  null: there was none. A rollout that ended long ago is not shown. */
  update(rollout) {
    this.root.hidden = !rollout || (rollout.ended_ms > 0 && Date.now() - rollout.ended_ms > ENDED_SHOWN_MS);
    if (this.root.hidden) return;
    const goal = rollout.state === "undoing" ? rollout.previous_version : rollout.version;
    const there = rollout.workers.filter((worker) => worker.version === goal).length;
    show(this.state, rollout.paused_by ? "paused" : rollout.state);
    say(this.way, way(rollout));
    this.gate.root.hidden = !rollout.gate?.figures.length;
    keep(this.gate.rows, rollout.gate?.figures ?? [], ({ tier, figure }) => `${tier} ${figure}`, gateRow);
    say(this.what, `${version(rollout.previous_version)} → ${version(rollout.version)}, ${there} of ${rollout.workers.length} workers${rollout.reason ? `: ${rollout.reason}` : ""}`);
    this.progress.max = Math.max(1, rollout.workers.length);
    this.progress.value = there;
    keep(this.workers, rollout.workers.filter(({ phase }) => phase), ({ id }) => id, phaseItem);
  }
}

/** How the rollout goes through the pool, what it waits for, and who wants it. */
function way({ policy, mode, state, step, paused_by, admitted_version, version: goal, who, why, gate }) {
  const said = [];
  if (state === "rolling") {
    if (step) said.push(`${policy}, step ${step.number} of ${step.count + 1}`);
    if (step?.hold_left_ms) said.push(`holds for ${time(step.hold_left_ms)}`);
    if (policy === "all_at_once") said.push(admitted_version === goal ? "requests start on the new version" : "not changed over yet");
    if (paused_by) said.push(`paused by ${paused_by}`);
    if (gate) said.push(`gate: ${gate.decision}, ${gate.reason}`);
  }
  if (mode) said.push(`requests that run: ${mode.replace("_", " ")}`);
  if (who || why) said.push(`started by ${[who, why].filter(Boolean).join(": ")}`);
  return said.join(" · ");
}

function gateRow({ tier, figure }) {
  const [older, newer, requests] = cells(3);
  const root = el("tr", {}, el("th", { scope: "row" }, tier), el("td", {}, figure), older, newer, requests);
  const update = (row) => {
    say(older, gateValue(figure, row.old));
    say(newer, gateValue(figure, row.new));
    newer.classList.toggle("late", row.worse);
    say(requests, `${count(row.old_requests)} / ${count(row.new_requests)}`);
  };
  return { root, update };
}

function gateValue(figure, value) {
  if (value === null) return "none";
  if (["errors", "structured"].includes(figure)) return `${(value * 100).toFixed(2)} %`;
  return figure === "length" ? count(Math.round(value)) : time(value * 1000);
}

function phaseItem() {
  const root = el("li");
  const update = ({ id, phase, reason }) => say(root, `${id}: ${phase}${reason ? ` (${reason})` : ""}`);
  return { root, update };
}

const cells = (number) => Array.from({ length: number }, () => el("td", { class: "number" }));

/** A state by its name, and by a colour that the style sheet knows. */
function show(pill, state) {
  say(pill, state);
  pill.dataset.state = state;
}
