// What does a virtual disk cost, against the same thread calling fs by itself and against asking a worker by postMessage?
import type { Bar, CaseSpec, Suite } from '../harness/contract.ts';
import type { CrowdParams } from './crowd-params.ts';
import type { BlockParams } from './params.ts';
import { whyNoFio } from './why-no-fio.ts';

const BASES = ['own', 'own-guest', 'own-driver'];

/** Further rows of a load; the last three are counts: events per request that each side sends, requests per device command. */
const METRICS = {
  'cpu-guest': 'ns',
  'cpu-driver': 'ns',
  'notifications-guest': '',
  'notifications-driver': '',
  merge: '',
} as const;

/** Name, request size, depths, pattern, operation. */
const LOADS = [
  ['rand-read-4k', 4096, [1, 8, 32, 128], 'random', 'read'],
  ['seq-read-4k', 4096, [32, 128], 'sequential', 'read'],
  ['seq-read-64k', 65_536, [1, 8], 'sequential', 'read'],
  ['seq-read-1m', 1 << 20, [1, 2], 'sequential', 'read'],
  ['rand-write-4k', 4096, [1, 32], 'random', 'write'],
  ['seq-write-4k', 4096, [128], 'sequential', 'write'],
] as const;

const module = (file: string) => new URL(`./subjects/${file}.js`, import.meta.url).href;

function blockCase(name: string, params: BlockParams): CaseSpec {
  const size = params.bytes >= 1 << 20 ? `${params.bytes >> 20} MiB` : `${params.bytes >> 10} KiB`;
  return {
    name: `${name}-d${params.depth}`,
    title: `${params.pattern} ${params.op} of ${size}, ${params.depth} in flight`,
    unit: 'requests/s',
    metrics: METRICS,
    group: name,
    x: params.depth,
    trialMs: 10,
    subjects: [
      { name: 'split', run: { module: module('split'), params }, baselines: [...BASES, 'rpc'] },
      { name: 'rpc', run: { module: module('rpc'), params }, baselines: ['own'], isPeer: true, isCrowded: true },
    ],
  };
}

/** The same load by the disk's own methods: how programs are written that do not count nanoseconds. */
function programCase(style: 'await' | 'sync', depth: number): CaseSpec {
  const params = { bytes: 4096, depth, pattern: 'random', op: 'read', style };
  const how = style === 'sync' ? 'by synchronous calls' : `each awaited, ${depth} in flight`;
  return {
    name: `${style}-read-4k-d${depth}`,
    title: `random read of 4 KiB, ${how}`,
    unit: 'requests/s',
    metrics: METRICS,
    group: `${style}-read-4k`,
    x: depth,
    trialMs: 20,
    isFullOnly: true,
    generations: 1,
    subjects: [{ name: 'split', run: { module: module('split'), params }, baselines: ['own'] }],
  };
}

const PROGRAMS = [programCase('sync', 1), ...[1, 8, 32].map((depth) => programCase('await', depth))];

/** More than one reader: the only way past the thread's own loop for random reads. */
const TWO_QUEUES_CASE: CaseSpec = {
  name: 'two-queues-rand-read-4k-d128',
  title: 'random read of 4 KiB, 128 in flight on each of two disks with a driver domain each, the guest asleep',
  unit: 'requests/s',
  metrics: METRICS,
  group: 'two-queues',
  x: 128,
  trialMs: 30,
  isCrowded: true,
  isFullOnly: true,
  generations: 1,
  subjects: [
    {
      name: 'split',
      run: {
        module: module('split'),
        params: { bytes: 4096, depth: 128, pattern: 'random', op: 'read', style: 'two-queues' },
      },
      baselines: BASES,
    },
  ],
};

/** What a request costs the guest itself: the driver domain does the rest meanwhile. */
const FRONT_CASE: CaseSpec = {
  name: 'front-4k-d32',
  title: 'front end alone, random read of 4 KiB into a zero-copy buffer, 32 in flight',
  unit: 'ns',
  group: 'front',
  x: 32,
  trialMs: 2, // of busy time: some twenty-five times as long by the clock
  subjects: [
    {
      name: 'split',
      run: { module: module('split'), params: { bytes: 4096, depth: 32, pattern: 'random', op: 'read', busy: true } },
      baselines: ['own'],
    },
  ],
};

/** Controller, native driver and IOMMU against a disk that has none of them, below the same back end. */
function modelCase(pattern: 'random' | 'sequential', depth: number): CaseSpec {
  const params = { bytes: 4096, depth, pattern, op: 'read' };
  const short = pattern === 'random' ? 'rand' : 'seq';
  return {
    name: `model-${short}-read-4k-d${depth}`,
    title: `${pattern} read of 4 KiB, ${depth} in flight, with and without the NVMe model and the IOMMU`,
    unit: 'requests/s',
    group: 'model',
    x: `${short} ${depth}`,
    trialMs: 10,
    isFullOnly: true,
    subjects: [{ name: 'modeled', run: { module: module('model'), params }, baselines: ['direct'] }],
  };
}

const MODEL_CASES = [modelCase('random', 1), modelCase('random', 32), modelCase('sequential', 128)];

