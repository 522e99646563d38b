// Turns what gateways have counted into rates and quantiles of the last minute or so.
//
// Each response comes from one gateway, and the next may come from another. So counts are compared only with earlier
// counts of the same gateway, and the figures are those of all gateways that answered.

const WINDOW_S = 30;
const MAX_SAMPLES = 64;

export class Figures {
  #samples = new Map();

  /** @param {{at: number, gateway: {id: string, since: number}}} answer  of /v1/admin/cluster */
  take({ at, gateway }) {
    const known = this.#samples.get(gateway.id) ?? [];
    // A gateway that started again counts from zero again.
    const samples = known.at(-1)?.since === gateway.since ? known : [];
    if (samples.at(-1)?.at !== at) samples.push({ at, ...gateway });
    this.#samples.set(gateway.id, samples.slice(-MAX_SAMPLES));
    for (const [id, kept] of this.#samples) {
      while (kept.length && kept[0].at < at - WINDOW_S) kept.shift();
      if (!kept.length) this.#samples.delete(id);
    }
  }

  get openRequests() {
    return sum([...this.#samples.values()].map((samples) => samples.at(-1).open_requests));
  }

  /** Responses per second. */
  get requestRate() {
    return sum(this.#spans().map(({ from, to }) => answered(from, to) / (to.at - from.at)));
  }

  /** Share of responses that failed because of the cluster; null if there were no responses. */
  get errorShare() {
    const spans = this.#spans();
    const all = sum(spans.map(({ from, to }) => answered(from, to)));
    const failed = sum(spans.map(({ from, to }) => answered(from, to, (status) => status >= 500)));
    return all ? failed / all : null;
  }

  /** Milliseconds; null if no stream began. */
  ttft(quantile) {
    // A gateway without a first token so far has no buckets.
    const spans = this.#spans().filter(({ to }) => to.ttft.le.length);
    if (!spans.length) return null;
    const bounds = spans[0].to.ttft.le;
    const counts = bounds.map((_, i) => sum(spans.map(({ from, to }) => to.ttft.counts[i] - (from.ttft.counts[i] ?? 0))));
    return quantileOf(bounds, counts, quantile);
  }

  #spans() {
    return [...this.#samples.values()]
      .map((samples) => ({ from: samples[0], to: samples.at(-1) }))
      .filter(({ from, to }) => to.at > from.at);
  }
}

function answered(from, to, which = () => true) {
  const statuses = Object.keys(to.requests).filter((status) => which(Number(status)));
  return sum(statuses.map((status) => to.requests[status] - (from.requests[status] ?? 0)));
}

/** Of cumulative buckets, linear within one, as Prometheus' histogram_quantile does. Bounds in s, the answer in ms. */
export function quantileOf(bounds, counts, quantile) {
  const all = counts.at(-1) ?? 0;
  if (!all) return null;
  const wanted = quantile * all;
  const index = counts.findIndex((count) => count >= wanted);
  const below = index ? counts[index - 1] : 0;
  const low = index ? bounds[index - 1] : 0;
  const high = bounds[index];
  // Beyond the last bound nothing more is known.
  if (high === null) return 1000 * low;
  return 1000 * (low + (high - low) * ((wanted - below) / (counts[index] - below)));
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
