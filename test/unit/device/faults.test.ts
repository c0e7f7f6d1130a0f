// Every fault on every command it can happen to, timing, abort and reset: what the driver sees and what the medium holds.
import {
  BLOCK_OP,
  BLOCK_STATUS,
  createWriteCache,
  type FaultKind,
  FaultPlan,
  type FaultRule,
  MEDIUM_STATUS,
  MemoryMedium,
  WriteCache,
} from '@splitring/device';
import { FLR_DELAY_MS, PCI, PCI_EXP_DEVCTL_FLR, PCI_EXP_DEVSTA_TRPND } from '@splitring/hypervisor';
import test from 'ava';
import { command, createMachine, pagesOf, runAll } from './machine.ts';

function xorshift(seed: number) {
  let state = seed | 1;
  return {
    nextU32: () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state >>> 0;
    },
  };
}

function faulty(rules: readonly FaultRule[], seed = 1) {
  const buffer = new SharedArrayBuffer(1 << 20);
  new Uint8Array(buffer).fill(0xaa);
  const faults = new FaultPlan(xorshift(seed));
  const medium = new MemoryMedium(buffer);
  const time = { ms: 0 };
  const machine = createMachine({ media: [medium], faults, clock: { nowMs: () => time.ms } });
  machine.settle();
  const disk = machine.driver.openDisk(1);
  const run = machine.hypercalls.allocateFrames(machine.hypercalls.domid, 8);
  for (const rule of rules) faults.add(rule);
  const write = (fields = {}) =>
    command({ op: BLOCK_OP.write, sectors: 32, busPages: pagesOf(run, 0, 4), pageCount: 4, ...fields });
  const read = (fields = {}) =>
    command({ op: BLOCK_OP.read, sectors: 32, busPages: pagesOf(run, 4, 4), pageCount: 4, ...fields });
  run.bytes.fill(0x55, 0, 4 * 4096);
  return { ...machine, flrTime: machine.time, time, faults, disk, run, write, read, onDisk: new Uint8Array(buffer) };
}

const count = (bytes: Uint8Array, value: number): number =>
  bytes.reduce((sum, byte) => sum + (byte === value ? 1 : 0), 0);

test('an error fault answers with its status and moves nothing', (t) => {
  for (const [status, expected] of [
    [undefined, BLOCK_STATUS.error],
    [MEDIUM_STATUS.outOfSpace, BLOCK_STATUS.outOfSpace],
    [MEDIUM_STATUS.outOfRange, BLOCK_STATUS.outOfRange],
    [MEDIUM_STATUS.readOnly, BLOCK_STATUS.readOnly],
  ] as const) {
    const m = faulty([{ kind: 'error', times: 4, ...(status === undefined ? {} : { status }) }]);
    const commands = [
      m.write(),
      m.read(),
      command({ op: BLOCK_OP.flush, sectors: 0 }),
      command({ op: BLOCK_OP.discard }),
    ];
    t.deepEqual(runAll(m, m.disk, commands), [expected, expected, expected, expected]);
    t.is(count(m.onDisk, 0xaa), 1 << 20);
    t.is(m.faults.struck.error, 4);
    t.deepEqual(runAll(m, m.disk, [m.write()]), [BLOCK_STATUS.okay], 'four times, no more');
  }
});

test('lost, torn, misdirected and corrupt writes are reported as done', (t) => {
  const changed = { lost: 0, torn: 0, misdirected: 0, corrupt: 0 };
  for (const kind of ['lost', 'torn', 'misdirected', 'corrupt'] as const) {
    const m = faulty([{ kind, operations: ['write'] }], 77);
    t.deepEqual(runAll(m, m.disk, [m.write()]), [BLOCK_STATUS.okay]);
    changed[kind] = count(m.onDisk.subarray(0, 16_384), 0x55);
    if (kind === 'misdirected') t.is(count(m.onDisk, 0x55), 16_384, 'all of it, elsewhere');
  }
  t.is(changed.lost, 0);
  t.true(changed.torn < 16_384 && changed.torn % 512 === 0);
  t.true(changed.misdirected < 16_384);
  t.is(changed.corrupt, 16_383);
});

