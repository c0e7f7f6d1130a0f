// What do the hypervisor's own operations cost: grants, events, translations, the store?
import type { CaseSpec, SubjectSpec, Suite } from '../harness/contract.ts';

function subject(
  name: string,
  file: string,
  params: Readonly<Record<string, string | number | boolean>>,
  baselines: readonly string[] = [],
  isPeer = false,
): SubjectSpec {
  const run = { module: new URL(`./subjects/${file}.js`, import.meta.url).href, params };
  return { name, run, baselines, isPeer };
}

function cases(): CaseSpec[] {
  return [
    {
      name: 'map-32',
      title: 'Map 32 grants, reach each page, unmap',
      unit: 'ns',
      group: 'grants',
      x: 'map',
      trialMs: 30,
      subjects: [
        subject('single', 'grants', { way: 'single' }, [], true),
        subject('batch', 'grants', { way: 'batch' }, ['single']),
        subject('run', 'grants', { way: 'run' }, ['single']),
        subject('run-device', 'grants', { way: 'run-device' }, ['single']),
      ],
    },
    ...[64, 4096].map(
      (bytes): CaseSpec => ({
        name: `copy-${bytes}`,
        title: `Copy ${bytes} B out of a grant, in batches of 32`,
        unit: 'ns',
        group: 'grants',
        x: `copy ${bytes} B`,
        trialMs: 30,
        subjects: [
          subject('copy', 'copy', { way: 'copy', bytes }, ['by-hand']),
          subject('by-hand', 'copy', { way: 'by-hand', bytes }, [], true),
        ],
      }),
    ),
    {
      name: 'event-rtt',
      title: 'Round trip of an event between two sleeping domains',
      unit: 'ns',
      metrics: { p99: 'ns', mean: 'ns' },
      group: 'events',
      x: 'round trip',
      trialMs: 60,
      subjects: [
        subject('channel', 'events', { way: 'channel' }, ['wait-notify']),
        subject('wait-notify', 'events', { way: 'bare' }, [], true),
      ],
    },
    {
      name: 'iommu-translate',
      title: 'Translate a page for a device',
      unit: 'ns',
      group: 'iommu',
      x: 'translate',
      trialMs: 20,
      subjects: [
        subject('hit', 'iommu', { way: 'hit' }, ['miss']),
        subject('miss', 'iommu', { way: 'miss' }, [], true),
      ],
    },
    {
      name: 'xenstore',
      title: 'A xenstore operation over the ring, server and client on one thread',
      unit: 'ns',
      group: 'store',
      x: 'operation',
      trialMs: 30,
      subjects: [
        subject('read', 'store', { way: 'read' }),
        subject('write', 'store', { way: 'write' }),
        subject('watch', 'store', { way: 'watch' }),
      ],
    },
    {
      name: 'boot',
      title: 'From createDomain to a program with its disk connected',
      unit: 'ns',
      group: 'domains',
      x: 'boot',
      trialMs: 100, // one boot
      isCrowded: true,
      subjects: [
        subject('domain', 'boot', { way: 'domain' }, ['empty-task']),
        subject('empty-task', 'boot', { way: 'empty-task' }, [], true),
      ],
    },
  ];
}

/** The hypervisor suite. */
export const hypervisorSuite: Suite = {
  name: 'hypervisor',
  title: 'Hypervisor: grants, events, IOMMU, xenstore',
  axes: { grants: 'operation', events: 'operation', iommu: 'operation', store: 'operation', domains: 'what' },
  cases,
  bars: [
    {
      case: 'map-32',
      subject: 'batch',
      baseline: 'single',
      must: 1 / 0.9,
      text: '32 mappings in one batch take ≤ 0.9× of 32 single calls',
    },
    {
      case: 'map-32',
      subject: 'run',
      baseline: 'single',
      must: 1 / 0.25,
      text: 'a contiguous run of 32 takes ≤ 0.25× of 32 single calls',
    },
    {
      case: 'event-rtt',
      subject: 'channel',
      baseline: 'wait-notify',
      must: 1 / 1.3,
      text: 'an event round trip takes ≤ 1.3× a bare Atomics.wait/notify round trip',
    },
    {
      case: 'boot',
      subject: 'domain',
      baseline: 'empty-task',
      must: 1 / 1.5,
      text: 'boot to first device connected takes ≤ 1.5× an empty Piscina task that imports the same modules',
    },
  ],
};
