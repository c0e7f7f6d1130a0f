// What does a virtual disk cost, against the same thread calling fs by itself and against asking a worker by postMessage?
import type { Bar, CaseSpec, Suite } from '../harness/contract.ts';
import type { BlockParams } from './params.ts';

const BASES = ['own', 'own-guest', 'own-driver'];

/** Name, request size, depths, pattern, operation. */
const LOADS = [
  ['rand-read-4k', 4096, [1, 8, 32, 128], 'random', 'read'],
  ['seq-read-4k', 4096, [32, 128], 'sequential', 'read'],
  ['seq-read-64k', 65_536, [1, 8], 'sequential', 'read'],
  ['seq-read-1m', 1 << 20, [1, 2], 'sequential', 'read'],
  ['rand-write-4k', 4096, [1, 32], 'random', 'write'],
  ['seq-write-4k', 4096, [128], 'sequential', 'write'],
] as const;

function blockCase(name: string, params: BlockParams): CaseSpec {
  const module = (file: string) => new URL(`./subjects/${file}.js`, import.meta.url).href;
  const size = params.bytes >= 1 << 20 ? `${params.bytes >> 20} MiB` : `${params.bytes >> 10} KiB`;
  return {
    name: `${name}-d${params.depth}`,
    title: `${params.pattern} ${params.op} of ${size}, ${params.depth} in flight`,
    unit: 'requests/s',
    metrics: { busy: 'ns' },
    group: name,
    x: params.depth,
    trialMs: 10,
    subjects: [
      { name: 'split', run: { module: module('split'), params }, baselines: [...BASES, 'rpc'] },
      { name: 'rpc', run: { module: module('rpc'), params }, baselines: ['own'], isPeer: true },
    ],
  };
}

function cases(): CaseSpec[] {
  return LOADS.flatMap(([name, bytes, depths, pattern, op]) =>
    depths.map((depth) => blockCase(name, { bytes, depth, pattern, op })),
  );
}

function bar(caseName: string, baseline: string, must: number, aim: number): Bar {
  const text = baseline === 'own' ? 'rate against the thread’s own fs loop' : `rate against ${baseline}`;
  return { case: caseName, subject: 'split', baseline, must, aim, text: `${text} ≥ ${must}` };
}

const OWN: readonly (readonly [string, number, number])[] = [
  ['rand-read-4k-d1', 0.6, 0.72],
  ['rand-read-4k-d8', 0.8, 0.9],
  ['rand-read-4k-d32', 0.88, 0.95],
  ['rand-read-4k-d128', 0.88, 0.95],
  ['seq-read-4k-d32', 1.8, 2.2],
  ['seq-read-4k-d128', 2, 2.4],
  ['seq-read-64k-d1', 0.75, 0.85],
  ['seq-read-64k-d8', 0.9, 0.98],
  ['seq-read-1m-d1', 0.85, 0.95],
  ['seq-read-1m-d2', 0.85, 0.95],
  ['rand-write-4k-d1', 0.6, 0.72],
  ['rand-write-4k-d32', 0.82, 0.9],
  ['seq-write-4k-d128', 1.7, 2.1],
];

const RPC: readonly (readonly [string, number, number])[] = [
  ['rand-read-4k-d1', 20, 30],
  ['rand-read-4k-d8', 2.3, 2.8],
  ['rand-read-4k-d32', 2.3, 2.8],
  ['rand-read-4k-d128', 2.3, 2.8],
  ['seq-read-4k-d32', 5, 7.5],
  ['seq-read-4k-d128', 5, 7.5],
];

/** The block suite. */
export const blockSuite: Suite = {
  name: 'block',
  title: 'A guest’s disk: front end, ring, back end, NVMe model, IOMMU, image file',
  axes: Object.fromEntries(LOADS.map(([name]) => [name, 'requests in flight'])),
  cases,
  bars: [
    ...OWN.map(([name, must, aim]) => bar(name, 'own', must, aim)),
    ...RPC.map(([name, must, aim]) => bar(name, 'rpc', must, aim)),
  ],
};