test('a torn write of one block tears inside the block', (t) => {
  const seen = new Set<number>();
  for (let seed = 1; seed < 20; seed++) {
    const m = faulty([{ kind: 'torn' }], seed);
    runAll(m, m.disk, [m.write({ sectors: 1, pageCount: 1 })]);
    seen.add(count(m.onDisk, 0x55));
  }
  t.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 256],
  );
});

test('misdirected and corrupt reads are reported as done', (t) => {
  const m = faulty([{ kind: 'corrupt', operations: ['read'], times: 1 }]);
  t.deepEqual(runAll(m, m.disk, [m.read()]), [BLOCK_STATUS.okay]);
  t.is(count(m.run.bytes.subarray(4 * 4096), 0xaa), 4 * 4096 - 1);
  m.faults.clear();
  m.onDisk.fill(0x11, 0, 16_384);
  m.faults.add({ kind: 'misdirected', operations: ['read'] });
  runAll(m, m.disk, [m.read()]);
  t.true(count(m.run.bytes.subarray(4 * 4096), 0x11) < 16_384);
});

test('a lost flush and a lost discard are reported as done', (t) => {
  const m = faulty([{ kind: 'lost' }]);
  t.deepEqual(
    runAll(m, m.disk, [command({ op: BLOCK_OP.flush, sectors: 0 }), command({ op: BLOCK_OP.discard })]),
    [0, 0],
  );
  t.is(count(m.onDisk, 0xaa), 1 << 20);
  t.is(m.faults.struck.lost, 2);
});

test('a slow command waits on the clock while others pass', (t) => {
  const m = faulty([{ kind: 'slow', operations: ['read'], delayMs: 50, times: 1 }]);
  const done: number[] = [];
  m.disk.onComplete = (cookie) => done.push(cookie);
  m.disk.submit(m.read({ cookie: 1 }));
  m.disk.submit(m.write({ cookie: 2 }));
  m.disk.kick();
  m.settle();
  t.deepEqual(done, [2]);
  t.is(m.bus.deadlineMs(), 50);
  m.time.ms = 49.5;
  m.settle();
  t.deepEqual(done, [2]);
  m.time.ms = 50;
  m.settle();
  t.deepEqual(done, [2, 1]);
});

test('a stalled command is answered only when released, aborted or never', (t) => {
  const m = faulty([{ kind: 'stall', operations: ['write'], times: 1 }]);
  const done: number[] = [];
  m.disk.onComplete = (cookie) => done.push(cookie);
  m.disk.submit(m.write({ cookie: 1 }));
  m.disk.kick();
  m.settle();
  t.deepEqual(done, []);
  t.true(m.controller.isBusy());
  t.is(m.pci.configRead(PCI.expressDeviceStatus, 2) & PCI_EXP_DEVSTA_TRPND, PCI_EXP_DEVSTA_TRPND);
  m.faults.release();
  m.settle();
  t.deepEqual(done, [1]);
});

test('a function level reset drops a command in flight: its DMA never happens', (t) => {
  const m = faulty([{ kind: 'stall', operations: ['read'], times: 1 }]);
  m.disk.submit(m.read());
  m.disk.kick();
  m.settle();
  m.run.bytes.fill(0, 4 * 4096);
  m.pci.configWrite(PCI.expressDeviceControl, 2, PCI_EXP_DEVCTL_FLR);
  m.faults.release();
  m.settle();
  t.is(count(m.run.bytes.subarray(4 * 4096), 0xaa), 0);
  t.is(m.pci.configRead(PCI.vendorId, 2), 0xffff, 'not back yet');
  m.flrTime.ms += FLR_DELAY_MS;
  t.is(m.pci.configRead(PCI.vendorId, 2), 0x5853);
  t.is(m.pci.configRead(PCI.command, 2), 0);
  t.is(m.pci.bar(0).read32(0), 0xffff_ffff, 'memory space is off');
});

