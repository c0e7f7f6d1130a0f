// What every disk of a guest must do, whichever way its device is reached: the suite for any I/O model.
import type { Disk } from '@splitring/frontend';

/** A disk to be examined, and how its machine is moved. */
export interface DiskUnderTest {
  readonly disk: Disk;
  /** Move everything until `promise` is settled. */
  until<T>(promise: Promise<T>): Promise<T>;
  /** The bytes of the medium behind the disk, if the test can see them. */
  medium?(offset: number, lengthBytes: number): Uint8Array;
}

/** One rule: a sentence, and a check that throws if it does not hold. */
export interface Rule {
  readonly name: string;
  check(subject: DiskUnderTest): Promise<void>;
}

function bytesOf(lengthBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 7 + (i >> 8) * 13 + seed * 31) & 0xff);
}

function expect(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

async function refusal(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

async function writeAndRead({ disk, until }: DiskUnderTest, offset: number, lengthBytes: number): Promise<void> {
  const bytes = bytesOf(lengthBytes, offset + lengthBytes);
  await until(disk.write(offset, bytes));
  const into = new Uint8Array(lengthBytes);
  await until(disk.read(offset, into));
  expect(Buffer.compare(bytes, into) === 0, `${lengthBytes} bytes at ${offset} come back changed`);
}

/** Needs a writable disk of at least 2 MiB whose contents nobody wants. */
export const DEVICE_API_RULES: readonly Rule[] = [
  {
    name: 'what is written is read, from one block to a megabyte, at any block',
    check: async (subject) => {
      const unit = subject.disk.blockBytes;
      for (const blocks of [1, 2, 7, 8, 9, 64, 89, 256, Math.floor((1 << 20) / unit)]) {
        await writeAndRead(subject, unit * 3, blocks * unit);
      }
    },
  },
  {
    name: 'the last block is a block like any other, the one after it is out of range',
    check: async (subject) => {
      const { disk, until } = subject;
      await writeAndRead(subject, disk.capacityBytes - disk.blockBytes, disk.blockBytes);
      const beyond = await refusal(until(disk.read(disk.capacityBytes, new Uint8Array(disk.blockBytes))));
      expect(beyond === 'BLOCK_OUT_OF_RANGE', `reading beyond the end gives ${beyond}`);
    },
  },
  {
    name: 'the synchronous calls do what the asynchronous ones do',
    check: async ({ disk }) => {
      const bytes = bytesOf(disk.blockBytes * 20, 5);
      disk.writeSync(0, bytes, { isDurable: true });
      disk.flushSync();
      const into = new Uint8Array(bytes.length);
      disk.readSync(0, into);
      expect(Buffer.compare(bytes, into) === 0, 'synchronous bytes come back changed');
    },
  },
  {
    name: 'overlapping writes end as if made one after the other, in the order of the calls',
    check: async ({ disk, until }) => {
      const unit = disk.blockBytes;
      const writes = Array.from({ length: 20 }, (_, i) =>
        disk.write((i % 5) * unit, new Uint8Array(4 * unit).fill(i + 1)),
      );
      await until(Promise.all(writes));
      const into = new Uint8Array(8 * unit);
      await until(disk.read(0, into));
      const found = Array.from({ length: 8 }, (_, i) => into[i * unit]);
      expect(found.join() === '16,17,18,19,20,20,20,20', `the blocks hold ${found}`);
    },
  },
  {
    name: 'a read called after a write of the same block sees it, answered or not',
    check: async ({ disk, until }) => {
      const into = new Uint8Array(disk.blockBytes);
      const write = disk.write(0, new Uint8Array(disk.blockBytes).fill(0x77));
      await until(Promise.all([write, disk.read(0, into)]));
      expect(into[0] === 0x77, 'the read saw the old block');
    },
  },
  {
    name: 'zeroed ranges read as zeros, and their neighbours are untouched',
    check: async ({ disk, until }) => {
      const unit = disk.blockBytes;
      await until(disk.write(0, new Uint8Array(64 * unit).fill(1)));
      await until(disk.writeZeroes(3 * unit, 40 * unit));
      const into = new Uint8Array(64 * unit);
      await until(disk.read(0, into));
      const isRight = into.every((byte, i) => byte === (i >= 3 * unit && i < 43 * unit ? 0 : 1));
      expect(isRight, 'the zeroed range is not exactly zero');
    },
  },
  {
    name: 'a discard leaves its neighbours alone, where it is offered at all',
    check: async ({ disk, until }) => {
      const unit = disk.blockBytes;
      await until(disk.write(0, new Uint8Array(32 * unit).fill(2)));
      const outcome = await refusal(until(disk.discard(8 * unit, 8 * unit)));
      expect(outcome === (disk.hasDiscard ? undefined : 'BLOCK_UNSUPPORTED'), `a discard gives ${outcome}`);
      const into = new Uint8Array(8 * unit);
      for (const at of [0, 16 * unit]) {
        await until(disk.read(at, into));
        expect(
          into.every((byte) => byte === 2),
          'a neighbour of the discarded range has changed',
        );
      }
    },
  },
  {
    name: 'a flush succeeds where it is offered and is refused where it is not',
    check: async ({ disk, until }) => {
      await until(disk.write(0, new Uint8Array(disk.blockBytes)));
      const outcome = await refusal(until(disk.flush()));
      expect(outcome === (disk.hasFlush ? undefined : 'BLOCK_UNSUPPORTED'), `a flush gives ${outcome}`);
    },
  },
  {
    name: 'a hundred requests at once are all answered',
    check: async ({ disk, until }) => {
      const unit = disk.blockBytes;
      const count = 100;
      await until(Promise.all(Array.from({ length: count }, (_, i) => disk.write(i * 2 * unit, bytesOf(unit, i)))));
      const into = Array.from({ length: count }, () => new Uint8Array(unit));
      await until(Promise.all(into.map((buffer, i) => disk.read(i * 2 * unit, buffer))));
      expect(
        into.every((buffer, i) => Buffer.compare(buffer, bytesOf(unit, i)) === 0),
        'some block holds another’s bytes',
      );
      expect(disk.inFlight + disk.waiting === 0, 'something is left over');
    },
  },
  {
    name: 'pool buffers travel like any other, and all of the pool comes back',
    check: async ({ disk, until }) => {
      const free = disk.freeBufferBytes;
      const buffer = disk.allocate(3 * 4096);
      if (buffer === undefined) throw new Error('the pool has no three pages');
      buffer.set(bytesOf(buffer.length, 3));
      await until(disk.write(4096, buffer));
      const copy = buffer.slice();
      buffer.fill(0);
      await until(disk.read(4096, buffer));
      expect(Buffer.compare(buffer, copy) === 0, 'a pool buffer comes back changed');
      disk.release(buffer);
      expect(disk.freeBufferBytes === free, 'some of the pool is lost');
    },
  },
  {
    name: 'the medium holds what was written',
    check: async ({ disk, until, medium }) => {
      const bytes = bytesOf(disk.blockBytes * 9, 8);
      await until(disk.write(disk.blockBytes * 5, bytes));
      const seen = medium?.(disk.blockBytes * 5, bytes.length);
      expect(seen === undefined || Buffer.compare(seen, bytes) === 0, 'the medium holds something else');
    },
  },
];
