// What the ring promises. A bar on time "at most 2.2× the native time" is a ratio of at least 1 / 2.2.
import type { Bar } from '../harness/contract.ts';

/** A bar on time: at most `times` × the baseline's. */
function within(caseName: string, subject: string, baseline: string, times: number, hoped?: number): Bar {
  const text = `${subject} takes at most ${times}× the time of ${baseline}`;
  const bar = { case: caseName, subject, baseline, must: 1 / times, text };
  return hoped === undefined ? bar : { ...bar, aim: 1 / hoped };
}

/** A bar on speed: at least `times` × the baseline's. */
function faster(caseName: string, subject: string, baseline: string, times: number): Bar {
  return {
    case: caseName,
    subject,
    baseline,
    must: times,
    text: `${subject} is at least ${times}× as fast as ${baseline}`,
  };
}

/** A bar on a count. */
function atMost(caseName: string, subject: string, most: number, text: string): Bar {
  return { case: caseName, subject, must: most, text: `${subject}: ${text} at most ${most}` };
}

/** The ring's bars. */
export const ringBars: readonly Bar[] = [
  within('oneway-8', 'fixed', 'native', 2.2),
  within('oneway-64', 'fixed', 'native', 2.5),
  within('oneway-112', 'fixed', 'native', 2.2),
  within('oneway-112', 'fixed-wasm', 'native', 1.8, 1.5),
  within('oneway-1024', 'fixed-wasm', 'native', 1),
  within('oneway-16384', 'fixed-wasm', 'native', 1.2),
  within('oneway-1024', 'fixed', 'native', 1.7),
  within('oneway-16384', 'fixed', 'native', 2.4),
  within('oneway-8', 'fixed-auto', 'fixed-single', 1.4),
  within('oneway-64', 'fixed-auto', 'fixed-single', 1.4),
  within('oneway-112', 'fixed-auto', 'fixed-single', 1.4),
  within('oneway-64', 'channel', 'native', 5),
  within('oneway-112', 'channel', 'native', 3.5),
  within('pipelined-112-d1', 'xen', 'native', 1.2),
  within('pipelined-112-d8', 'xen', 'native', 1.9),
  within('pipelined-112-d32', 'xen', 'native', 2.3),
  within('pipelined-112-d256', 'xen', 'native', 2.2),
  atMost('pipelined-112-d256-block.notifications', 'xen', 0.012, 'notifications per request'),
  atMost('pipelined-112-d256-adaptive.notifications', 'xen', 0.001, 'notifications per request'),
  within('rtt-spin', 'waiter', 'native', 1.1),
  within('rtt-block', 'waiter', 'native', 1.35),
  within('rtt-async', 'waiter', 'native', 1.5),
  faster('oneway-8', 'fixed-single', 'ringbuf.js', 9),
  faster('oneway-64', 'fixed-single', 'ringbuf.js', 9),
  faster('oneway-112', 'fixed-single', 'ringbuf.js', 9),
  faster('oneway-8', 'fixed', 'ringbuf.js-batched', 2),
  faster('oneway-64', 'fixed', 'ringbuf.js-batched', 5),
  faster('oneway-112', 'fixed', 'ringbuf.js-batched', 6),
  faster('pipelined-112-d256', 'xen', 'ringbuf.js', 12),
  faster('oneway-64', 'channel', 'postMessage', 100),
  faster('oneway-112', 'channel', 'postMessage', 60),
  faster('oneway-1024', 'channel', 'postMessage', 40),
  faster('oneway-16384', 'channel', 'postMessage', 12),
];
