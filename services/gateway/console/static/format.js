// Figures as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (number) => (number < 10_000 ? whole.format(number) : short.format(number));

export const rate = (number) => (number === null ? "–" : number < 10 ? number.toFixed(1) : count(number));

export const share = (fraction) => `${(100 * fraction).toFixed(fraction > 0 && fraction < 0.1 ? 1 : 0)} %`;

/** ms: null shows a dash. */
export function time(ms) {
  if (ms === null) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

/** A version is a digest of 64 hexadecimal digits. Twelve are enough to tell versions apart. */
export const version = (digest) => digest.slice(0, 12) || "none";
