// The block device that the driver offers: what it refuses by itself, long commands, several namespaces and queues.
import { BLOCK_OP, BLOCK_STATUS, type BlockStatus, MemoryMedium } from '@splitring/device';
import { PCI, PCI_COMMAND } from '@splitring/hypervisor';
import test from 'ava';
import { command, createMachine, pagesOf, runAll } from './machine.ts';

const medium = (bytes: number, blockBytes = 512) => new MemoryMedium(new SharedArrayBuffer(bytes), { blockBytes });

test('wrong commands complete with a status and never reach the device', (t) => {
  const m = createMachine({ media: [medium(1 << 20, 4096)] });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 2);
  const before = m.controller.commands;
  const page = { busPages: pagesOf(run), pageCount: 1 };
  const cases: [BlockStatus, Parameters<typeof command>[0]][] = [
    [BLOCK_STATUS.outOfRange, { ...page, startSector: 2048 }],
    [BLOCK_STATUS.outOfRange, { ...page, startSector: 2041 }],
    [BLOCK_STATUS.outOfRange, { ...page, startSector: -8 }],
    [BLOCK_STATUS.outOfRange, { ...page, startSector: Number.NaN }],
    [BLOCK_STATUS.outOfRange, { ...page, sectors: 0 }],
    [BLOCK_STATUS.error, { ...page, startSector: 4 }],
    [BLOCK_STATUS.error, { ...page, sectors: 4 }],
    [BLOCK_STATUS.error, { ...page, pageCount: 2 }],
    [BLOCK_STATUS.error, { ...page, firstOffset: 100, pageCount: 2 }],
    [BLOCK_STATUS.error, { ...page, sectors: 2048, pageCount: 257 }],
  ];
  for (const [expected, fields] of cases) {
    t.deepEqual(runAll(m, disk, [command(fields)]), [expected], JSON.stringify(fields));
  }
  t.is(m.controller.commands, before);
});

test('write zeroes and discard of any length go out in pieces', (t) => {
  const buffer = new SharedArrayBuffer(80 << 20);
  const bytes = new Uint8Array(buffer);
  const m = createMachine({ media: [new MemoryMedium(buffer)] });
  m.settle();
  const disk = m.driver.openDisk(1);
  for (const op of [BLOCK_OP.writeZeroes, BLOCK_OP.discard]) {
    bytes.fill(1);
    const before = m.controller.commands;
    t.deepEqual(runAll(m, disk, [command({ op, startSector: 8, sectors: 140_000 })]), [BLOCK_STATUS.okay]);
    t.is(m.controller.commands - before, 3);
    t.is(bytes.indexOf(0), 4096);
    t.is(bytes.indexOf(1, 4096), 4096 + 140_000 * 512);
  }
});

test('namespaces and queue pairs are apart', (t) => {
  const m = createMachine({ media: [medium(1 << 20), medium(2 << 20, 4096)] }, { queuePairs: 3 });
  m.settle();
  t.is(m.driver.queuePairs, 3);
  t.deepEqual(
    m.driver.namespaces.map(({ nsid, blocks }) => [nsid, blocks]),
    [
      [1, 2048],
      [2, 512],
    ],
  );
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 3);
  const disks = [m.driver.openDisk(1, 0), m.driver.openDisk(2, 1), m.driver.openDisk(1, 2)] as const;
  const page = (i: number) => ({ busPages: pagesOf(run, i, 1), pageCount: 1 });
  run.bytes.fill(1, 0, 4096);
  run.bytes.fill(2, 4096, 8192);
  runAll(m, disks[0], [command({ op: BLOCK_OP.write, ...page(0) })]);
  runAll(m, disks[1], [command({ op: BLOCK_OP.write, ...page(1) })]);
  runAll(m, disks[2], [command({ ...page(2) })]);
  t.is(run.bytes[2 * 4096], 1);
  t.throws(() => m.driver.openDisk(3), { instanceOf: RangeError });
  t.throws(() => m.driver.openDisk(1, 9), { instanceOf: RangeError });
});

