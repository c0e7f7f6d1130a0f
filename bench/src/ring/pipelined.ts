// Requests and responses with 1 to 256 in flight, and round trips for every way to wait.
import type { CaseSpec, SubjectSpec } from '../harness/contract.ts';
import type { PipelinedParams } from './params.ts';
import { isAsync, WAIT_NAMES, type WaitName } from './waiting.ts';

const DEPTHS = [1, 8, 32, 256];

function subject(name: string, file: string, params: PipelinedParams, baselines: readonly string[]): SubjectSpec {
  return { name, run: { module: new URL(`./subjects/${file}.js`, import.meta.url).href, params }, baselines };
}

function native(...args: readonly string[]): SubjectSpec {
  return { name: 'native', run: { native: 'ring', args }, baselines: [], isPeer: true };
}

function peer(...args: Parameters<typeof subject>): SubjectSpec {
  return { ...subject(...args), isPeer: true };
}

const CPU = { 'cpu-front': 'ns', 'cpu-back': 'ns' };

/** Depth cases: both ends spin; `-block`: both sleep at once; `-adaptive`: both spin, then sleep. */
export function pipelinedCases(): CaseSpec[] {
  return (['spin', 'block', 'adaptive'] as const).flatMap((wait) =>
    DEPTHS.map((depth): CaseSpec => {
      const suffix = wait === 'spin' ? '' : `-${wait}`;
      const params = (peer: string): PipelinedParams => ({ depth, wait, timed: false, peer });
      const peers = [
        peer('ringbuf.js', 'pipelined-peers', params('ringbuf.js'), ['native']),
        peer('postMessage', 'pipelined-peers', params('postMessage'), ['native']),
      ];
      return {
        name: `pipelined-112-d${depth}${suffix}`,
        title: `112 B requests and responses, ${depth} in flight, ${TITLES[wait]}`,
        unit: 'requests/s',
        metrics: { notifications: '', ...CPU },
        group: `pipelined${suffix}`,
        x: depth,
        trialMs: wait === 'spin' ? 2 : 8,
        isFullOnly: wait !== 'spin' && depth !== 256 && !(wait === 'block' && depth === 32),
        subjects: [
          native('pipelined', String(depth), wait === 'block' ? 'block' : 'spin'),
          subject('xen', 'xen', params('xen'), wait === 'spin' ? ['native', 'ringbuf.js', 'postMessage'] : ['native']),
          ...(wait === 'spin' ? peers : []),
        ],
      };
    }),
  );
}

const TITLES: Readonly<Record<WaitName, string>> = {
  spin: 'spinning',
  adaptive: 'spinning, then sleeping',
  block: 'sleeping in Atomics.wait',
  async: 'sleeping in Atomics.waitAsync',
  port: 'woken by a MessagePort',
};

/** Round trips: median and 99th percentile for every way to wait. */
export function roundTripCases(): CaseSpec[] {
  return WAIT_NAMES.map((wait): CaseSpec => {
    const params: PipelinedParams = { depth: 1, wait, timed: true, peer: 'postMessage' };
    const spins = wait === 'spin' || wait === 'adaptive';
    const messages = isAsync(wait) ? [peer('postMessage', 'pipelined-peers', params, ['native'])] : [];
    const baselines = isAsync(wait) ? ['native', 'postMessage'] : ['native'];
    return {
      name: `rtt-${wait}`,
      title: `Round trip, ${TITLES[wait]}: median`,
      unit: 'ns',
      metrics: { p99: 'ns', mean: 'ns', notifications: '', ...CPU },
      group: 'rtt',
      x: wait,
      trialMs: spins ? 2 : 10,
      subjects: [
        native('roundtrip', spins ? 'spin' : 'block'),
        subject('waiter', 'waiter', params, baselines),
        subject('xen', 'xen', params, baselines),
        ...messages,
      ],
    };
  });
}
