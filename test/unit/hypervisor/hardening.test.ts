// The hardening table of grants and events, row by row: each test is named after the advisories it answers.
//
// Rows that do not apply: XSA-284 (page transfer is not offered), XSA-232 (cache flush is not offered), XSA-226/318/411
// transitive grants (version 2 only; version 1 is all there is), XSA-255/379/382/384/486/501 (there is no version switch),
// XSA-107/344/358/359/505 (there is no FIFO event channel). XSA-302/306 (DMA after detach) is tested with the IOMMU.
import { Worker } from 'node:worker_threads';
import {
  type CopySide,
  type EvtchnPort,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  type GrantHandle,
  PORT,
  VIRQ,
} from '@splitring/hypervisor';
import test from 'ava';
import { copyOne, mapOne, TestMachine, unmapOne } from '../../support/machine.ts';

const READING = 8;
const WRITING = 16;
const BOTH = GNTMAP_host_map | GNTMAP_device_map;

test('XSA-218/224/236/380/394: a handle is free only when its host and its device part are gone', (t) => {
  const { guest, driver, grant, table } = bind(new TestMachine());
  const { ref } = grant();
  const { handle } = mapOne(driver, guest.domid, ref, BOTH);
  t.is(unmapOne(driver, handle, GNTMAP_host_map), GNTST.okay);
  t.is(unmapOne(driver, handle, GNTMAP_host_map), GNTST.bad_handle, 'the host part is gone');
  t.false(guest.endAccess(ref));
  t.is((table[ref * 2] ?? 0) & (READING | WRITING), READING | WRITING);
  t.is(unmapOne(driver, handle, BOTH), GNTST.okay, 'what is left of both');
  t.true(guest.endAccess(ref));
});

test('XSA-228: a handle that was unmapped stays dead when its slot is used again', (t) => {
  const { guest, driver, grant } = bind(new TestMachine());
  const { ref } = grant();
  const old = mapOne(driver, guest.domid, ref).handle;
  t.is(unmapOne(driver, old), GNTST.okay);
  const seen = new Set<GrantHandle>([old]);
  for (let i = 0; i < 100; i++) {
    const { handle } = mapOne(driver, guest.domid, ref);
    t.false(seen.has(handle));
    seen.add(handle);
    t.is(unmapOne(driver, old), GNTST.bad_handle);
    t.is(unmapOne(driver, handle), GNTST.okay);
  }
});

test('XSA-230: a copy during a mapping leaves the status bits of the mapping alone', (t) => {
  const { guest, driver, grant, table } = bind(new TestMachine());
  const { ref } = grant();
  const { first: frame } = driver.allocateFrames(driver.domid, 1);
  const { handle } = mapOne(driver, guest.domid, ref, GNTMAP_host_map | GNTMAP_readonly);
  const side: CopySide = { dom: guest.domid, ref, offset: 0 };
  t.is(copyOne(driver, { frame, offset: 0 }, side, 8), GNTST.okay);
  t.is((table[ref * 2] ?? 0) & (READING | WRITING), READING, 'writing was the copy, reading is still mapped');
  t.is(copyOne(driver, side, { frame, offset: 0 }, 8), GNTST.okay);
  t.is((table[ref * 2] ?? 0) & (READING | WRITING), READING);
  t.is(unmapOne(driver, handle), GNTST.okay);
  t.is((table[ref * 2] ?? 0) & (READING | WRITING), 0);
});

test('XSA-316: every status is one of the fourteen, whatever is asked', (t) => {
  const { guest, driver, grant } = bind(new TestMachine());
  const { ref } = grant();
  const known = new Set<number>(Object.values(GNTST));
  t.is(known.size, 14);
  const odd = [0, 1, ref, -1, 511, 512, 2 ** 31, 2 ** 32, -0.5, Number.NaN, Number.POSITIVE_INFINITY];
  for (const dom of [guest.domid, 0, 31, 32, 0x7ff0, 0x7fff, -1, Number.NaN]) {
    for (const one of odd) {
      for (const flags of [0, 1, 2, 3, 4, 6, 7, 8, 31, -1]) {
        const { status, handle } = mapOne(driver, dom, one, flags);
        t.true(known.has(status), `status ${status}`);
        if (status === GNTST.okay) t.is(unmapOne(driver, handle, 3), GNTST.okay);
      }
      t.true(known.has(unmapOne(driver, one as GrantHandle, 3)));
      const side = { dom: guest.domid, ref, offset: one };
      t.true(known.has(copyOne(driver, side, side, one)));
    }
  }
});