test('tags run out, come back, and every command completes once', (t) => {
  const m = createMachine({}, { queueEntries: 8 });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
  t.is(disk.freeTags, 7);
  const seen: number[] = [];
  disk.onComplete = (cookie) => seen.push(cookie);
  let accepted = 0;
  while (disk.submit(command({ busPages: pagesOf(run), pageCount: 1, cookie: accepted }))) accepted++;
  t.is(accepted, 7);
  disk.kick();
  m.settle();
  t.deepEqual(seen.sort(), [0, 1, 2, 3, 4, 5, 6]);
  t.is(disk.freeTags, 7);
});

test('a command may be submitted from within a completion', (t) => {
  const m = createMachine({}, { queueEntries: 4 });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
  let left = 50;
  const read = () => command({ busPages: pagesOf(run), pageCount: 1 });
  disk.onComplete = (_cookie, status) => {
    t.is(status, BLOCK_STATUS.okay);
    if (--left > 0) disk.submit(read());
  };
  disk.submit(read());
  disk.kick();
  m.settle(1000);
  t.is(left, 0);
});

test('closing the driver ends what is in flight as aborted and gives all memory back', (t) => {
  const m = createMachine();
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
  const seen: BlockStatus[] = [];
  disk.onComplete = (_cookie, status) => seen.push(status);
  disk.submit(command({ busPages: pagesOf(run), pageCount: 1 }));
  disk.kick();
  m.driver.close();
  m.driver.close();
  t.deepEqual(seen, [BLOCK_STATUS.aborted]);
  t.is(m.pci.configRead(PCI.command, 2) & PCI_COMMAND.busMaster, 0);
  disk.submit(command({ busPages: pagesOf(run), pageCount: 1 }));
  disk.poll();
  t.deepEqual(seen, [BLOCK_STATUS.aborted, BLOCK_STATUS.error]);
});

test('the driver fails clearly when the controller does not answer or offers what it cannot use', (t) => {
  const dead = createMachine();
  dead.pci.configWrite(PCI.command, 2, 0);
  dead.driver.poll();
  dead.pci.configWrite(PCI.command, 2, PCI_COMMAND.memory); // DMA off: the admin queue is out of reach
  for (let i = 0; i < 200 && dead.driver.state === 'starting'; i++) {
    dead.time.ms += 1000;
    dead.step();
  }
  t.is(dead.driver.state, 'failed');
  t.regex(dead.driver.failure ?? '', /no answer in time|fatal/);
});

test('a resized medium resizes the disk', (t) => {
  const disk = medium(1 << 20);
  const m = createMachine({ media: [disk] });
  m.settle();
  const opened = m.driver.openDisk(1);
  const sizes: number[] = [];
  opened.onResize = (sectors) => sizes.push(sectors);
  for (const bytes of [1 << 19, 1 << 18]) {
    Object.defineProperty(disk, 'capacityBytes', { value: bytes, configurable: true });
    m.controller.resample(1);
    m.settle(50);
  }
  t.deepEqual(sizes, [1024, 512]);
  t.is(opened.capacitySectors, 512);
});

test('arm unmasks the interrupt, which is raised once for completions that came while asleep', (t) => {
  const m = createMachine();
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
  const drain = () => m.hypercalls.pollEvents(() => {});
  drain();
  const read = () => {
    disk.submit(command({ busPages: pagesOf(run), pageCount: 1 }));
    disk.kick();
  };
  for (let i = 0; i < 10; i++) read();
  m.settle();
  t.is(drain(), 0, 'masked while polled');
  t.false(m.driver.arm());
  t.is(drain(), 0, 'nothing is left pending');
  read();
  m.bus.poll();
  t.is(drain(), 1);
  t.true(m.driver.arm());
  m.settle();
  t.is(drain(), 0);
});
