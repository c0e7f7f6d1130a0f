// How many frames a second go from guest to guest, at what cost, and how late does one arrive?
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { canCopyBetweenMemories } from '@splitring/hypervisor';
import type { Bar, CaseSpec, SubjectSpec, Suite } from '../harness/contract.ts';
import type { NetParams } from './params.ts';

const BASE: NetParams = {
  bytes: 1514,
  guests: 2,
  traffic: 'pairs',
  driverSpins: 2000,
  memory: 'separate',
  beside: 'nobody',
  besideBytes: 1514,
  hasHops: false,
  hasUplink: false,
};
/** Full frames a second on 10 Gigabit Ethernet, preamble and gap counted: nanoseconds of one. */
const LINE_RATE_NS = 1e9 / 812_743;

function subject(
  name: string,
  file: string,
  params: NetParams,
  baselines: readonly string[],
  isPeer = false,
): SubjectSpec {
  const run = { module: new URL(`./subjects/${file}.js`, import.meta.url).href, params };
  return { name, run, baselines, isPeer };
}

const METRICS = {
  'cpu-driver': 'ns',
  'cpu-guests': 'ns',
  notifications: 'events',
  unfairness: 'share of the time',
  time: 'ns',
  // Of the veth pair: the kernel's work for a frame is done by whoever is in it, mostly by the sender.
  'cpu-front': 'ns',
  'cpu-back': 'ns',
};
const PEERS = ['postMessage', 'postMessage-32', 'copies', 'veth'];

/** The kernel between two network namespaces, where there is one to ask. */
function veth(bytes: number): SubjectSpec {
  const hasTools = process.getuid?.() === 0 && spawnSync('ip', ['-V']).error === undefined;
  return {
    name: 'veth',
    run: { native: 'veth', args: [String(Math.max(60, bytes))] },
    baselines: [],
    isPeer: true,
    ...(hasTools ? {} : { unavailable: 'a veth pair needs Linux, root and iproute2 (ip)' }),
  };
}

function streamCase(name: string, title: string, bytes: number): CaseSpec {
  const params = { ...BASE, bytes };
  return {
    name,
    title,
    unit: 'frames/s',
    metrics: METRICS,
    group: 'stream',
    x: bytes,
    trialMs: 60,
    isCrowded: true,
    generations: 2,
    subjects: [
      subject('split', 'split', params, PEERS),
      subject('shared', 'split', { ...params, memory: 'shared' }, PEERS),
      ...(canCopyBetweenMemories()
        ? [subject('separate-wasm', 'split', { ...params, memory: 'separate-wasm' }, PEERS)]
        : []),
      subject('postMessage', 'post-message', { ...params, batch: 1 }, [], true),
      subject('postMessage-32', 'post-message', { ...params, batch: 32 }, [], true),
      subject('copies', 'copy-chain', params, [], true),
      veth(bytes),
    ],
  };
}

/** Many guests at once: the measured ones beside what they are compared with, under its own name. */
function crowdCase(name: string, title: string, params: NetParams, baseline: string, than: NetParams): CaseSpec {
  return {
    name,
    title,
    unit: 'frames/s',
    metrics: METRICS,
    group: 'crowd',
    x: name,
    trialMs: params.guests > 8 ? 200 : 60, // every guest must have had several turns of its core
    isCrowded: true,
    isFullOnly: true,
    generations: 2,
    subjects: [subject('split', 'split', params, [baseline]), subject(baseline, 'split', than, [], true)],
  };
}

/** Many guests: pairs, or everybody sending to the next, beside one pair of the same round. */
function manyCase(name: string, title: string, guests: number, traffic: 'pairs' | 'ring'): CaseSpec {
  return crowdCase(name, title, { ...BASE, guests, traffic }, 'one-pair', BASE);
}

/** The same pair beside another one that sends as fast as it can, and as the baseline beside whom `than` says. */
function floodCase(name: string, title: string, beside: NetParams, than: NetParams): CaseSpec {
  return crowdCase(name, title, beside, than.beside === 'nobody' ? 'alone' : 'equal-neighbour', than);
}

function latencyCase(name: string, title: string, driverSpins: number): CaseSpec {
  const params: NetParams = { ...BASE, traffic: 'echo', driverSpins };
  return {
    name,
    title,
    unit: 'ns',
    metrics: { p99: 'ns' },
    group: 'latency',
    x: name,
    trialMs: 60,
    isCrowded: true,
    isFullOnly: driverSpins === 0,
    generations: 2,
    subjects: [
      subject('split', 'split', params, ['postMessage-2-hops']),
      subject('postMessage-2-hops', 'post-message-hops', params, [], true),
    ],
  };
}

