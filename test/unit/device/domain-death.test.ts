// The death of a driver domain is a reset, never a power cut: what it acknowledged is there for its successor.
import {
  BLOCK_OP,
  BLOCK_STATUS,
  createWriteCache,
  MemoryMedium,
  NvmeController,
  NvmeDriver,
  WriteCache,
} from '@splitring/device';
import test from 'ava';
import { command, createMachine, NVME, pagesOf, runAll } from './machine.ts';

test('acknowledged, unflushed writes of a dead driver domain are readable by its successor', (t) => {
  const buffer = new SharedArrayBuffer(1 << 20);
  const journal = createWriteCache(512, 256);
  const m = createMachine({ media: [new WriteCache(new MemoryMedium(buffer), journal)] });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 2);
  run.bytes.fill(7, 0, 4096);
  t.deepEqual(runAll(m, disk, [command({ op: BLOCK_OP.write, busPages: pagesOf(run, 0, 1), pageCount: 1 })]), [
    BLOCK_STATUS.okay,
  ]);
  disk.submit(command({ op: BLOCK_OP.write, startSector: 8, busPages: pagesOf(run, 1, 1), pageCount: 1 }));
  disk.kick(); // carried out, and never acknowledged

  m.hypervisor.domainDied(m.hypercalls.domid);
  t.is(m.hypervisor.pci.ownerOf(NVME), undefined, 'in quarantine');

  const next = m.hypervisor.createDomain({ name: 'io2' });
  const hypercalls = m.hypervisor.attachInThread(next);
  m.hypervisor.pci.setStepper(NVME, next.domid);
  m.hypervisor.pci.assign(NVME, next.domid, next.generation);
  const bus = hypercalls.startPciBus(m.clock);
  const cache = new WriteCache(new MemoryMedium(buffer), journal);
  bus.plug(NVME, (master) => new NvmeController(master, { media: [cache] }));
  const driver = new NvmeDriver({ ...m.kernel, hypercalls }, hypercalls.pci.open(NVME));
  const successor = { ...m, hypercalls, bus, driver, step: () => [driver.poll(), bus.poll()].includes(true) };
  for (let i = 0; i < 100 && driver.state === 'starting'; i++) successor.step();
  t.is(driver.state, 'ready');
  const page = hypercalls.allocateFrames(hypercalls.domid, 1);
  const read = command({ busPages: pagesOf(page), pageCount: 1 });
  t.deepEqual(runAll(successor, driver.openDisk(1), [read]), [BLOCK_STATUS.okay]);
  t.true(page.bytes.every((byte) => byte === 7));
  t.is(cache.dirtyBlocks, 16, 'still volatile');
  cache.powerCut();
  t.is(new Uint8Array(buffer)[0], 0, 'only a power cut loses it');
});

test('assignment, reset and death a hundred times over leave nothing behind', (t) => {
  const m = createMachine();
  m.settle();
  const before = m.hypervisor.inspect().length;
  m.hypervisor.domainDied(m.hypercalls.domid);
  for (let i = 0; i < 100; i++) {
    const domain = m.hypervisor.createDomain({ name: 'io' });
    const hypercalls = m.hypervisor.attachInThread(domain);
    m.hypervisor.pci.setStepper(NVME, domain.domid);
    m.hypervisor.pci.assign(NVME, domain.domid, domain.generation);
    const bus = hypercalls.startPciBus(m.clock);
    bus.plug(NVME, (master) => new NvmeController(master, { media: m.media }));
    const driver = new NvmeDriver({ ...m.kernel, hypercalls }, hypercalls.pci.open(NVME));
    for (let turn = i % 12; turn > 0; turn--) {
      driver.poll();
      bus.poll();
    }
    m.hypervisor.domainDied(domain.domid);
  }
  t.is(m.hypervisor.inspect().length, before - 1);
});
