// The shared memory in which channels are explored, and what all of their scenarios say and judge.
import type { ChannelEndOptions, ChannelHandle } from 'sharedarraybuffer-ring';
import type { EndProgram, Outcome } from './explore.ts';
import type { RingLibrary } from './plants.ts';

export const CAPACITY_BYTES = 64;
export const LINE_BYTES = 128;
const LANE_LINES = 6;
const THREAD = Symbol.for('sharedarraybuffer-ring.thread');
export const SENDER_THREAD = 11;
export const RECEIVER_THREAD = 99;
/** Payload lengths: with their headers 24, 32 and 32 bytes, so that a lane of 64 is full twice and every start meets the seam. */
export const LENGTHS = [16, 24, 24];

/** The shared memory of one channel. */
export interface ChannelWorld {
  readonly buffer: SharedArrayBuffer;
  readonly producers: number;
}

/** What a scenario varies. */
export interface ChannelVariant {
  /** Where both positions start. */
  readonly at: number;
  readonly producers?: number;
  readonly preemptions?: number;
}

/** Make a channel whose positions start at `at`. */
export function makeWorld(lib: RingLibrary, { at, producers = 1 }: ChannelVariant): ChannelWorld {
  const channel = lib.createChannel({ capacityBytes: CAPACITY_BYTES, producers, restart: 'resume' });
  const { buffer } = channel.handle.memory;
  if (buffer === undefined) throw new Error('a plain channel lies in a plain buffer');
  for (let lane = 0; lane < producers; lane += 1) {
    const base = ((4 + LANE_LINES * lane) * LINE_BYTES) / 4;
    new Int32Array(buffer)[base] = at; // tail
    new Int32Array(buffer)[base + 32] = at; // head
    new Int32Array(buffer)[base + 64] = at; // dataEvent: long past
    new Int32Array(buffer)[base + 98] = at; // roomEvent: long past
  }
  return { buffer, producers };
}

/** The `setup` of a scenario in one channel. */
export function setup(lib: RingLibrary, variant: ChannelVariant) {
  const world = makeWorld(lib, variant);
  return () => ({ buffers: [world.buffer], world });
}

/** The handle of the channel, for the end of `thread`: a thread number of its own, though all ends run on one. */
export function handleFor({ buffer, producers }: ChannelWorld, thread: number): ChannelHandle {
  Reflect.set(globalThis, THREAD, thread);
  return { kind: 'channel', version: 1, memory: { buffer }, at: 0, capacityBytes: CAPACITY_BYTES, producers };
}

/** Open the channel as a thread that blocks would: with a thread number of its own, no clock, no spinning. */
export function openBlocking(lib: RingLibrary, world: ChannelWorld, thread: number) {
  const clock = (): number => 0;
  const options: ChannelEndOptions = { wait: lib.spinThenWait({ maxSpins: 0, clock }), clock, publish: 'each' };
  return lib.openChannel(handleFor(world, thread), options);
}

/** Message `n` of the sender of `thread`: every byte alike, so that a torn one shows. */
export function messageOf(thread: number, n: number): Uint8Array {
  return new Uint8Array(LENGTHS[n] ?? 0).fill(thread * 10 + n);
}

/** A message as it is reported. */
export function nameOf(message: Uint8Array): string {
  const isWhole = message.every((byte) => byte === message[0]);
  return isWhole ? `${message[0]}/${message.length}` : `torn ${[...message]}`;
}

/** An error as it is reported. */
export function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error);
}

/** The reports of a receiver that got every message of the sender of `thread`. */
export const expected = (thread: number): string[] => LENGTHS.map((length, n) => `${thread * 10 + n}/${length}`);

export function reports({ ends }: Outcome<unknown>, name: string): string[] {
  return (ends[name]?.reports ?? []).map(String);
}

/** Whether an end came to rest in a way that no program means. */
export function unfinished({ ends }: Outcome<unknown>): string | undefined {
  const wrong = {
    asleep: 'waits for ever',
    exited: 'awaits, and nothing keeps it alive',
    held: 'is over, and kept alive',
  };
  const others = Object.entries(ends).map(([name, end]) => `${name} ${end.status} ${end.reports.join(' ')}`);
  for (const [name, { status }] of Object.entries(ends)) {
    if (status in wrong) return `${name} ${wrong[status as keyof typeof wrong]} (${others.join('; ')})`; // it is a key
  }
  return undefined;
}

export function mustBe(what: string, got: readonly string[], wanted: readonly string[]): string | undefined {
  return got.join(' ') === wanted.join(' ') ? undefined : `${what}: ${got.join(' ')}, expected ${wanted.join(' ')}`;
}

/** The owner of a thread that died: tells the channel. */
export function owner(lib: RingLibrary, of: string, thread: number): EndProgram<ChannelWorld> {
  return {
    name: `owner of ${of}`,
    startsAfter: of,
    run: (world) => {
      const channel = openBlocking(lib, world, 1);
      lib.watch({ threadId: thread - 1 }, channel, { end: of.startsWith('receiver') ? 'receiver' : 'sender' }).died();
    },
  };
}
