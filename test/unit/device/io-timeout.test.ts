// A device that does not answer: abort, then reset; the command concerned ends with a status, the others are done.
import { BLOCK_OP, BLOCK_STATUS, type BlockStatus, FaultPlan, type FaultRule, MemoryMedium } from '@splitring/device';
import test from 'ava';
import { command, createMachine, pagesOf } from './machine.ts';

const TIMEOUT_MS = 1000;

function faulty(rules: readonly FaultRule[], queueEntries = 64) {
  const faults = new FaultPlan({ nextU32: () => 7 });
  for (const rule of rules) faults.add(rule);
  const memory = new SharedArrayBuffer(4 << 20);
  const time = { ms: 0 };
  const machine = createMachine(
    { media: [new MemoryMedium(memory)], faults, clock: { nowMs: () => time.ms } },
    { ioTimeoutMs: TIMEOUT_MS, adminTimeoutMs: TIMEOUT_MS, queueEntries },
  );
  machine.settle();
  const disk = machine.driver.openDisk(1);
  const run = machine.hypercalls.allocateFrames(machine.hypercalls.domid, 64);
  const done = new Map<number, BlockStatus>();
  disk.onComplete = (cookie, status) => {
    if (done.has(cookie)) throw new Error(`command ${cookie} is answered twice`);
    done.set(cookie, status);
  };
  /** Let time pass as an idle loop would: poll, arm, sleep. */
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= 50) {
      machine.time.ms += 50;
      time.ms += 50;
      machine.settle(200);
      disk.poll();
      machine.driver.arm();
      machine.settle(200);
    }
  };
  const submit = (cookie: number, fields: Parameters<typeof command>[0] = {}) => {
    const busPages = pagesOf(run, cookie % 64, 1);
    const base = { op: BLOCK_OP.write, startSector: cookie * 8, busPages, pageCount: 1, cookie };
    if (!disk.submit(command({ ...base, ...fields }))) throw new Error('no tag is free');
    disk.kick();
  };
  return { machine, disk, faults, run, memory, done, pass, submit };
}

test('a stalled command is aborted after its time and ends as timed out; others pass it', (t) => {
  const { machine, done, pass, submit } = faulty([{ kind: 'stall', operations: ['write'], times: 1 }]);
  submit(1);
  submit(2);
  pass(TIMEOUT_MS - 50);
  t.deepEqual([...done], [[2, BLOCK_STATUS.okay]]);
  pass(TIMEOUT_MS);
  t.is(done.get(1), BLOCK_STATUS.timedOut);
  t.is(machine.driver.aborts, 1);
  t.is(machine.driver.resets, 0);
  submit(3);
  pass(50);
  t.is(done.get(3), BLOCK_STATUS.okay);
});

test('a lost answer needs a reset: that command is timed out, every other one is done, once', (t) => {
  const { machine, faults, run, memory, done, pass, submit } = faulty([
    { kind: 'unanswered', operations: ['write'], times: 1 },
  ]);
  for (let i = 0; i < 64; i += 1) run.bytes.fill(i + 1, i * 4096, (i + 1) * 4096);
  submit(1);
  pass(2 * TIMEOUT_MS);
  t.deepEqual([...done], []);
  t.true(machine.driver.aborts >= 1);
  // Young commands that are out when the reset comes: stalled, and let go by it.
  faults.add({ kind: 'stall', operations: ['write'], times: 20 });
  for (let cookie = 10; cookie < 30; cookie += 1) submit(cookie);
  pass(TIMEOUT_MS);
  t.is(machine.driver.resets, 1);
  pass(200);
  t.is(done.get(1), BLOCK_STATUS.timedOut);
  t.is(machine.driver.state, 'ready');
  for (let cookie = 10; cookie < 30; cookie += 1) {
    t.is(done.get(cookie), BLOCK_STATUS.okay, `command ${cookie}`);
    t.is(new Uint8Array(memory)[cookie * 4096], cookie + 1);
  }
  submit(40);
  pass(50);
  t.is(done.get(40), BLOCK_STATUS.okay);
});

test('while the controller is reset nothing is taken, and afterwards everything is', (t) => {
  const { machine, disk, done, pass, submit } = faulty([{ kind: 'unanswered', operations: ['write'], times: 1 }]);
  submit(1);
  pass(2 * TIMEOUT_MS);
  let closed = 0;
  // In single steps from here on: the reset takes several.
  for (let i = 0; i < 4000 && (!done.has(1) || disk.freeTags === 0); i += 1) {
    machine.time.ms += 1;
    machine.driver.arm();
    machine.step();
    if (disk.freeTags > 0) continue;
    closed += 1;
    t.false(disk.submit(command({ op: BLOCK_OP.flush, sectors: 0 })));
  }
  for (let i = 0; i < 100; i += 1) machine.step();
  t.is(machine.driver.resets, 1);
  t.is(disk.freeTags, 63);
  t.is(done.get(1), BLOCK_STATUS.timedOut);
  t.true(closed > 0);
});

test('a command older than the whole queue is not resubmitted from an entry that is no longer its own', (t) => {
  const { machine, done, pass, submit } = faulty(
    [
      { kind: 'unanswered', operations: ['write'], times: 1 },
      { kind: 'stall', operations: ['read'], times: 1 },
    ],
    8,
  );
  submit(1);
  pass(TIMEOUT_MS + 500);
  submit(2, { op: BLOCK_OP.read });
  for (let cookie = 10; cookie < 40; cookie += 1) {
    submit(cookie); // the queue goes round several times
    pass(50);
  }
  for (let i = 0; i < 100 && machine.driver.resets === 0; i += 1) pass(50);
  pass(500);
  t.is(done.get(1), BLOCK_STATUS.timedOut);
  t.is(done.get(2), BLOCK_STATUS.timedOut);
  for (let cookie = 10; cookie < 40; cookie += 1) t.is(done.get(cookie), BLOCK_STATUS.okay);
});

test('with an infinite time-out a stalled command waits for ever', (t) => {
  const faults = new FaultPlan({ nextU32: () => 7 });
  faults.add({ kind: 'stall' });
  const machine = createMachine(
    { faults, clock: { nowMs: () => machine.time.ms } },
    { ioTimeoutMs: Number.POSITIVE_INFINITY },
  );
  machine.settle();
  const disk = machine.driver.openDisk(1);
  disk.submit(command({ op: BLOCK_OP.flush, sectors: 0 }));
  disk.kick();
  for (let i = 0; i < 50; i += 1) {
    machine.time.ms += 100_000;
    machine.settle();
    machine.driver.arm();
  }
  t.is(machine.driver.aborts + machine.driver.resets, 0);
});
