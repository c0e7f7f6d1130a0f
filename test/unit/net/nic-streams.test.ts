// The card as iterator, WHATWG streams and Node Duplex: frames stay whole, nobody waits for ever.
import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { nicDuplex } from '@splitring/frontend/nic-node-streams';
import { framesOf, readableFrames, sendFrame, writableFrames } from '@splitring/frontend/nic-streams';
import test from 'ava';
import { BROADCAST, etherFrame, NetLab, pattern } from '../../support/net-lab.ts';

function world(queues = 1) {
  const lab = new NetLab();
  const [a, b] = [lab.guest({ queues }), lab.guest({ queues })];
  b.nic.send(etherFrame(BROADCAST, b.mac, new Uint8Array(46))); // known to the bridge: what is flooded holds nobody back
  lab.machine.settle();
  while (a.nic.receive() !== undefined);
  const frames = Array.from({ length: 400 }, (_, i) => etherFrame(b.mac, a.mac, pattern(60 + i, i)));
  /** Move the lab until `promise` is settled; bounded. */
  const until = async <T>(promise: Promise<T>): Promise<T> => {
    let isSettled = false;
    const settled = () => {
      isSettled = true;
    };
    promise.then(settled, settled);
    for (let i = 0; i < 5000 && !isSettled; i += 1) {
      lab.machine.settle();
      await turn();
    }
    if (!isSettled) throw new Error('it hangs');
    return promise;
  };
  return { lab, a, b, frames, until };
}

const same = (got: readonly Uint8Array[], want: readonly Uint8Array[]) =>
  got.length === want.length && got.every((frame, i) => Buffer.compare(frame, want[i] as Uint8Array) === 0);

test('framesOf yields every frame and ends when the card is unplugged or the signal aborted', async (t) => {
  const { a, b, frames, until } = world();
  const got: Uint8Array[] = [];
  const reading = (async () => {
    for await (const frame of framesOf(b.nic)) got.push(frame);
  })();
  const writing = (async () => {
    for (const frame of frames) while (!a.nic.send(frame)) await a.nic.whenWritable();
  })();
  await until(writing);
  while (got.length < frames.length) await until(turn());
  b.nic.remove();
  await until(reading);
  t.true(same(got, frames));
  const abort = new AbortController();
  const other = framesOf(a.nic, abort.signal).next();
  abort.abort();
  t.true((await until(other)).done);
});

test('WHATWG streams carry frames with back-pressure', async (t) => {
  const { a, b, frames, until } = world();
  const got: Uint8Array[] = [];
  const reader = readableFrames(b.nic).getReader();
  const writer = writableFrames(a.nic).getWriter();
  const writing = (async () => {
    for (const frame of frames) await writer.write(frame);
  })();
  while (got.length < frames.length) {
    const { value } = await until(reader.read());
    if (value !== undefined) got.push(value);
  }
  await until(writing);
  t.true(same(got, frames));
  await reader.cancel();
  a.nic.disconnect();
  a.nic.remove();
  await t.throwsAsync(writer.write(frames[0] as Uint8Array), { message: /unplugged/ });
});

test('nicDuplex carries frames both ways as Node streams', async (t) => {
  const { a, b, frames, until } = world();
  const [left, right] = [nicDuplex(a.nic), nicDuplex(b.nic)];
  const got: Uint8Array[] = [];
  right.on('data', (frame: Uint8Array) => got.push(frame));
  for (const frame of frames) left.write(frame);
  for (let i = 0; i < 2000 && got.length < frames.length; i += 1) await until(turn());
  t.true(same(got, frames));
  left.destroy();
  right.destroy();
});

test('sendFrame of the largest frames over two queues gives the event loop its turns', async (t) => {
  const { a, b, until } = world(2);
  const large = Array.from({ length: 100 }, (_, i) => {
    const from = Uint8Array.of(2, 0, 0, 0, 0, i & 7); // flows of both queues
    return etherFrame(b.mac, from, pattern(60_000, i));
  });
  let got = 0;
  b.nic.onFrame = () => {
    got += 1;
  };
  const writing = (async () => {
    for (const frame of large) await sendFrame(a.nic, frame);
  })();
  await until(writing);
  for (let i = 0; i < 100 && got < 100; i += 1) await until(turn());
  t.is(got, 100);
});

for (const kind of ['Node', 'WHATWG'] as const) {
  test(`a ${kind} stream that nobody reads takes a few frames and no more; its sender waits, nothing is dropped`, async (t) => {
    const { a, b, frames, until } = world();
    const duplex = kind === 'Node' ? nicDuplex(b.nic) : undefined;
    const readable = kind === 'Node' ? undefined : readableFrames(b.nic);
    duplex?.read(0); // a stream that was asked once fills its own buffer
    let sent = 0;
    const writing = (async () => {
      for (const frame of [...frames, ...frames, ...frames]) {
        await sendFrame(a.nic, frame);
        sent += 1;
      }
    })();
    for (let i = 0; i < 200; i += 1) await until(turn());
    // What two rings and the stream's buffer hold.
    t.true(sent >= 256 && sent <= 2 * 256 + 16 + 8, `${sent} sent`);
    t.is(a.nic.counters.txDropped, 0);
    t.is(b.nic.counters.rxFrames, duplex?.readableLength ?? 0);
    let got = 0;
    if (duplex !== undefined) {
      duplex.on('data', () => {
        got += 1;
      });
    }
    const reading = (async () => {
      for await (const _ of readable ?? []) {
        got += 1;
        if (got === 1200) break;
      }
    })();
    await until(writing);
    for (let i = 0; i < 200 && got < 1200; i += 1) await until(turn());
    await until(reading);
    t.is(got, 1200);
    duplex?.destroy();
  });
}

test('a stream that is destroyed or aborted while it waits for room lets go', async (t) => {
  const { lab, a, b, frames, until } = world();
  const duplex = nicDuplex(a.nic);
  duplex.on('error', () => {});
  for (const frame of [...frames, ...frames]) duplex.write(frame);
  for (let i = 0; i < 50; i += 1) await until(turn());
  const writer = writableFrames(a.nic).getWriter();
  writer.closed.catch(() => {});
  const stuck = writer.write(frames[0] as Uint8Array);
  stuck.catch(() => {});
  for (let i = 0; i < 10; i += 1) await until(turn());
  duplex.destroy();
  await until(writer.abort(new Error('enough')));
  t.true(duplex.destroyed);
  let got = 0;
  b.nic.onFrame = () => {
    got += 1;
  };
  for (let i = 0; i < 50; i += 1) await until(turn());
  lab.machine.settle();
  t.is(got, a.nic.counters.txFrames, 'what was handed over arrives, nothing more is sent');
});

test('waiting with one signal for a long time leaves no listeners on it', async (t) => {
  const { a, b, until } = world();
  const abort = new AbortController();
  for (let i = 0; i < 50; i += 1) {
    const waiting = b.nic.whenReadable(abort.signal);
    a.nic.send(etherFrame(b.mac, a.mac, pattern(50, i)));
    await until(waiting);
    while (b.nic.receive() !== undefined);
  }
  t.is(getEventListeners(abort.signal, 'abort').length, 0);
});
