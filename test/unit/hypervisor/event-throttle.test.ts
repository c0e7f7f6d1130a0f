// Storm control: events without work cost their sender ever more delay and nobody else anything. XSA-391
import { DomainKernel, EOI_MOST_MS, EOI_TICK_MS, type EvtchnPort, type XenstoreClient } from '@splitring/hypervisor';
import test from 'ava';
import { TestMachine } from '../../support/machine.ts';

function build() {
  const { guest, driver } = new TestMachine();
  const clock = { now: 0, nowMs: () => clock.now };
  const connectStore = () => undefined as unknown as XenstoreClient; // nobody asks it anything here
  const kernel = new DomainKernel({ hypercalls: guest, clock, random: { nextU32: () => 4 }, connectStore });
  const port = guest.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(guest.domid, port);
  const work = { done: 0, offered: 0 };
  kernel.onPeerEvent(port, () => work.done);
  kernel.add({
    poll: () => {
      const isWork = work.offered > 0;
      work.done += work.offered;
      work.offered = 0;
      return isWork;
    },
  });
  const pump = () => {
    for (let i = 0; i < 10 && kernel.poll(); i++);
  };
  return { kernel, clock, work, port, pump, ring: () => driver.notify(bound) };
}

test('onPeerEvent lets events with work through at once, however many, and whether or not polls overtake them', (t) => {
  const { kernel, work, port, pump, ring } = build();
  for (let i = 0; i < 1000; i++) {
    work.offered += 1;
    if (i % 3 === 0) pump(); // found before its event
    ring();
    if (i % 2 === 0) pump();
  }
  pump();
  const { events, delayedMs } = kernel.peerEvents(port) ?? {};
  t.true((events ?? 0) > 500, `${events} events`);
  t.is(delayedMs, 0);
  t.is(kernel.deadlineMs(), Number.POSITIVE_INFINITY);
});

test('onPeerEvent doubles the delay with every event without work, up to a second', (t) => {
  const { kernel, clock, pump, ring } = build();
  const delays: number[] = [];
  for (let i = 0; i < 16; i++) {
    ring();
    pump();
    const due = kernel.deadlineMs();
    delays.push(due === Number.POSITIVE_INFINITY ? 0 : due - clock.now);
    if (due !== Number.POSITIVE_INFINITY) clock.now = due;
    pump();
  }
  t.deepEqual(delays.slice(0, 5), [0, 0, EOI_TICK_MS, EOI_TICK_MS * 2, EOI_TICK_MS * 4]);
  t.is(delays.at(-1), EOI_MOST_MS);
});

test('onPeerEvent XSA-391: 100 000 events without work wake the domain a handful of times, and work ends the delay', (t) => {
  const { kernel, clock, work, port, pump, ring } = build();
  const { words, index } = kernel.hypercalls.doorbell;
  const before = Atomics.load(words, index);
  for (let i = 0; i < 100_000; i++) {
    ring();
    pump();
    if (i % 1000 === 0) clock.now += 1;
  }
  const wakes = Atomics.load(words, index) - before;
  const { events, delayedMs } = kernel.peerEvents(port) ?? {};
  t.true((events ?? 1000) < 12, `${events} events`);
  t.true(wakes < 30, `${wakes} wake-ups`);
  t.true((delayedMs ?? 0) >= 100 - EOI_TICK_MS);
  work.offered = 1;
  pump();
  t.is(kernel.deadlineMs(), Number.POSITIVE_INFINITY, 'work found by a poll lets the port through at once');
});

test('onPeerEvent: an event that comes during the delay fires when it is over; offEvent lets the next user have it', (t) => {
  const { kernel, clock, port, pump, ring } = build();
  for (let i = 0; i < 4; i++) {
    ring();
    pump();
  }
  t.is(kernel.peerEvents(port)?.events, 3, 'the fourth waits');
  clock.now = kernel.deadlineMs();
  pump();
  t.is(kernel.peerEvents(port)?.events, 4);
  ring();
  kernel.offEvent(port);
  t.is(kernel.peerEvents(port), undefined);
  const fired: EvtchnPort[] = [];
  kernel.onEvent(port, () => fired.push(port));
  pump();
  t.deepEqual(fired, [port]);
});
