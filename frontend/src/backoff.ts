// Full jitter: each wait is drawn between nothing and a bound that doubles, so that a thousand panels that lost the
// same server do not come back in step.

export const FIRST_S = 0.5;
export const LONGEST_S = 30;

/** Milliseconds to wait before attempt number `attempt`, counted from 0. */
export const backoff = (attempt: number, random: () => number = Math.random): number =>
  random() * Math.min(LONGEST_S, FIRST_S * 2 ** attempt) * 1000;
