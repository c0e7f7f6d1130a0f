// Extents and frames: limits, quarantine, what outlives whom, and the memory that they are made of.
import {
  type FrameNumber,
  GNTMAP_host_map,
  GNTST,
  HypercallError,
  routingId,
  wasmMemorySource,
} from '@splitring/hypervisor';
import test from 'ava';
import { mapOne, TestMachine, unmapOne } from '../../support/machine.ts';

/** The engine's WebAssembly, which the ES library types do not declare. */
const engine = globalThis as unknown as {
  readonly WebAssembly: { readonly Memory: new (limits: object) => { readonly buffer: SharedArrayBuffer } };
};

test('allocateFrames refuses what cannot be, with a code, and changes nothing', (t) => {
  const machine = new TestMachine();
  const { guest, driver } = machine;
  const before = machine.usage(guest);
  for (const frames of [0, -1, 1.5, Number.NaN, 4097]) {
    t.throws(() => guest.allocateFrames(driver.domid, frames), { code: 'EINVAL', instanceOf: HypercallError });
  }
  t.throws(() => guest.allocateFrames(31 as typeof driver.domid, 1), { code: 'ESRCH' });
  t.throws(() => guest.allocateFrames(driver.domid, 513), { code: 'ENOMEM' });
  t.deepEqual(machine.usage(guest), before);
});

test('a domain has its limit and no more, whoever it shares with; what is free for one peer can go to another', (t) => {
  const machine = new TestMachine();
  const { guest, driver, stranger } = machine;
  const runs = Array.from({ length: 448 / 64 }, () => guest.allocateFrames(driver.domid, 64));
  t.is(machine.usage(guest)?.reservedFrames, 512, 'with the 64 that the first rings lie in');
  t.throws(() => guest.allocateFrames(stranger.domid, 1), { code: 'ENOMEM' });
  for (const run of runs) guest.freeFrames(run);
  t.is(guest.allocateFrames(stranger.domid, 100).bytes.length, 100 * 4096);
  t.true((machine.usage(guest)?.reservedFrames ?? 513) <= 512);
});

test('frames cannot be granted to a domain that they were not allocated for, nor by one that does not own them', (t) => {
  const { guest, driver, stranger } = new TestMachine();
  const run = guest.allocateFrames(driver.domid, 1);
  t.throws(() => guest.grantAccess(stranger.domid, run.first, false), { code: 'EPERM' });
  t.throws(() => driver.grantAccess(guest.domid, run.first, false), { code: 'EPERM' });
  t.throws(() => driver.freeFrames(run), { code: 'EPERM' });
  t.throws(() => stranger.memory.pageBytes(run.first), { code: 'EFAULT' }, 'never handed over');
  guest.freeFrames(run);
  t.throws(() => guest.grantAccess(driver.domid, run.first, false), { code: 'EPERM' });
});

test('memory shared with a dead domain goes back once it is free, and a successor can take it over instead', (t) => {
  const machine = new TestMachine();
  const { hypervisor, guest, driver } = machine;
  const kept = guest.allocateFrames(driver.domid, 4);
  kept.bytes.fill(3);
  const ref = guest.grantAccess(driver.domid, kept.first, false);
  t.is(mapOne(driver, guest.domid, ref).status, GNTST.okay);
  t.throws(() => hypervisor.handOver(driver, guest.domid), { code: 'EBUSY' });
  hypervisor.domainDied(driver.domid);
  t.true(guest.endAccess(ref), 'the fence has undone the mapping');
  const successor = machine.domain('successor');
  hypervisor.handOver(driver, successor.domid);
  const again = guest.grantAccess(successor.domid, (kept.first + 1) as FrameNumber, true);
  const { handle, status } = mapOne(successor, guest.domid, again, GNTMAP_host_map | 4);
  t.is(status, GNTST.okay);
  t.is(successor.mappedBytes(handle)[9], 3);
  hypervisor.domainDied(successor.domid);
  t.true(guest.endAccess(again));
  const extents = machine.usage(guest)?.extents;
  guest.freeFrames(kept);
  t.is(machine.usage(guest)?.extents, (extents ?? 0) - 1, 'nobody can share it any more');
  guest.freeFrames(kept); // gone already: nothing happens
});