/** What storage people use: fio on the image itself, and fio as a client of `serve-nbd`, against the thread's own loop. */
function fioCase(engine: 'psync' | 'nbd', depth: number): CaseSpec {
  const unavailable = whyNoFio(engine);
  return {
    name: `fio-${engine}-rand-read-4k-d${depth}`,
    title: `fio, ${engine === 'nbd' ? 'through the NBD export' : 'psync'}: random read of 4 KiB, ${depth} in flight`,
    unit: 'requests/s',
    group: 'fio',
    x: `${engine} ${depth}`,
    trialMs: 100,
    isCrowded: true,
    isFullOnly: true,
    generations: 1,
    subjects: [
      {
        name: 'fio',
        run: { module: module('fio'), params: { bytes: 4096, depth, pattern: 'random', op: 'read', engine } },
        baselines: ['own'],
        ...(unavailable === undefined ? {} : { unavailable }),
      },
    ],
  };
}

function fioCases(): CaseSpec[] {
  return [fioCase('psync', 1), fioCase('nbd', 1), fioCase('nbd', 32)];
}

function crowdCase(name: string, title: string, params: CrowdParams): CaseSpec {
  return {
    name,
    title,
    unit: 'requests/s',
    metrics: { spread: '×' },
    group: 'guests',
    x: name.replace(/^guests-/, ''),
    trialMs: 100,
    isCrowded: true,
    generations: 2,
    isFullOnly: name !== 'guests-16-rand',
    subjects: [{ name: 'split', run: { module: module('crowd'), params }, baselines: ['own'] }],
  };
}

const CROWDS = [
  crowdCase('guests-4-rand', '4 guests on one driver domain, random read of 4 KiB, 32 in flight each', {
    guests: 4,
    depth: 32,
    firstDepth: 32,
    pattern: 'random',
  }),
  crowdCase('guests-16-rand', '16 guests on one driver domain, random read of 4 KiB, 32 in flight each', {
    guests: 16,
    depth: 32,
    firstDepth: 32,
    pattern: 'random',
  }),
  crowdCase('guests-16-seq', '16 guests on one driver domain, sequential read of 4 KiB, 128 in flight each', {
    guests: 16,
    depth: 128,
    firstDepth: 128,
    pattern: 'sequential',
  }),
  crowdCase('guests-16-greedy', '16 guests, one with 128 random reads of 4 KiB in flight, the others with 8', {
    guests: 16,
    depth: 8,
    firstDepth: 128,
    pattern: 'random',
  }),
];

const NEIGHBOUR_CASE: CaseSpec = {
  name: 'neighbour-p99',
  title: '99th percentile of a random read of 4 KiB beside a guest that writes and flushes in a loop',
  unit: 'ns',
  group: 'neighbour',
  x: 'p99',
  trialMs: 30,
  isCrowded: true,
  isFullOnly: true,
  generations: 2,
  subjects: [{ name: 'split', run: { module: module('neighbour'), params: {} }, baselines: ['alone', 'elsewhere'] }],
};

function cases(): CaseSpec[] {
  const loads = LOADS.flatMap(([name, bytes, depths, pattern, op]) =>
    depths.map((depth) => blockCase(name, { bytes, depth, pattern, op })),
  );
  return [...loads, TWO_QUEUES_CASE, ...PROGRAMS, ...MODEL_CASES, ...fioCases(), FRONT_CASE, ...CROWDS, NEIGHBOUR_CASE];
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

function crowdBars(
  name: string,
  rate: readonly [number, number] | undefined,
  fairness: readonly [number, number],
): Bar[] {
  const [must, aim] = fairness;
  const text = `slowest guest against the fastest ≥ ${must}`;
  const spread: Bar = { case: `${name}.spread`, subject: 'split', must: 1 / must, aim: 1 / aim, text };
  if (rate === undefined) return [spread];
  const [least, hoped] = rate;
  const whole = `all guests together against one that reads by itself ≥ ${least}`;
  return [{ case: name, subject: 'split', baseline: 'own', must: least, aim: hoped, text: whole }, spread];
}

/** The block suite. */
export const blockSuite: Suite = {
  name: 'block',
  title: 'A guest’s disk: front end, ring, back end, NVMe model, IOMMU, image file',
  axes: {
    ...Object.fromEntries(LOADS.map(([name]) => [name, 'requests in flight'])),
    'await-read-4k': 'requests in flight',
    'sync-read-4k': 'requests in flight',
    front: 'requests in flight',
    'two-queues': 'requests in flight on each',
    model: 'load',
    fio: 'engine and load',
    guests: 'guests and load',
    neighbour: 'measure',
  },
  cases,
  bars: [
    ...OWN.map(([name, must, aim]) => bar(name, 'own', must, aim)),
    ...RPC.map(([name, must, aim]) => bar(name, 'rpc', must, aim)),
    {
      case: 'front-4k-d32',
      subject: 'split',
      baseline: 'own',
      must: 15,
      aim: 27,
      text: 'time of one own read against what a request costs the guest ≥ 15',
    },
    ...MODEL_CASES.map(
      ({ name }): Bar => ({
        case: name,
        subject: 'modeled',
        baseline: 'direct',
        must: 0.9,
        aim: 0.97,
        text: 'rate against the same path without NVMe model and IOMMU ≥ 0.9',
      }),
    ),
    ...crowdBars('guests-16-rand', [0.55, 0.8], [0.8, 0.95]),
    ...crowdBars('guests-16-seq', [1.3, 2], [0.8, 0.95]),
    ...crowdBars('guests-16-greedy', undefined, [0.6, 0.9]),
    {
      case: 'neighbour-p99',
      subject: 'split',
      baseline: 'alone',
      must: 0.5,
      text: 'p99 alone against p99 beside a guest that flushes ≥ 0.5',
    },
    {
      case: 'neighbour-p99',
      subject: 'split',
      baseline: 'elsewhere',
      must: 0.7,
      text: 'p99 beside a thread that flushes another file as often against p99 beside a guest that flushes ≥ 0.7',
    },
  ],
};
