// The live page of the cluster, for admin keys.

import { cluster, Refused } from "./api.js";
import { $, keep, say } from "./dom.js";
import { Figures } from "./figures.js";
import { Poll } from "./poll.js";
import { PoolView } from "./pool.js";
import { ask } from "./session.js";
import { Tile } from "./tile.js";
import { count, rate, share, time } from "./format.js";

export class ClusterPage {
  #figures = new Figures();
  #poll = new Poll((signal) => this.#refresh(signal));
  #tiles = {
    running: new Tile("Running", "Requests that workers have now"),
    queued: new Tile("Queued", "Requests that wait for a worker, of all classes"),
    tokens: new Tile("Tokens/s", "As the workers' engines report them"),
    requests: new Tile("Requests/s", "Answered, over the last 30 s, by the gateways that this page heard"),
    ttft: new Tile("TTFT", "Time to first token: median over the last 30 s"),
    errors: new Tile("Errors", "Share of answers with a 5xx status, over the last 30 s"),
  };

  constructor() {
    $("tiles").append(...Object.values(this.#tiles).map((tile) => tile.root));
  }

  open() {
    this.#poll.start();
  }

  close() {
    this.#poll.stop();
  }

  forget() {
    this.close();
    this.#figures = new Figures();
    this.#show([]);
    $("tiles").hidden = true;
  }

  async #refresh(signal) {
    try {
      const answer = await cluster(signal);
      this.#figures.take(answer);
      this.#show(answer.pools);
      this.#sum(answer.pools);
      note("");
      return true;
    } catch (error) {
      if (error.name !== "AbortError") this.#failed(error);
      return false;
    }
  }

  #failed(error) {
    // A response that cannot be read, or a bug of this page. The next one may be fine; people should see this error.
    if (!(error instanceof Refused)) console.error(error);
    if (error.status === 401) return this.close();
    if (error.status !== 403) return note(`${error.message} What stands below is from before.`);
    this.forget();
    note("This key may chat, but the cluster page needs an admin key. ", "Sign in with another key");
  }

  #show(pools) {
    keep($("pools"), pools, ({ name }) => name, (pool) => new PoolView(pool));
  }

  #sum(pools) {
    const figures = this.#figures;
    const { running, queued, tokens, requests, ttft, errors } = this.#tiles;
    const workers = pools.flatMap((pool) => pool.workers);
    const slots = total(workers, "slots");
    const now = total(workers, "running");
    const waiting = total(pools.flatMap((pool) => pool.classes), "queued");
    const speed = total(workers, "tokens_per_second");
    $("tiles").hidden = false;
    running.show(now, count(now), `of ${count(slots)} slots`);
    queued.show(waiting, count(waiting));
    tokens.show(speed, rate(speed));
    requests.show(figures.requestRate, rate(figures.requestRate), `${count(figures.openRequests)} open`);
    const median = figures.ttft(0.5);
    ttft.show(median, time(median), `p95 ${time(figures.ttft(0.95))}`);
    const failed = figures.errorShare;
    errors.show(failed, failed === null ? "–" : share(failed));
  }
}

function note(text, action = "") {
  say($("cluster-note"), text);
  if (!action) return;
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: action });
  button.addEventListener("click", () => ask());
  $("cluster-note").append(button);
}

const total = (rows, field) => rows.reduce((sum, row) => sum + row[field], 0);
