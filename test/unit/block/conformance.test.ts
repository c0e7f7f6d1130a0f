// Both conformance suites over the features of the protocol in their combinations.
import test from 'ava';
import { BLKIF_RING_RULES } from '../../conformance/blkif-ring.ts';
import { DEVICE_API_RULES } from '../../conformance/block-device-api.ts';
import { BlockCluster } from '../../support/block-cluster.ts';
import { BlockLab } from '../../support/block-lab.ts';
import { RawGuest } from '../../support/raw-blkfront.ts';

/** Every combination of the choices. */
function combinations<T>(choices: readonly (readonly T[])[]): T[][] {
  return choices.reduce<T[][]>((all, some) => all.flatMap((one) => some.map((choice) => [...one, choice])), [[]]);
}

const FEATURES = [
  'hasFlush',
  'hasBarrier',
  'hasForceUnitAccess',
  'hasDiscard',
  'hasWriteZeroes',
  'isPersistent',
] as const;

test('every combination of features behaves like a disk', async (t) => {
  t.timeout(55_000);
  for (const chosen of combinations(FEATURES.map(() => [true, false]))) {
    const backend = Object.fromEntries(FEATURES.map((feature, i) => [feature, chosen[i] === true]));
    const lab = new BlockLab({ backend });
    const { disk } = lab.guest({ bufferBytes: 128 << 10 });
    const name = FEATURES.filter((_, i) => chosen[i]).join(' ') || 'nothing';
    for (const rule of DEVICE_API_RULES) {
      if (rule.name.startsWith('the synchronous') && !disk.hasFlush) continue; // it flushes
      if (rule.name.startsWith('what is written')) continue; // the transports below do this
      await t.notThrowsAsync(
        rule.check({ disk, until: (promise) => lab.until(promise) }),
        `${rule.name}, with ${name}`,
      );
    }
  }
});

for (const [ringOrder, queues, maxSegments, isPersistent] of combinations<number | boolean>([
  [0, 2, 4],
  [1, 4],
  [1, 11, 256],
  [true, false],
])) {
  test(`a transport of order ${ringOrder}, ${queues} queues, ${maxSegments} segments, persistent ${isPersistent}`, async (t) => {
    const lab = new BlockLab();
    const { disk } = lab.guest({
      ringOrder: Number(ringOrder),
      queues: Number(queues),
      maxSegments: Number(maxSegments),
      isPersistent: isPersistent === true,
    });
    const medium = (offset: number, length: number) => lab.ram.bytes.slice(offset, offset + length);
    for (const rule of DEVICE_API_RULES) {
      await t.notThrowsAsync(rule.check({ disk, until: (promise) => lab.until(promise), medium }), rule.name);
    }
  });
}

test('a disk of 4 KiB blocks behaves like a disk', async (t) => {
  const lab = new BlockLab({ logicalBlockBytes: 4096 });
  const { disk } = lab.guest();
  t.is(disk.blockBytes, 4096);
  for (const rule of DEVICE_API_RULES) {
    await t.notThrowsAsync(rule.check({ disk, until: (promise) => lab.until(promise) }), rule.name);
  }
});

test('the split disk over NVMe, IOMMU and xenstore behaves like a disk', async (t) => {
  const cluster = new BlockCluster();
  const { disk } = cluster.guest();
  for (const rule of DEVICE_API_RULES) {
    await t.notThrowsAsync(rule.check({ disk, until: (promise) => cluster.until(promise) }), rule.name);
  }
});

for (const isPersistent of [1, 0]) {
  for (const rule of BLKIF_RING_RULES) {
    test(`blkif ring, persistent ${isPersistent}: ${rule.name}`, (t) => {
      const guest = new RawGuest(new BlockLab(), { 'feature-persistent': isPersistent });
      t.notThrows(() => rule.check(guest));
    });
  }
}