test('XSA-500: a copy through a pinned entry is checked like a first use', (t) => {
  const machine = new TestMachine();
  const { guest, driver, grant, stranger } = bind(machine);
  const { ref } = grant(true);
  const { handle } = mapOne(driver, guest.domid, ref, GNTMAP_host_map | GNTMAP_readonly);
  const side: CopySide = { dom: guest.domid, ref, offset: 0 };
  const { first: frame } = driver.allocateFrames(driver.domid, 1);
  t.is(copyOne(driver, { frame, offset: 0 }, side, 8), GNTST.general_error, 'pinned for reading, written by copy');
  const { first: other } = stranger.allocateFrames(stranger.domid, 1);
  t.is(
    copyOne(stranger, side, { frame: other, offset: 0 }, 8),
    GNTST.general_error,
    'pinned for one, copied by another',
  );
  // Not even if the granter turns the entry over to the other one under the mapping.
  machine.table[ref * 2] = (stranger.domid << 16) | ((machine.table[ref * 2] ?? 0) & 0xffff);
  t.is(copyOne(stranger, side, { frame: other, offset: 0 }, 8), GNTST.general_error);
  t.is(mapOne(stranger, guest.domid, ref, GNTMAP_host_map | GNTMAP_readonly).status, GNTST.general_error);
  t.is(unmapOne(driver, handle), GNTST.okay);
});

test('XSA-295: pin counters stop before they overflow', (t) => {
  const { guest, driver, grant } = bind(new TestMachine());
  const { ref } = grant();
  const handles: GrantHandle[] = [];
  for (let i = 0; i < 128; i++) handles.push(mapOne(driver, guest.domid, ref).handle);
  t.is(mapOne(driver, guest.domid, ref).status, GNTST.general_error);
  t.is(mapOne(driver, guest.domid, ref, GNTMAP_device_map).status, GNTST.okay, 'another counter');
  for (const handle of handles) t.is(unmapOne(driver, handle), GNTST.okay);
  t.false(guest.endAccess(ref), 'the device part');
});

