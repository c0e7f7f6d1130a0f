// One end of a stream between two workers, in its steady state: passes rounds of messages and measures what each leaves on
// its own heap. Waits are counted: a wait may cost something, a message must not.
import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import {
  type AsyncWaitStrategy,
  AwaitableBusySpin,
  AwaitableSpinThenWait,
  BackRing,
  type ChannelHandle,
  type ChannelReceiver,
  type ChannelSender,
  FixedConsumer,
  FixedProducer,
  type FixedRingHandle,
  FrontRing,
  openChannel,
  SlotBuffer,
  waitAsync,
} from 'sharedarraybuffer-ring';

/** What a worker is told. */
export interface PairTask {
  readonly role: 'send' | 'receive';
  readonly subject: string;
  readonly fixed: FixedRingHandle;
  readonly channel: ChannelHandle;
  /** A Xen ring of one page, then a line with two bells. */
  readonly xen: SharedArrayBuffer;
}

/** What an end found: for each measured round, bytes of heap per message and how often it waited. */
export interface PairReport {
  readonly role: PairTask['role'];
  readonly bytesPerMessage: readonly number[];
  /** Looks that found nothing: sleeps, spins, awaited waits. */
  readonly waitsPerMessage: readonly number[];
  /** Collections in the measured rounds, which would make the figures too small. */
  readonly collections: number;
}

/** Messages of a round: so few where each costs something that no collection falls into it. */
const roundMessages = (subject: string): number => (subject.endsWith('-each') ? 10_000 : 100_000);
const WARM_UP_ROUNDS = 6;
const ROUNDS = 6;
/** Bytes of a message. */
export const MESSAGE_BYTES = 64;
/** Requests of the Xen ring: blkif's. */
const SLOT_BYTES = 112;
export const PAGE_BYTES = 4096;
const FRONT_BELL = 0;
const BACK_BELL = 1;

let waits = 0;

/** Sleeps as soon as there is nothing to do, or after the given number of reads, and counts it. */
class CountedWait extends AwaitableSpinThenWait {
  override wait(words: Int32Array, index: number, seen: number, timeoutMs: number): 'changed' | 'timed-out' {
    waits += 1;
    return super.wait(words, index, seen, timeoutMs);
  }
}

/** Spins without end, and counts how often it began. */
class CountedSpin extends AwaitableBusySpin {
  override spin(words: Int32Array, index: number, seen: number): boolean {
    waits += 1;
    return super.spin(words, index, seen);
  }
}

function countedAsync(): AsyncWaitStrategy {
  const strategy = waitAsync();
  return {
    ...strategy,
    waitAsync: (words, index, seen, timeoutMs) => {
      waits += 1;
      return strategy.waitAsync(words, index, seen, timeoutMs);
    },
  };
}

/** Pass so many messages; a promise if the end awaits. */
type Pass = (messages: number) => void | Promise<void>;

function sendFixed({ fixed }: PairTask): Pass {
  const producer = new FixedProducer(fixed);
  const message = new SlotBuffer(1, MESSAGE_BYTES);
  return (messages) => {
    for (let sent = 0; sent < messages; sent += 1) while (!producer.trySend(message, 0));
    producer.flush();
  };
}

function receiveFixed({ fixed }: PairTask): Pass {
  const consumer = new FixedConsumer(fixed);
  const message = new SlotBuffer(1, MESSAGE_BYTES);
  return (messages) => {
    for (let taken = 0; taken < messages; taken += 1) while (!consumer.tryReceive(message, 0));
  };
}

/** Poll, or sleep on the bell: sample it, make the final check, then wait. */
function idle(ring: FrontRing | BackRing, words: Int32Array, bell: number, strategy: CountedWait | undefined): void {
  if (strategy === undefined) return;
  const seen = Atomics.load(words, bell);
  if (!ring.finalCheck()) strategy.wait(words, bell, seen, 1000);
}

function ringBell(words: Int32Array, bell: number): void {
  Atomics.add(words, bell, 1);
  Atomics.notify(words, bell);
}

function sendXen({ xen }: PairTask, strategy?: CountedWait): Pass {
  const ring = new FrontRing(new Uint8Array(xen, 0, PAGE_BYTES), SLOT_BYTES);
  const words = new Int32Array(xen, PAGE_BYTES, 2);
  return (messages) => {
    let staged = 0;
    let answered = 0;
    while (answered < messages) {
      while (staged < messages && !ring.isFull) {
        ring.view.setUint32(ring.stageRequest(), staged, true);
        staged += 1;
      }
      if (ring.pushRequests()) ringBell(words, BACK_BELL);
      if (ring.availableResponses() === 0) idle(ring, words, FRONT_BELL, strategy);
      while (ring.takeResponse()) answered += 1;
    }
  };
}

function receiveXen({ xen }: PairTask, strategy?: CountedWait): Pass {
  const ring = new BackRing(new Uint8Array(xen, 0, PAGE_BYTES), SLOT_BYTES);
  const words = new Int32Array(xen, PAGE_BYTES, 2);
  return (messages) => {
    for (let taken = 0; taken < messages; ) {
      if (ring.availableRequests() === 0) idle(ring, words, BACK_BELL, strategy);
      while (ring.takeRequest()) {
        taken += 1;
        ring.view.setUint32(ring.stageResponse(), ring.request.getUint32(0, true), true);
      }
      if (ring.pushResponses()) ringBell(words, FRONT_BELL);
    }
  };
}