/** Where the time of one frame goes; noting it costs a little at each place, so this is a case of its own. */
function hopsCase(name: string, title: string, driverSpins: number): CaseSpec {
  const params: NetParams = { ...BASE, traffic: 'echo', driverSpins, hasHops: true };
  return {
    ...latencyCase(name, title, driverSpins),
    metrics: { p99: 'ns', 'hop-send': 'ns', 'hop-driver': 'ns', 'hop-receive': 'ns' },
    isFullOnly: true,
    subjects: [subject('split', 'split', params, [])],
  };
}

function cases(): CaseSpec[] {
  return [
    streamCase('stream-1514', 'One pair, frames of 1514 B', 1514),
    streamCase('stream-64', 'One pair, frames of 64 B', 64),
    streamCase('stream-65226', 'One pair, large TCP frames of 64 KiB', 65_226),
    manyCase('pairs-4', 'Four pairs at once', 8, 'pairs'),
    manyCase('guests-16', '16 guests, each sends to the next', 16, 'ring'),
    floodCase(
      'flood-neighbour',
      'One pair beside one that floods with frames of 64 KiB',
      { ...BASE, beside: 'pair', besideBytes: 65_226 },
      { ...BASE, beside: 'pair' },
    ),
    floodCase(
      'flood-deaf',
      'One pair beside a flood towards a guest that takes nothing',
      { ...BASE, beside: 'deaf' },
      BASE,
    ),
    latencyCase('latency-spin', 'One way through the bridge, the driver domain spins', 20_000),
    latencyCase('latency-block', 'One way through the bridge, everybody sleeps', 0),
    hopsCase('hops-spin', 'Where a frame’s time goes, the driver domain spins', 20_000),
    hopsCase('hops-block', 'Where a frame’s time goes, everybody sleeps', 0),
    crowdCase(
      'uplink-1514',
      'One pair, beside an open uplink that nobody uses',
      { ...BASE, hasUplink: true },
      'no-uplink',
      BASE,
    ),
  ];
}

function faster(caseName: string, baseline: string, must: number, aim: number, who = 'split'): Bar {
  const text = `${who} is at least ${must}× ${baseline}`;
  return { case: caseName, subject: who, baseline, must, aim, text };
}

/** A promise about full frames, by how many times the line rate of 10 Gigabit Ethernet they come. */
function lineRate(who: string, must: number, aim: number): Bar {
  const text = `${who} carries ${must} times the full frames of 10 Gigabit Ethernet (ns per frame)`;
  return { case: 'stream-1514.time', subject: who, must: LINE_RATE_NS / must, aim: LINE_RATE_NS / aim, text };
}

/** What the network promises: `split` with extents separate per peer, `shared` with all of them in one memory. */
const bars: readonly Bar[] = [
  faster('stream-1514', 'postMessage', 7, 11),
  faster('stream-1514', 'postMessage-32', 4.5, 7),
  faster('stream-1514', 'copies', 0.55, 0.8),
  lineRate('split', 2, 3),
  faster('stream-64', 'postMessage', 10, 20),
  faster('stream-64', 'postMessage-32', 5, 8),
  faster('stream-65226', 'copies', 0.55, 0.8),
  faster('stream-1514', 'postMessage', 12, 20, 'shared'),
  faster('stream-1514', 'postMessage-32', 8, 13, 'shared'),
  faster('stream-1514', 'copies', 1, 1.5, 'shared'),
  lineRate('shared', 4, 6),
  faster('stream-65226', 'copies', 1.4, 2.4, 'shared'),
  faster('guests-16', 'one-pair', 0.22, 0.45),
  {
    case: 'guests-16.unfairness',
    subject: 'split',
    must: 0.4,
    aim: 0.2,
    text: 'the slowest guest has at least 0.6 of the rate of the fastest (share of the time that one waits for the other)',
  },
  faster('flood-neighbour', 'equal-neighbour', 0.4, 0.8),
  faster('flood-deaf', 'alone', 0.5, 0.8),
  faster('latency-spin', 'postMessage-2-hops', 2, 3),
  faster('latency-block', 'postMessage-2-hops', 1, 1.2),
];

/** The network suite. */
export const netSuite: Suite = {
  name: 'net',
  title: 'Network: frames from guest to guest',
  axes: { stream: 'frame size (bytes)', crowd: 'guests', latency: 'who spins' },
  cases,
  bars,
};
