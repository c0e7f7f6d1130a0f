// The native driver against the modeled controller, through PCI and IOMMU.
import { BLOCK_OP, BLOCK_STATUS } from '@splitring/device';
import test from 'ava';
import { command, createMachine, pagesOf, runAll } from './machine.ts';

test('NvmeDriver brings a controller up and finds its namespaces', (t) => {
  const machine = createMachine();
  machine.settle();
  t.is(machine.driver.failure, undefined);
  t.is(machine.driver.state, 'ready');
  t.deepEqual(machine.driver.namespaces, [
    { nsid: 1, blocks: 8192, logicalBlockBytes: 512, physicalBlockBytes: 512, isReadOnly: false, hasDiscard: true },
  ]);
});

test('NvmeDisk reads back what it wrote, over page lists of every length', (t) => {
  const machine = createMachine();
  machine.settle();
  const disk = machine.driver.openDisk(1);
  const run = machine.hypercalls.allocateFrames(machine.hypercalls.domid, 512);
  for (const pages of [1, 2, 3, 32, 255, 256]) {
    const source = run.bytes.subarray(0, pages * 4096);
    for (let i = 0; i < source.length; i++) source[i] = (i * 7 + pages) & 0xff;
    const target = run.bytes.subarray(256 * 4096, (256 + pages) * 4096);
    target.fill(0);
    const statuses = runAll(machine, disk, [
      command({
        op: BLOCK_OP.write,
        startSector: 64,
        sectors: pages * 8,
        busPages: pagesOf(run, 0, pages),
        pageCount: pages,
      }),
      command({ op: BLOCK_OP.flush, sectors: 0 }),
      command({
        op: BLOCK_OP.read,
        startSector: 64,
        sectors: pages * 8,
        busPages: pagesOf(run, 256, pages),
        pageCount: pages,
      }),
    ]);
    t.deepEqual(statuses, [BLOCK_STATUS.okay, BLOCK_STATUS.okay, BLOCK_STATUS.okay]);
    t.deepEqual(Buffer.from(target), Buffer.from(source), `${pages} pages`);
  }
});
