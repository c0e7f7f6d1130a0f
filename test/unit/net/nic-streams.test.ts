// The card as iterator, WHATWG streams and Node Duplex: frames stay whole, nobody waits for ever.
import { setImmediate as turn } from 'node:timers/promises';
import { nicDuplex } from '@splitring/frontend/nic-node-streams';
import { framesOf, readableFrames, writableFrames } from '@splitring/frontend/nic-streams';
import test from 'ava';
import { etherFrame, NetLab, pattern } from '../../support/net-lab.ts';

function world() {
  const lab = new NetLab();
  const [a, b] = [lab.guest(), lab.guest()];
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
