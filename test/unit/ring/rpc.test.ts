// Request and reply: correlation, failures of the handler, time-outs that poison nothing, endings.
import test from 'ava';
import { createRpc, openRpc, type RpcHandle } from 'sharedarraybuffer-ring';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const string = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('Rpc: many calls at once, answered in any order, each gets its own answer', async (t) => {
  const rpc = createRpc({ capacityBytes: 1024 });
  const other = openRpc(rpc.handle);
  const served = other.responder.serve(async (request) => {
    const n = Number(string(request));
    await sleep(n % 7);
    return text(`${n * n}`);
  });
  const numbers = Array.from({ length: 200 }, (_, i) => i);
  const answers = await Promise.all(numbers.map((n) => rpc.caller.call(text(`${n}`))));
  t.deepEqual(
    answers.map(string),
    numbers.map((n) => `${n * n}`),
  );
  t.is(rpc.caller.pendingCalls, 0);
  t.is(rpc.caller.lateReplies, 0);
  rpc.caller.close();
  await served;
});

test('Rpc: a handler that throws fails its own call only; so does an answer that does not fit', async (t) => {
  const rpc = createRpc({ capacityBytes: 256 });
  void rpc.responder.serve((request) => {
    if (request[0] === 1) throw new Error('bad – request');
    return new Uint8Array(request[0] === 2 ? 500 : 3);
  });
  const calls = [0, 1, 2, 3].map((n) => rpc.caller.call(Uint8Array.of(n)));
  t.is((await calls[0])?.length, 3);
  await t.throwsAsync(() => calls[1] as Promise<unknown>, { code: 'CALL_FAILED', message: /bad – request/ });
  await t.throwsAsync(() => calls[2] as Promise<unknown>, { code: 'CALL_FAILED', message: /500 bytes/ });
  t.is((await calls[3])?.length, 3);
  await t.throwsAsync(rpc.caller.call(new Uint8Array(200)), { instanceOf: RangeError });
  rpc.caller.close();
});

test('Rpc: a call that timed out or was aborted cannot poison later ones: its late answer is dropped', async (t) => {
  const rpc = createRpc({ capacityBytes: 1024 });
  void rpc.responder.serve(async (request) => {
    await sleep(request[0] ?? 0);
    return request;
  });
  const { caller } = rpc;
  const patient = caller.call(Uint8Array.of(60), { timeoutMs: 5_000 });
  const impatient = caller.call(Uint8Array.of(40), { timeoutMs: 10 });
  const controller = new AbortController();
  const aborted = caller.call(Uint8Array.of(41), { signal: controller.signal });
  setTimeout(() => controller.abort(new Error('enough')), 5);
  await t.throwsAsync(aborted, { message: 'enough' });
  await t.throwsAsync(impatient, { code: 'CHANNEL_TIMED_OUT' });
  t.deepEqual(await caller.call(Uint8Array.of(1)), Uint8Array.of(1));
  t.deepEqual(await patient, Uint8Array.of(60));
  t.is(caller.lateReplies, 2);
  await t.throwsAsync(caller.call(Uint8Array.of(1), { signal: AbortSignal.abort(new Error('before')) }), {
    message: 'before',
  });
  caller.close();
});

test('Rpc: calls under way are rejected when either side ends', async (t) => {
  const closed = createRpc({ capacityBytes: 256 });
  const pending = closed.caller.call(text('x'));
  await sleep(1);
  closed.responder.close();
  await t.throwsAsync(pending, { code: 'CHANNEL_CLOSED' });
  await t.throwsAsync(closed.caller.call(text('x')), { code: 'CHANNEL_CLOSED' });
  const own = createRpc({ capacityBytes: 256 });
  const mine = own.caller.call(text('x'));
  await sleep(1);
  own.caller.close();
  await t.throwsAsync(mine, { code: 'CHANNEL_CLOSED' });
  await own.responder.serve(() => text('y'));
});

test('callSync refuses where it would hang or mix with asynchronous calls', async (t) => {
  const rpc = createRpc({ capacityBytes: 256 });
  t.is(
    rpc.responder.serveSync((request) => request, { timeoutMs: 0 }),
    false,
  );
  t.throws(() => rpc.caller.callSync(text('x')), { code: 'WAIT_WOULD_HANG' });
  const pending = rpc.caller.call(text('x'));
  await sleep(1);
  t.throws(() => rpc.caller.callSync(text('x')), { code: 'CALL_PENDING' });
  rpc.caller.close();
  await t.throwsAsync(pending, { code: 'CHANNEL_CLOSED' });
});

test('openRpc refuses what is no handle of this version', (t) => {
  const { handle } = createRpc({ capacityBytes: 64 });
  for (const wrong of [{ ...handle, version: 2 }, { ...handle, kind: 'channel' }, undefined]) {
    t.throws(() => openRpc(wrong as RpcHandle), { code: 'CHANNEL_HANDLE' });
  }
});
