// The house as data: who may import whom, and which file may use what the outside world offers.

/** Packages from bottom to top, with the names they may import. */
export const PACKAGES: Readonly<Record<string, { readonly name: string; readonly below: readonly string[] }>> = {
  'packages/ring': { name: 'sharedarraybuffer-ring', below: [] },
  'packages/hypervisor': { name: '@splitring/hypervisor', below: ['sharedarraybuffer-ring'] },
  'packages/device': { name: '@splitring/device', below: ['sharedarraybuffer-ring', '@splitring/hypervisor'] },
  'packages/frontend': {
    name: '@splitring/frontend',
    below: ['sharedarraybuffer-ring', '@splitring/hypervisor', '@splitring/device'],
  },
  'packages/backend': {
    name: '@splitring/backend',
    below: ['sharedarraybuffer-ring', '@splitring/hypervisor', '@splitring/device'],
  },
  'packages/splitring': {
    name: 'splitring',
    below: [
      'sharedarraybuffer-ring',
      '@splitring/hypervisor',
      '@splitring/device',
      '@splitring/frontend',
      '@splitring/backend',
    ],
  },
};

/** Names that tell time, make chance or start threads: only adapters may use them. */
export const OUTSIDE_WORLD = [
  'Date',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'Worker',
  'process',
] as const;

/**
 * Adapters: the files that may use the outside world, each with its reason. A path ending in `/` is a folder.
 */
export const ADAPTERS: readonly { readonly path: string; readonly reason: string }[] = [
  { path: 'packages/splitring/src/', reason: 'the outermost room: command line, workers, files, terminal' },
  { path: 'packages/device/src/media/', reason: 'media are files of the host' },
];