function sendChannel(sender: ChannelSender): Pass {
  const message = new Uint8Array(MESSAGE_BYTES);
  return (messages) => {
    for (let sent = 0; sent < messages; sent += 1) sender.sendSync(message);
    sender.flush();
  };
}

/** The handler of all reads; it sees every message. */
let seen = 0;
const look = (_bytes: Uint8Array, _at: number, _length: number): void => {
  seen += 1;
};

function receiveChannel(receiver: ChannelReceiver): Pass {
  return (messages) => {
    for (seen = 0; seen < messages && receiver.readySync(); ) receiver.read(look, messages - seen);
  };
}

/** Awaits once a batch: only when there is no room. */
function sendAwaiting(sender: ChannelSender): Pass {
  const message = new Uint8Array(MESSAGE_BYTES);
  return async (messages) => {
    for (let sent = 0; sent < messages; sent += 1) if (!sender.trySend(message)) await sender.send(message);
    sender.flush();
  };
}

/** Awaits once a batch: only when there is no message. */
function receiveAwaiting(receiver: ChannelReceiver): Pass {
  return async (messages) => {
    for (seen = 0; seen < messages && (await receiver.ready()); ) receiver.read(look, messages - seen);
  };
}

/** Awaits every message. */
function sendEach(sender: ChannelSender): Pass {
  const message = new Uint8Array(MESSAGE_BYTES);
  return async (messages) => {
    for (let sent = 0; sent < messages; sent += 1) await sender.send(message);
    sender.flush();
  };
}

/** Awaits every message, each a fresh copy. */
function receiveEach(receiver: ChannelReceiver): Pass {
  return async (messages) => {
    let left = messages;
    for await (const message of receiver) {
      left -= 1;
      if (left === 0 || message.length === 0) return;
    }
  };
}

const kept: object[] = [{}];

/** A sender that allocates for each message: the test must see it. */
function sendWastefully(sender: ChannelSender): Pass {
  const pass = sendChannel(sender);
  return (messages) => {
    for (let i = 0; i < messages; i += 1) kept[0] = { i };
    return pass(messages);
  };
}

function openPass(task: PairTask): Pass {
  const { subject, role } = task;
  const isSender = role === 'send';
  const open = (wait: ConstructorParameters<typeof CountedWait>[0] | AsyncWaitStrategy | undefined) =>
    openChannel(task.channel, {
      wait: wait === undefined ? new CountedSpin() : 'name' in wait ? wait : new CountedWait(wait),
    });
  const sleepy = { maxSpins: 0 };
  switch (subject) {
    case 'fixed-spin':
      return isSender ? sendFixed(task) : receiveFixed(task);
    case 'xen-spin':
      return isSender ? sendXen(task) : receiveXen(task);
    case 'xen-blocking':
      return isSender ? sendXen(task, new CountedWait(sleepy)) : receiveXen(task, new CountedWait(sleepy));
    case 'channel-spin':
      return isSender ? sendChannel(open(undefined).sender) : receiveChannel(open(undefined).receiver);
    case 'channel-spin-then-wait':
      return isSender ? sendChannel(open({}).sender) : receiveChannel(open({}).receiver);
    case 'channel-blocking':
      return isSender ? sendChannel(open(sleepy).sender) : receiveChannel(open(sleepy).receiver);
    case 'channel-await':
      return isSender ? sendAwaiting(open(countedAsync()).sender) : receiveAwaiting(open(countedAsync()).receiver);
    case 'channel-await-each':
      return isSender ? sendEach(open(countedAsync()).sender) : receiveEach(open(countedAsync()).receiver);
    case 'planted-allocation':
      return isSender ? sendWastefully(open({}).sender) : receiveChannel(open({}).receiver);
    default:
      throw new Error(`No subject ${subject}`);
  }
}

/** Bytes on this worker's heap and held outside by objects on it. */
function heapBytes(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}

async function run(task: PairTask): Promise<PairReport> {
  const collectedAt: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntries()) collectedAt.push(startTime);
  });
  observer.observe({ entryTypes: ['gc'] });
  const pass = openPass(task);
  const messages = roundMessages(task.subject);
  const bytesPerMessage: number[] = [];
  const waitsPerMessage: number[] = [];
  for (let round = 0; round < WARM_UP_ROUNDS; round += 1) await pass(messages);
  const begin = performance.now();
  for (let round = 0; round < ROUNDS; round += 1) {
    waits = 0;
    const before = heapBytes();
    const under = pass(messages);
    if (under !== undefined) await under;
    bytesPerMessage.push((heapBytes() - before) / messages);
    waitsPerMessage.push(waits / messages);
  }
  const end = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 20)); // collections are told on the event loop
  const collections = collectedAt.filter((at) => at >= begin && at <= end).length;
  return { role: task.role, bytesPerMessage, waitsPerMessage, collections };
}

const task = workerData as PairTask | null; // null where a test imports this for its types
if (task !== null) parentPort?.postMessage(await run(task));
