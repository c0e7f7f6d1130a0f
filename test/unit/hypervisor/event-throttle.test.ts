// Storm control: spurious events cost their sender ever more delay, real work costs nothing. XSA-391
import {
  DomainKernel,
  EOI_MOST_MS,
  EOI_TICK_MS,
  EventThrottle,
  type EvtchnPort,
  type XenstoreClient,
} from '@splitring/hypervisor';
import test from 'ava';
import { TestMachine } from '../../support/machine.ts';

function build() {
  const { guest, driver } = new TestMachine();
  const clock = { now: 0, nowMs: () => clock.now };
  const connectStore = () => undefined as unknown as XenstoreClient; // nobody asks it anything here
  const kernel = new DomainKernel({ hypercalls: guest, clock, random: { nextU32: () => 4 }, connectStore });
  const port = guest.allocUnbound(driver.domid);
  const bound = driver.bindInterdomain(guest.domid, port);
  const throttle = new EventThrottle(kernel);
  const pump = () => {
    for (let i = 0; i < 10 && kernel.poll(); i++);
  };
  return { kernel, clock, throttle, port, pump, ring: () => driver.notify(bound) };
}

test('EventThrottle lets events with work through at once, however many', (t) => {
  const { throttle, port, pump, ring } = build();
  throttle.listen(port, () => true);
  for (let i = 0; i < 1000; i++) {
    ring();
    pump();
  }
  t.deepEqual(throttle.counters(port), { events: 1000, spurious: 0, delayedMs: 0 });
  t.is(throttle.deadlineMs(), Number.POSITIVE_INFINITY);
});

test('EventThrottle doubles the delay with every spurious event after the second, up to a second', (t) => {
  const { clock, throttle, port, pump, ring } = build();
  throttle.listen(port, () => false);
  const delays: number[] = [];
  for (let i = 0; i < 14; i++) {
    ring();
    pump();
    const due = throttle.deadlineMs();
    delays.push(due === Number.POSITIVE_INFINITY ? 0 : due - clock.now);
    if (due !== Number.POSITIVE_INFINITY) clock.now = due;
    pump();
  }
  t.deepEqual(delays.slice(0, 4), [0, EOI_TICK_MS, EOI_TICK_MS * 2, EOI_TICK_MS * 4]);
  t.is(delays.at(-1), EOI_MOST_MS);
});

test('EventThrottle XSA-391: 100 000 events without work reach the handler a handful of times, and work ends the delay', (t) => {
  const { clock, throttle, port, pump, ring } = build();
  let hasWork = false;
  throttle.listen(port, () => hasWork);
  for (let i = 0; i < 100_000; i++) {
    ring();
    if (i % 10 === 0) pump();
    if (i % 1000 === 0) clock.now += 1;
  }
  t.true((throttle.counters(port)?.events ?? 1000) < 12, `${throttle.counters(port)?.events} events`);
  hasWork = true;
  clock.now += EOI_MOST_MS;
  pump();
  ring();
  pump();
  t.is(throttle.deadlineMs(), Number.POSITIVE_INFINITY);
});

test('EventThrottle: an event that comes during the delay fires when it is over; a silenced port never does', (t) => {
  const { kernel, clock, throttle, port, pump, ring } = build();
  let handled = 0;
  throttle.listen(port, () => {
    handled += 1;
    return false;
  });
  for (let i = 0; i < 3; i++) {
    ring();
    pump();
  }
  t.is(handled, 2, 'the third waits');
  clock.now = kernel.deadlineMs();
  pump();
  t.is(handled, 3);
  throttle.silence(port);
  clock.now += 10 * EOI_MOST_MS;
  ring();
  pump();
  t.is(handled, 3);
  throttle.ignore(port);
  const fired: EvtchnPort[] = [];
  kernel.onEvent(port, () => fired.push(port));
  pump();
  t.deepEqual(fired, [port], 'whoever comes next gets what is pending');
  throttle.close();
});