test('timing: latency after a channel of limited bandwidth', (t) => {
  const time = { ms: 0 };
  const m = createMachine({
    timing: { readMs: 2, writeMs: 5, flushMs: 10, bytesPerMs: 16_384 },
    clock: { nowMs: () => time.ms },
  });
  m.settle();
  const disk = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 4);
  const done: [number, number][] = [];
  disk.onComplete = (cookie) => done.push([cookie, time.ms]);
  const pages = { sectors: 32, busPages: pagesOf(run), pageCount: 4 };
  disk.submit(command({ ...pages, cookie: 1 }));
  disk.submit(command({ ...pages, cookie: 2, startSector: 32 }));
  disk.submit(command({ ...pages, op: BLOCK_OP.write, cookie: 3 }));
  disk.submit(command({ op: BLOCK_OP.flush, sectors: 0, cookie: 4 }));
  disk.kick();
  for (time.ms = 0; time.ms < 20; time.ms += 0.5) m.settle();
  t.deepEqual(done, [
    [1, 3],
    [2, 4],
    [3, 8],
    [4, 13],
  ]);
});

test('the same seed strikes the same commands, another seed others', (t) => {
  const struck = (seed: number) => {
    const m = faulty([{ kind: 'error', probability: 0.3 }], seed);
    return runAll(
      m,
      m.disk,
      Array.from({ length: 64 }, () => m.write()),
    ).join('');
  };
  t.is(struck(5), struck(5));
  t.not(struck(5), struck(6));
});

test('rules narrow by operation, namespace, range, skip and times', (t) => {
  const plan = new FaultPlan(xorshift(1));
  plan.add({ kind: 'error', operations: ['write'], nsid: 2, fromByte: 4096, toByte: 8192, skip: 1, times: 1 });
  const hit = (...of: Parameters<FaultPlan['decide']>) => plan.decide(...of) !== undefined;
  t.false(hit('read', 2, 4096, 512));
  t.false(hit('write', 1, 4096, 512));
  t.false(hit('write', 2, 8192, 512));
  t.false(hit('write', 2, 3584, 512));
  t.false(hit('write', 2, 4096, 512), 'skipped');
  t.true(hit('write', 2, 3584, 1024));
  t.false(hit('write', 2, 4096, 512), 'once');
  const wrong: [FaultKind, FaultRule][] = [
    ['torn', { kind: 'torn', operations: ['read'] }],
    ['error', { kind: 'error', probability: 2 }],
    ['slow', { kind: 'slow', delayMs: -1 }],
  ];
  for (const [kind, rule] of wrong) t.throws(() => plan.add(rule), { instanceOf: RangeError }, kind);
});

test('an ignored flush loses data at a power cut, an honest one does not', (t) => {
  for (const isIgnored of [false, true]) {
    const buffer = new SharedArrayBuffer(1 << 20);
    const faults = new FaultPlan(xorshift(3));
    if (isIgnored) faults.add({ kind: 'lost', operations: ['flush'] });
    const cache = new WriteCache(new MemoryMedium(buffer), createWriteCache(512, 64));
    const m = createMachine({ media: [cache], faults, clock: { nowMs: () => 0 } });
    m.settle();
    const disk = m.driver.openDisk(1);
    const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 1);
    run.bytes.fill(7);
    const write = (startSector: number, isForceUnitAccess = false) =>
      command({ op: BLOCK_OP.write, startSector, busPages: pagesOf(run), pageCount: 1, isForceUnitAccess });
    runAll(m, disk, [write(0), command({ op: BLOCK_OP.flush, sectors: 0 }), write(8), write(16, true)]);
    cache.powerCut();
    const on = (sector: number) => new Uint8Array(buffer)[sector * 512];
    t.deepEqual([on(0), on(8), on(16)], [isIgnored ? 0 : 7, 0, 7], `flush ignored: ${isIgnored}`);
  }
});
