// Timing of round trips: half of them one by one, for the percentiles; half without a clock in between, for the mean.
import type { HalfReport } from '../harness/pair.ts';

/** Nanosecond figures of timed round trips. */
function report(times: Float64Array, meanMs: number): HalfReport {
  times.sort();
  const at = (fraction: number) => (times[Math.min(times.length - 1, Math.floor(times.length * fraction))] ?? 0) * 1e6;
  return { value: at(0.5), metrics: { p99: at(0.99), mean: meanMs * 1e6 } };
}

/** Time `operations` calls of `once`, each a round trip. */
export function timeRoundTrips(operations: number, once: () => void): HalfReport {
  const timed = (operations + 1) >> 1;
  const times = new Float64Array(timed);
  let at = performance.now();
  for (let i = 0; i < timed; i++) {
    once();
    const now = performance.now();
    times[i] = now - at;
    at = now;
  }
  for (let i = timed; i < operations; i++) once();
  return report(times, (performance.now() - at) / Math.max(1, operations - timed));
}

/** The same for round trips that are awaited. */
export async function timeAsyncRoundTrips(operations: number, once: () => Promise<unknown>): Promise<HalfReport> {
  const timed = (operations + 1) >> 1;
  const times = new Float64Array(timed);
  let at = performance.now();
  for (let i = 0; i < timed; i++) {
    await once();
    const now = performance.now();
    times[i] = now - at;
    at = now;
  }
  for (let i = timed; i < operations; i++) await once();
  return report(times, (performance.now() - at) / Math.max(1, operations - timed));
}
