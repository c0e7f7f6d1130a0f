// The worker of the channel's integration tests: one end of a channel, in the role and with the strategy that it is told.
import { parentPort, workerData } from 'node:worker_threads';
import {
  busySpin,
  type ChannelHandle,
  type ChannelReceiver,
  type ChannelSender,
  openChannel,
  openRpc,
  type RpcHandle,
  spinThenWait,
  type WaitStrategy,
  waitAsync,
} from 'sharedarraybuffer-ring';

/** What the worker is told. */
export interface Task {
  readonly role: 'produce' | 'consume' | 'echo' | 'echo-async' | 'call';
  readonly handle: ChannelHandle | RpcHandle;
  readonly wait: StrategyName;
  /** Messages to produce or consume; echo and consume go on until the channel ends if it is 0. */
  readonly messages: number;
  readonly seed: number;
  /** Word 0: messages that are certainly published (produce) or released (consume). */
  readonly progress?: Int32Array;
}

/** Strategies that a test can name. */
export type StrategyName = 'busy-spin' | 'spin-then-wait' | 'sleep' | 'wait-async';

/** Make the named strategy. */
export function strategyOf(name: StrategyName): WaitStrategy {
  if (name === 'busy-spin') return busySpin();
  if (name === 'wait-async') return waitAsync();
  return spinThenWait(name === 'sleep' ? { maxSpins: 0 } : {});
}

/** Bytes of message `n` of a producer: its number, then a pattern whose length and contents follow from both. */
export function messageOf(n: number, seed: number, maxBytes: number): Uint8Array {
  const length = 8 + (((Math.imul(n + 1, 0x9e3779b1) ^ seed) >>> 0) % (maxBytes - 7));
  const bytes = Uint8Array.from({ length }, (_, i) => (n * 13 + seed + i) & 0xff);
  new DataView(bytes.buffer).setUint32(0, n, true);
  new DataView(bytes.buffer).setUint32(4, seed, true);
  return bytes;
}

/** Check a message against `messageOf`; its number, or a text that tells what is wrong. */
export function checkMessage(
  bytes: Uint8Array,
  maxBytes: number,
): { readonly n: number; readonly seed: number } | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 8) return `message of ${bytes.length} bytes`;
  const n = view.getUint32(0, true);
  const seed = view.getUint32(4, true);
  const wanted = messageOf(n, seed, maxBytes);
  const isSame = wanted.length === bytes.length && wanted.every((byte, i) => byte === bytes[i]);
  return isSame ? { n, seed } : `message ${n} of producer ${seed} is torn`;
}

const LONGEST = 200;

async function produce(sender: ChannelSender, task: Task, isAsync: boolean): Promise<void> {
  for (let n = 0; task.messages === 0 || n < task.messages; n += 1) {
    const bytes = messageOf(n, task.seed, LONGEST);
    if (isAsync) await sender.send(bytes);
    else sender.sendSync(bytes);
    if (task.progress !== undefined) {
      sender.flush();
      Atomics.store(task.progress, 0, n + 1);
    }
  }
  sender.close();
}

async function consume(receiver: ChannelReceiver, task: Task, isAsync: boolean): Promise<string> {
  const next = new Map<number, number>();
  for (;;) {
    if (!(isAsync ? await receiver.ready() : receiver.readySync())) break;
    receiver.peek();
    const found = checkMessage(receiver.bytes.slice(receiver.at, receiver.at + receiver.length), LONGEST);
    if (typeof found === 'string') return found;
    const expected = next.get(found.seed) ?? found.n; // a resumed receiver starts anywhere
    if (found.n !== expected) return `message ${found.n} of producer ${found.seed}, expected ${expected}`;
    if (!next.has(found.seed)) parentPort?.postMessage({ first: found.n });
    next.set(found.seed, found.n + 1);
    receiver.consume();
    if (task.progress !== undefined) {
      receiver.release();
      Atomics.store(task.progress, 0, found.n + 1);
    }
  }
  return [...next.entries()]
    .map(([seed, n]) => `${seed}:${n}`)
    .sort()
    .join(' ');
}

async function run(task: Task): Promise<string> {
  const wait = strategyOf(task.wait);
  const isAsync = task.wait === 'wait-async';
  if (task.role === 'echo' || task.role === 'echo-async') {
    const { responder } = openRpc(task.handle as RpcHandle, { wait });
    if (task.role === 'echo') responder.serveSync((request) => request);
    else await responder.serve((request) => request);
    return 'served';
  }
  if (task.role === 'call') {
    const { caller } = openRpc(task.handle as RpcHandle, { wait });
    for (let n = 0; n < task.messages; n += 1) {
      const request = messageOf(n, task.seed, LONGEST);
      const reply = isAsync ? await caller.call(request) : caller.callSync(request);
      if (!reply.every((byte, i) => byte === request[i])) return `wrong answer to call ${n}`;
    }
    caller.close();
    return `called ${task.messages}`;
  }
  const channel = openChannel(task.handle as ChannelHandle, { wait });
  if (task.role === 'consume') return consume(channel.receiver, task, isAsync);
  await produce(channel.sender, task, isAsync);
  return `sent ${task.messages}`;
}

if (parentPort !== null && workerData?.role !== undefined) {
  const port = parentPort;
  const task = workerData as Task; // posted by the tests only
  run(task).then(
    (result) => port.postMessage({ result }),
    (error: Error & { code?: string }) => port.postMessage({ result: `${error.code ?? error.name}: ${error.message}` }),
  );
}
