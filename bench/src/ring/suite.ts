// What does the ring cost, against the best that native code can do and against what people use today?
import type { Suite } from '../harness/contract.ts';
import { ringBars } from './bars.ts';
import { onewayCases } from './oneway.ts';
import { pipelinedCases, roundTripCases } from './pipelined.ts';

/** The ring suite. */
export const ringSuite: Suite = {
  name: 'ring',
  title: 'sharedarraybuffer-ring: messages between two threads',
  axes: {
    oneway: 'message size (bytes)',
    pipelined: 'requests in flight, spinning',
    'pipelined-block': 'requests in flight, sleeping',
    'pipelined-adaptive': 'requests in flight, spinning then sleeping',
    rtt: 'how both ends wait',
  },
  cases: () => [...onewayCases(), ...pipelinedCases(), ...roundTripCases()],
  bars: ringBars,
};