test('XSA-295: a guest that flips its flags all the time cannot hold a mapper', async (t) => {
  const { guest, driver, grant, table } = bind(new TestMachine());
  const { ref } = grant();
  const flip = `const { workerData: { buffer, at } } = require('node:worker_threads');
    const words = new Int32Array(buffer);
    const granted = words[at];
    for (const end = Date.now() + 400; Date.now() < end; ) for (let i = 0; i < 1000; i++) words[at] = i & 1 ? granted : granted ^ 4;`;
  const flipper = new Worker(flip, { eval: true, workerData: { buffer: table.buffer, at: ref * 2 } });
  const seen = new Set<number>();
  let isOver = false;
  flipper.once('exit', () => {
    isOver = true;
  });
  while (!isOver) {
    for (let i = 0; i < 1000; i++) {
      const { status, handle } = mapOne(driver, guest.domid, ref);
      seen.add(status);
      if (status === GNTST.okay) unmapOne(driver, handle);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.true([...seen].every((status) => status === GNTST.okay || status === GNTST.general_error));
});

test('XSA-300: map-track handles run out with a status, and come back', (t) => {
  const { guest, driver, grant } = bind(new TestMachine());
  const refs = [grant().ref, grant().ref, grant().ref];
  const handles: GrantHandle[] = [];
  for (let i = 0; ; i++) {
    const { status, handle } = mapOne(driver, guest.domid, refs[i % 3] as number);
    if (status !== GNTST.okay) {
      t.is(status, GNTST.no_space);
      break;
    }
    handles.push(handle);
  }
  t.is(handles.length, 256, 'one frame of handles');
  for (const handle of handles) t.is(unmapOne(driver, handle), GNTST.okay);
  t.is(mapOne(driver, guest.domid, refs[0] as number).status, GNTST.okay);
});

test('XSA-396: a grant that is mapped between check and revoke keeps its frame out of reach', (t) => {
  const { guest, driver, grant } = bind(new TestMachine());
  const { ref, frame, bytes } = grant();
  bytes.fill(9);
  const { handle } = mapOne(driver, guest.domid, ref);
  t.false(guest.endAccess(ref));
  guest.freeFrames({ first: frame, frames: 1, bytes });
  for (let i = 0; i < 200; i++) {
    const run = guest.allocateFrames(driver.domid, 1);
    t.not(run.first, frame);
    t.true(run.bytes.every((byte) => byte === 0));
  }
  t.is(mapOne(driver, guest.domid, ref).status, GNTST.okay, 'pinned already: the same frame');
  t.is(unmapOne(driver, handle), GNTST.okay);
});

test('XSA-396: a frame in quarantine cannot be mapped anew, and is zeroed before it is used again', (t) => {
  const machine = new TestMachine();
  const { guest, driver, grant } = bind(machine);
  const { ref, frame, bytes } = grant();
  bytes.fill(9);
  const { handle } = mapOne(driver, guest.domid, ref);
  guest.freeFrames({ first: frame, frames: 1, bytes });
  t.is(machine.usage(guest)?.quarantinedFrames, 1);
  t.is(unmapOne(driver, handle), GNTST.okay);
  t.is(mapOne(driver, guest.domid, ref).status, GNTST.bad_page, 'given back: nobody maps it any more');
  t.true(guest.endAccess(ref));
  t.is(machine.usage(guest)?.quarantinedFrames, 0);
  for (let i = 0; i < 64; i++) {
    const run = guest.allocateFrames(driver.domid, 1);
    if (run.first === frame) t.true(run.bytes.every((byte) => byte === 0));
  }
});

test('XSA-331/332/441: closing while the other end raises neither loses order nor raises a stranger', (t) => {
  const { guest, driver } = bind(new TestMachine());
  const offered = guest.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(guest.domid, offered);
  driver.notify(bound);
  guest.closePort(offered);
  driver.notify(bound); // unbound now: swallowed
  // The port number is used again for something else: the old event must not show there.
  let again: EvtchnPort = offered;
  do {
    again = guest.allocUnbound(driver.domid);
    if (again !== offered) guest.closePort(again);
  } while (again !== offered);
  t.is(
    guest.pollEvents(() => {}),
    0,
  );
  t.is(driver.portStatus(bound).kind, PORT.unbound);
});

test('XSA-340/343/344: a port is published last; reset closes all of them and then answers', (t) => {
  const machine = new TestMachine();
  const { guest, driver } = bind(machine);
  const pairs = Array.from({ length: 10 }, () => {
    const offered = guest.allocUnbound(driver.domid);
    return [offered, driver.bindInterdomain(guest.domid, offered)] as const;
  });
  for (const [, bound] of pairs) driver.notify(bound);
  guest.resetPorts();
  t.is(machine.usage(guest)?.ports, 0);
  t.is(
    guest.pollEvents(() => {}),
    0,
  );
  for (const [, bound] of pairs) t.is(driver.portStatus(bound).kind, PORT.unbound);
});

test('XSA-496: binding a VIRQ that cannot be bound undoes nothing that it did not do', (t) => {
  const machine = new TestMachine();
  const { guest } = bind(machine);
  const { dom0 } = machine.hypervisor;
  const port = dom0.bindVirq(VIRQ.DOM_EXC);
  const before = machine.hypervisor.inspect().find((one) => one.domid === 0)?.ports;
  t.throws(() => dom0.bindVirq(VIRQ.DOM_EXC), { code: 'EEXIST' });
  t.throws(() => dom0.bindVirq(24), { code: 'EINVAL' });
  t.throws(() => guest.bindVirq(VIRQ.DOM_EXC), { code: 'EPERM' });
  t.is(machine.hypervisor.inspect().find((one) => one.domid === 0)?.ports, before);
  const fired: EvtchnPort[] = [];
  dom0.pollEvents(() => {}); // what binding the first rings has set
  machine.hypervisor.domainDied(machine.stranger.domid);
  dom0.pollEvents((one) => fired.push(one));
  t.deepEqual(fired, [port]);
});

/** Methods that can be taken apart. */
function bind(machine: TestMachine) {
  return {
    guest: machine.guest,
    driver: machine.driver,
    stranger: machine.stranger,
    table: machine.table,
    grant: (isReadonly = false) => machine.grant(isReadonly),
  };
}
