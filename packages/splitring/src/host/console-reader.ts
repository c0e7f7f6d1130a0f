// The host's end of a domain's console: bounded, rate limited, and with everything escaped that could fool a terminal.
import type { Clock, Stepped } from '@splitring/hypervisor';
import { ByteRingConsumer, CONSOLE_PAGE } from 'sharedarraybuffer-ring';

const LONGEST_LINE_BYTES = 1024;
/** Bytes per second that a domain may write to the host's log, with a burst of one second's worth. */
const BYTES_PER_SECOND = 256 * 1024;

/** Replace control characters by escapes: a guest must not move the host's cursor. */
export function escapeLine(line: string): string {
  return line.replaceAll(/[\p{Cc}\p{Cf}]/gu, (character) =>
    character === '\t' ? character : `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`,
  );
}

/** Reads lines from one console page. Xen's XSA-180: a domain's output never fills the host's log. */
export class ConsoleReader implements Stepped {
  private readonly ring: ByteRingConsumer;
  private readonly clock: Clock;
  private readonly onLine: (line: string) => void;
  private readonly acknowledge: () => void;
  private readonly chunk = new Uint8Array(CONSOLE_PAGE.out.sizeBytes);
  private readonly decoder = new TextDecoder();
  private taken = 0;
  private partial = '';
  private credit = BYTES_PER_SECOND;
  private creditAtMs: number;

  /** Read from `page`; `acknowledge` tells the guest that there is room again. */
  constructor(page: Uint8Array, clock: Clock, onLine: (line: string) => void, acknowledge: () => void) {
    this.ring = new ByteRingConsumer(page, CONSOLE_PAGE.out, { name: 'console', at: 0 });
    this.clock = clock;
    this.onLine = onLine;
    this.acknowledge = acknowledge;
    this.creditAtMs = clock.nowMs();
  }

  /** Bytes taken so far, modulo 2^32. */
  get bytesTaken(): number {
    return this.taken;
  }

  poll(): boolean {
    this.earn();
    if (this.credit < this.chunk.length) return false;
    const count = this.ring.read(this.chunk);
    if (count <= 0) return false;
    this.credit -= count;
    this.taken = (this.taken + count) | 0;
    this.acknowledge();
    const lines = (this.partial + this.decoder.decode(this.chunk.subarray(0, count), { stream: true })).split('\n');
    this.partial = (lines.pop() ?? '').slice(0, LONGEST_LINE_BYTES);
    for (const line of lines) this.onLine(escapeLine(line.slice(0, LONGEST_LINE_BYTES)));
    return true;
  }

  /** A guest that was held back by the rate limit is looked at again when credit has grown. */
  deadlineMs(): number {
    if (this.credit >= this.chunk.length || this.ring.available() <= 0) return Number.POSITIVE_INFINITY;
    return this.creditAtMs + 10;
  }

  /** Hand over a last line that has no newline. */
  finish(): void {
    if (this.partial !== '') this.onLine(escapeLine(this.partial));
    this.partial = '';
  }

  private earn(): void {
    const now = this.clock.nowMs();
    this.credit = Math.min(BYTES_PER_SECOND, this.credit + ((now - this.creditAtMs) / 1000) * BYTES_PER_SECOND);
    this.creditAtMs = now;
  }
}
