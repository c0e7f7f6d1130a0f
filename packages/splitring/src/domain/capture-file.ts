// A capture file: written in large pieces, and soon enough for whoever reads along.
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Clock, Stepped } from '@splitring/hypervisor';

const BUFFER_BYTES = 64 << 10;
/** Longest time that a frame stays in our memory only, in milliseconds. */
const DELAY_MS = 200;
/** A look at the clock in every so many polls, less one: a power of two, less one. */
const POLLS_PER_LOOK = 63;

/** A file that only grows. After an error of the file system nothing more is written. */
export class CaptureFile implements Stepped {
  /** Why nothing is written any more. */
  failure: unknown;
  readonly #clock: Clock;
  readonly #file: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #used = 0;
  #dueMs = Number.POSITIVE_INFINITY;
  #polls = 0;

  /** Create the file, or empty it. @throws the file system's error */
  constructor(path: string, clock: Clock) {
    this.#clock = clock;
    this.#file = openSync(path, 'w');
  }

  /** Append `bytes`. */
  write(bytes: Uint8Array): void {
    if (bytes.length > BUFFER_BYTES - this.#used) this.#flush();
    if (bytes.length > BUFFER_BYTES) {
      this.#put(bytes);
      return;
    }
    if (this.#used === 0) this.#dueMs = this.#clock.nowMs() + DELAY_MS;
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  poll(): boolean {
    this.#polls = (this.#polls + 1) & POLLS_PER_LOOK;
    if (this.#polls === 0 && this.#used > 0 && this.#clock.nowMs() >= this.#dueMs) this.#flush();
    return false;
  }

  arm(): boolean {
    if (this.#used > 0 && this.#clock.nowMs() >= this.#dueMs) this.#flush();
    return false;
  }

  deadlineMs(): number {
    return this.#dueMs;
  }

  /** Write what is left, and close. */
  close(): void {
    this.#flush();
    closeSync(this.#file);
  }

  #flush(): void {
    const bytes = this.#buffer.subarray(0, this.#used);
    this.#used = 0;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#put(bytes);
  }

  #put(bytes: Uint8Array): void {
    if (this.failure !== undefined) return;
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
    } catch (error) {
      this.failure = error; // a full disk costs the capture, not the network
    }
  }
}
