// What the steady-state test streams through: every path that takes messages synchronously, and two planted faults.
import {
  BackRing,
  type Channel,
  type ChannelHandle,
  createChannel,
  createFixedRing,
  FixedConsumer,
  FixedProducer,
  FrontRing,
  initRing,
  SharedMemory,
  type SharedMemoryHandle,
  type SharedMemoryKind,
  SlotBuffer,
} from 'sharedarraybuffer-ring';
import { createChannel as createSyncChannel, type SyncReceiver, type SyncSender } from 'sharedarraybuffer-ring/sync';
import { HEAD, laneAt, TAIL } from '../../../packages/ring/src/channel-layout.ts';

/** Indices begin here, and positions in bytes: the warm-up crosses 2^31, where a compiled subtraction overflows once. */
const FIRST = 2 ** 31 - 65_536;

/** Pass so many messages from one end to the other. */
export type Pass = (messages: number) => void;

/** Messages of a measured round. */
export const ROUND_MESSAGES = 1_000_000;

const BATCH = 32;

/** Alternate: `send` a batch of messages, `receive` it. Each tells whether it did one. */
function alternate(send: () => boolean, receive: () => boolean): Pass {
  return (messages) => {
    for (let done = 0; done < messages; done += BATCH) {
      for (let i = 0; i < BATCH; i += 1) if (!send()) throw new Error('no room');
      for (let i = 0; i < BATCH; i += 1) if (!receive()) throw new Error('no message');
    }
  };
}

/** Set the words of a fresh ring or channel, counted from its beginning, as if `FIRST` had passed already. */
function startLate<H extends { readonly memory: SharedMemoryHandle; readonly at: number }>(
  handle: H,
  words: readonly number[],
): H {
  const { buffer, memory } = handle.memory;
  const control = new Int32Array(memory?.buffer ?? buffer ?? new SharedArrayBuffer(0), handle.at);
  for (const word of words) control[word] = FIRST;
  return handle;
}

function fixed(bytes: number, kind: SharedMemoryKind): Pass {
  const memory = SharedMemory.allocate(1 << 20, kind);
  const handle = startLate(createFixedRing({ slotBytes: bytes, slots: 128, memory }), [0, 32]);
  const producer = new FixedProducer(handle, { memory });
  const consumer = new FixedConsumer(handle, { memory });
  const place = (): SlotBuffer =>
    kind === 'plain'
      ? new SlotBuffer(1, bytes)
      : new SlotBuffer(1, bytes, { memory, region: memory.reserve(Math.ceil(bytes / 8) * 8) });
  const outbox = place();
  const inbox = place();
  let sent = 0;
  return alternate(
    () => {
      const isSent = producer.trySend(outbox, 0);
      sent += 1;
      if ((sent & 31) === 0) producer.flush();
      return isSent;
    },
    () => consumer.tryReceive(inbox, 0),
  );
}

function fixedInPlace(bytes: number): Pass {
  const handle = startLate(createFixedRing({ slotBytes: bytes, slots: 128 }), [0, 32]);
  const producer = new FixedProducer(handle);
  const consumer = new FixedConsumer(handle);
  return alternate(
    () => {
      const place = producer.claim();
      if (place < 0) return false;
      producer.ring.view.setUint32(producer.ring.offset(place), place, true);
      producer.commit();
      producer.flush();
      return true;
    },
    () => {
      const place = consumer.peek();
      if (place < 0) return false;
      consumer.ring.view.getUint32(consumer.ring.offset(place), true);
      consumer.release();
      return true;
    },
  );
}

/** Requests and their responses: a message is one round of both, notifications asked for as a sleeper would. */
function xen(slotBytes: number): Pass {
  const region = new Uint8Array(new SharedArrayBuffer(16_384));
  initRing(region);
  new Int32Array(region.buffer, 0, 4).set([FIRST, FIRST + 1, FIRST, FIRST + 1]);
  const front = new FrontRing(region, slotBytes, { at: FIRST });
  const back = new BackRing(region, slotBytes, { at: FIRST });
  return (messages) => {
    for (let done = 0; done < messages; done += BATCH) {
      for (let i = 0; i < BATCH; i += 1) front.view.setUint32(front.stageRequest(), i, true);
      front.pushRequests();
      let taken = 0;
      while (back.availableRequests() > 0) {
        while (back.takeRequest()) {
          taken += 1;
          const id = back.request.getUint32(0, true);
          back.view.setUint32(back.stageResponse(), id, true);
        }
      }
      back.pushResponses();
      back.finalCheck();
      while (front.availableResponses() > 0)
        while (front.takeResponse()) taken += front.response.getUint32(0, true) & 0;
      front.finalCheck();
      if (taken !== BATCH) throw new Error(`${taken} of ${BATCH} requests`);
    }
  };
}

