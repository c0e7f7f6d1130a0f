// A guest that writes anything, at any time, into all the memory that it may write: its grant table, its event pages. It
// may break its own connections; it gets statuses; it never makes a hypercall of anybody throw, and never disturbs a pair
// of domains beside it.
import { type CopySide, GNTST, type GrantHandle, type GrantRef, HypercallError } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import { copyOne, mapOne, TestMachine, unmapOne } from '../../support/machine.ts';

const STATUSES = new Set<number>(Object.values(GNTST));
const word = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.constantFrom(0, 1, 5, 9, 25, 0x20001, 0x20005, 0x20009, -1, 0x7fffffff),
);
const step = fc.record({
  kind: fc.constantFrom('table', 'page', 'map', 'unmap', 'copy', 'run', 'notify', 'poll', 'end', 'grant'),
  at: fc.nat({ max: 1100 }),
  value: word,
  flags: fc.integer({ min: 0, max: 7 }),
});

/** Two neighbours use a grant and a channel of their own; everything must work as ever. */
function neighboursWork(machine: TestMachine): void {
  const { driver, stranger } = machine;
  const run = stranger.allocateFrames(driver.domid, 1);
  const ref = stranger.grantAccess(driver.domid, run.first, false);
  const { status, handle } = mapOne(driver, stranger.domid, ref);
  if (status !== GNTST.okay) throw new Error(`neighbour's map: ${status}`);
  if (unmapOne(driver, handle) !== GNTST.okay || !stranger.endAccess(ref))
    throw new Error("neighbour's grant is stuck");
  stranger.freeFrames(run);
  const port = stranger.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(stranger.domid, port);
  stranger.pollEvents(() => {});
  driver.notify(bound);
  let fired = 0;
  stranger.pollEvents((one) => {
    if (one === port) fired += 1;
  });
  if (fired !== 1) throw new Error(`neighbour's event came ${fired} times`);
  driver.closePort(bound);
  stranger.closePort(port);
}

test('whatever a guest writes costs only that guest', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }), (steps) => {
        const machine = new TestMachine();
        const { guest, driver, table, eventPages } = machine;
        const refs = Array.from({ length: 6 }, (_, i) => machine.grant(i % 2 === 1).ref);
        const port = guest.allocUnbound(driver.domid);
        const bound = driver.bindInterdomain(guest.domid, port);
        const handles: GrantHandle[] = [];
        const pages = eventPages.map((buffer) => new Int32Array(buffer));
        const check = (status: number): void => {
          if (!STATUSES.has(status)) throw new Error(`status ${status}`);
        };
        for (const { kind, at, value, flags } of steps) {
          const ref = refs[at % refs.length] as GrantRef;
          const side: CopySide = { dom: guest.domid, ref, offset: at };
          try {
            if (kind === 'table') table[at % 40] = value;
            else if (kind === 'page') (pages[at % pages.length] as Int32Array)[at % 1024] = value;
            else if (kind === 'map') {
              const { status, handle } = mapOne(driver, guest.domid, ref, flags);
              check(status);
              if (status === GNTST.okay) handles.push(handle);
              if (status === GNTST.okay && (flags & 2) !== 0) driver.mappedBytes(handle)[0] = 1;
            } else if (kind === 'unmap')
              check(unmapOne(driver, handles[at % (handles.length + 1)] ?? (value as GrantHandle)));
            else if (kind === 'copy') check(copyOne(driver, side, side, at));
            else if (kind === 'run') {
              const { status, handles: more } = driver.mapRun(guest.domid, refs.slice(at % 3), 2);
              check(status);
              handles.push(...more);
            } else if (kind === 'notify') driver.notify(bound);
            else if (kind === 'poll') {
              for (const one of [guest, driver, machine.hypervisor.dom0]) one.pollEvents(() => {});
            } else if (kind === 'end') guest.endAccess(ref);
            else guest.grantAccess(driver.domid, guest.allocateFrames(driver.domid, 1).first, false);
          } catch (error) {
            if (!(error instanceof HypercallError)) throw error; // the guest's own refusals
          }
        }
        neighboursWork(machine);
        // The driver domain lets go of all it holds; then the guest dies and nothing of it is left.
        for (const handle of handles) unmapOne(driver, handle);
        machine.hypervisor.domainDied(guest.domid);
        if (machine.usage(guest) !== undefined) throw new Error('the guest is not gone');
        if (machine.usage(driver)?.mappings !== 0) throw new Error('mappings are left');
        neighboursWork(machine);
      }),
      { numRuns: 300 },
    ),
  );
});
