// Shared structures lie as the public Xen headers say. Numbers: xen/include/public/{grant_table,event_channel,xen}.h.
import {
  DOM0,
  DOMID_FIRST_RESERVED,
  DOMID_IO,
  DOMID_SELF,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  NR_VIRQS,
  PAGE_SIZE,
  PORT,
  SHUTDOWN,
  VIRQ,
} from '@splitring/hypervisor';
import test from 'ava';
import { TestMachine } from '../../support/machine.ts';

test('a version 1 grant entry is flags u16 at 0, domid u16 at 2, frame u32 at 4, 8 bytes each, 512 in a page', (t) => {
  const { guest, driver, table } = new TestMachine();
  const run = guest.allocateFrames(driver.domid, 1);
  const ref = guest.grantAccess(driver.domid, run.first, true);
  const view = new DataView(table.buffer);
  t.is(view.getUint16(ref * 8, true), 1 | 4, 'permit_access, readonly');
  t.is(view.getUint16(ref * 8 + 2, true), driver.domid);
  t.is(view.getUint32(ref * 8 + 4, true), run.first);
  t.is(table.byteLength, PAGE_SIZE);
  t.is(PAGE_SIZE / 8, 512);
  t.is(ref, 8 as typeof ref, 'references 0 … 7 are reserved');
});

test('the builder grants the console page by reference 0 and the xenstore page by reference 1', (t) => {
  const { hypervisor } = new TestMachine();
  const domain = hypervisor.createDomain({ name: 'one' });
  const view = new DataView(domain.boot.grantTables[domain.domid] as SharedArrayBuffer);
  t.is(view.getUint32(4, true), Number(domain.boot.start?.consoleFrame));
  t.is(view.getUint32(12, true), Number(domain.boot.start?.storeFrame));
  t.deepEqual([view.getUint16(2, true), view.getUint16(10, true)], [DOM0, DOM0]);
});

test('pending bits of an event page: one bit a port, 32-bit words, selectors behind 4096 ports', (t) => {
  const machine = new TestMachine();
  const offered = machine.guest.allocUnbound(machine.hypervisor.dom0.domid);
  const bound = machine.hypervisor.dom0.bindInterdomain(machine.guest.domid, offered);
  machine.hypervisor.dom0.notify(bound);
  const page = new Int32Array(machine.eventPages[0] as SharedArrayBuffer);
  t.is(page.byteLength, PAGE_SIZE);
  const half = 512; // dom0 is the first end, the guest the second
  t.is(page[half + (offered >> 5)], 1 << (offered & 31));
  t.is(page[half + 128], 1 << (offered >> 5));
});

test('numbers are those of the public headers', (t) => {
  t.deepEqual(Object.values(GNTST), [0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13]);
  t.deepEqual([GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly], [1, 2, 4]);
  t.deepEqual([DOMID_FIRST_RESERVED, DOMID_SELF, DOMID_IO] as number[], [0x7ff0, 0x7ff0, 0x7ff1]);
  t.deepEqual([PORT.closed, PORT.unbound, PORT.interdomain, PORT.pirq, PORT.virq, PORT.ipi], [0, 1, 2, 3, 4, 5]);
  t.deepEqual(SHUTDOWN, { poweroff: 0, reboot: 1, suspend: 2, crash: 3 });
  t.deepEqual([VIRQ.TIMER, VIRQ.DEBUG, VIRQ.CONSOLE, VIRQ.DOM_EXC, NR_VIRQS], [0, 1, 2, 3, 24]);
});