interface Ends {
  readonly sender: SyncSender;
  readonly receiver: SyncReceiver;
}

function copiedIn({ sender, receiver }: Ends, bytes: number): Pass {
  const message = new Uint8Array(bytes);
  let seen = 0;
  const look = (_bytes: Uint8Array, _at: number, length: number): void => {
    seen += length;
  };
  return (messages) => {
    for (let done = 0; done < messages; done += BATCH) {
      for (let i = 0; i < BATCH; i += 1) sender.sendSync(message);
      sender.flush();
      seen = 0;
      while (seen < BATCH * bytes) receiver.read(look);
    }
  };
}

function claimed({ sender, receiver }: Ends, bytes: number): Pass {
  return alternate(
    () => {
      const at = sender.claim(bytes);
      if (at < 0) return false;
      sender.data.setUint32(at, bytes, true);
      sender.commit();
      return true;
    },
    () => {
      if (!receiver.peek()) return false;
      receiver.consume();
      return true;
    },
  );
}

function copiedOut(bytes: number): Pass {
  const { sender, receiver } = fullEnds();
  const message = new Uint8Array(bytes);
  const target = new Uint8Array(bytes);
  return alternate(
    () => sender.trySend(message),
    () => receiver.tryReceiveInto(target) >= 0,
  );
}

function buffered(bytes: number, kind: SharedMemoryKind): Pass {
  const memory = SharedMemory.allocate(1 << 20, kind);
  const { sender, receiver } = late(createChannel({ capacityBytes: 1 << 18, memory }));
  const place = (): SlotBuffer =>
    kind === 'plain' ? new SlotBuffer(1, bytes) : new SlotBuffer(1, bytes, { memory, region: memory.reserve(bytes) });
  const outbox = place();
  const inbox = place();
  return alternate(
    () => sender.trySendFrom(outbox, 0, bytes),
    () => receiver.tryReceiveTo(inbox, 0) >= 0,
  );
}

function late<C extends { readonly handle: ChannelHandle }>(channel: C): C {
  startLate(channel.handle, [laneAt(0) + HEAD, laneAt(0) + TAIL]);
  return channel;
}

const syncEnds = (): Ends => late(createSyncChannel({ capacityBytes: 1 << 18 }));
const fullEnds = (): Channel => late(createChannel({ capacityBytes: 1 << 18 }));

/** What a planted allocation keeps, so that the compiler cannot spare it. */
const kept: object[] = [{}];

function plantedAllocation(): Pass {
  const clean = fixed(64, 'plain');
  return (messages) => {
    clean(messages);
    for (let i = 0; i < messages; i += 1) kept[0] = { i };
  };
}

function plantedDeoptimization(): Pass {
  const clean = fixed(64, 'plain');
  const lengthOf = (value: { length: number }): number => value.length;
  let passed = 0;
  return (messages) => {
    clean(messages);
    passed += messages;
    // What the warm-up and the first round taught the compiler is wrong from the second on.
    const value = passed > 4_500_000 ? { other: 1, length: 1 } : { length: 1 };
    let length = 0;
    for (let i = 0; i < messages; i += 1) length += lengthOf(value);
    if (length !== messages) throw new Error('impossible');
  };
}

// No channel reaches position 2^32: the wrap rings a bell that nobody armed, once in 4 GiB, and that is new to the compiler.
const SUBJECTS: Readonly<Record<string, () => Pass>> = {
  'fixed-8': () => fixed(8, 'plain'),
  'fixed-112': () => fixed(112, 'plain'),
  'fixed-1024': () => fixed(1024, 'plain'),
  'fixed-wasm-1024': () => fixed(1024, 'wasm'),
  'fixed-in-place-64': () => fixedInPlace(64),
  'xen-112': () => xen(112),
  'xen-30': () => xen(30), // no whole lanes
  'sync-channel-copied-64': () => copiedIn(syncEnds(), 64),
  'sync-channel-claimed-64': () => claimed(syncEnds(), 64),
  'channel-copied-64': () => copiedIn(fullEnds(), 64),
  'channel-claimed-64': () => claimed(fullEnds(), 64),
  'channel-into-61': () => copiedOut(61),
  'channel-into-256': () => copiedOut(256),
  'channel-buffered-64': () => buffered(64, 'plain'),
  'channel-buffered-256': () => buffered(256, 'plain'),
  'channel-buffered-wasm-256': () => buffered(256, 'wasm'),
  'planted-allocation': plantedAllocation,
  'planted-deoptimization': plantedDeoptimization,
};

/** Names of the subjects. */
export const SUBJECT_NAMES: readonly string[] = Object.keys(SUBJECTS);

/** Open a subject by name. */
export function openSubject(name: string): Pass {
  const open = SUBJECTS[name];
  if (open === undefined) throw new Error(`No subject ${name}: one of ${SUBJECT_NAMES.join(', ')}`);
  return open();
}