test('a dead granter stays a zombie until the last foreign mapping is gone, a run counting as one', (t) => {
  const machine = new TestMachine();
  const { hypervisor, guest, driver } = machine;
  const run = guest.allocateFrames(driver.domid, 8);
  const refs = Array.from({ length: 8 }, (_, i) =>
    guest.grantAccess(driver.domid, (run.first + i) as FrameNumber, false),
  );
  const mapped = driver.mapRun(guest.domid, refs, 3);
  t.is(machine.usage(driver)?.mappings, 8);
  hypervisor.domainDied(guest.domid);
  hypervisor.domainDied(guest.domid); // again: nothing happens
  t.is(machine.usage(guest)?.state, 'zombie');
  t.is(mapOne(driver, guest.domid, refs[0] as number).status, GNTST.bad_domain);
  t.notThrows(() => mapped.run?.bytes.fill(1), 'the memory is there as long as it is mapped');
  for (const handle of mapped.handles) t.is(unmapOne(driver, handle), GNTST.okay);
  t.is(machine.usage(guest), undefined);
});

test('wasmMemorySource backs extents with one shared memory and uses released regions again, zeroed', (t) => {
  const wasm = new engine.WebAssembly.Memory({ initial: 32, maximum: 32, shared: true }); // 2 MiB
  const machine = new TestMachine({ memory: wasmMemorySource(wasm) });
  const { hypervisor, driver } = machine;
  const seen = new Set<number>();
  for (let i = 0; i < 40; i++) {
    const guest = machine.domain(`guest${i}`);
    const run = guest.allocateFrames(driver.domid, 4);
    t.is<ArrayBufferLike, ArrayBufferLike>(run.bytes.buffer, wasm.buffer);
    t.true(run.bytes.every((byte) => byte === 0));
    run.bytes.fill(255);
    seen.add(run.bytes.byteOffset);
    const ref = guest.grantAccess(driver.domid, run.first, false);
    const { handle } = mapOne(driver, guest.domid, ref);
    hypervisor.domainDied(guest.domid);
    t.is(unmapOne(driver, handle), GNTST.okay);
  }
  t.true(seen.size < 10, 'the same regions again and again');
  t.throws(() => driver.allocateFrames(driver.domid, 600), { code: 'ENOMEM' });
  const plain = new ArrayBuffer(65536) as unknown as SharedArrayBuffer; // what the check is for
  t.throws(() => wasmMemorySource({ buffer: plain }), { instanceOf: TypeError });
});

test('a domain that cannot be built leaves nothing behind', (t) => {
  const machine = new TestMachine({ limits: { extents: 4 } });
  const before = machine.hypervisor.inspect();
  for (let i = 0; i < 3; i++) {
    const wanted = i === 0 ? undefined : { code: 'ENOSPC' };
    if (wanted === undefined) machine.domain('fits');
    else t.throws(() => machine.domain('does not fit'), wanted);
  }
  t.is(machine.hypervisor.inspect().length, before.length + 1);
  t.is(machine.hypervisor.inspect()[0]?.ports, (before[0]?.ports ?? 0) + 2);
});

test('a paused domain gets no events until it is unpaused as often', (t) => {
  const { hypervisor, guest, driver } = new TestMachine();
  const port = guest.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(guest.domid, port);
  hypervisor.pause(guest.domid);
  hypervisor.pause(guest.domid);
  driver.notify(bound);
  t.true(guest.isPaused);
  t.is(
    guest.pollEvents(() => {}),
    0,
  );
  hypervisor.unpause(guest.domid);
  t.is(
    guest.pollEvents(() => {}),
    0,
  );
  const { words, index } = guest.doorbell;
  const seen = Atomics.load(words, index);
  hypervisor.unpause(guest.domid);
  t.not(Atomics.load(words, index), seen, 'it is rung, so that it looks');
  t.is(
    guest.pollEvents(() => {}),
    1,
  );
  t.throws(() => hypervisor.unpause(guest.domid), { code: 'EINVAL' });
});

test('frames that a device may still reach stay in quarantine until its unit has served the invalidation', (t) => {
  const machine = new TestMachine();
  const { hypervisor, guest, driver } = machine;
  const id = routingId(0, 5, 0);
  const bus = driver.startPciBus({ nowMs: () => 0 });
  hypervisor.pci.add(id, driver.domid);
  hypervisor.pci.assign(id, guest.domid, guest.generation);
  const requester = bus.iommu.requester(id);
  const run = guest.allocateFrames(guest.domid, 1);
  run.bytes.fill(5);
  bus.poll();
  t.is(bus.iommu.translate(requester, run.first, true), run.first, 'passed through: the device reaches guest memory');
  guest.freeFrames(run); // waits for the unit, which lives on this very thread and cannot answer
  t.is(machine.usage(guest)?.quarantinedFrames, 1);
  const others = Array.from({ length: 63 }, () => guest.allocateFrames(guest.domid, 1).first);
  t.false(others.includes(run.first));
  bus.poll();
  t.is(bus.iommu.translate(requester, run.first, true), -1, 'out of its reach now');
  const again = guest.allocateFrames(guest.domid, 1);
  t.is(again.first, run.first);
  t.true(again.bytes.every((byte) => byte === 0));
});
