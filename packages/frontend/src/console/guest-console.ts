// The guest's end of its console: lines go out through the console page, never through the thread's own output.
import type { Stepped } from '@splitring/hypervisor';
import { ByteRingProducer, CONSOLE_PAGE } from 'sharedarraybuffer-ring';

/** Bytes kept while the host does not read; beyond, lines are dropped and counted. */
const BACKLOG_BYTES = 64 * 1024;

/**
 * The guest's console.
 *
 * @example
 * const console = new GuestConsole(page, () => hypercalls.notify(port));
 * kernel.add(console);
 * console.print('ready');
 */
export class GuestConsole implements Stepped {
  /** Lines dropped because the host did not read. */
  droppedLines = 0;
  private readonly ring: ByteRingProducer;
  private readonly notify: () => void;
  private readonly encoder = new TextEncoder();
  private backlog: Uint8Array[] = [];
  private backlogBytes = 0;

  /** Attach to a console page; `notify` raises the console's event channel. */
  constructor(page: Uint8Array, notify: () => void) {
    this.ring = new ByteRingProducer(page, CONSOLE_PAGE.out, { name: 'console', at: 0 });
    this.notify = notify;
  }

  /** Write one line. Never blocks: what the ring does not take waits in a bounded backlog. */
  print(line: string): void {
    const bytes = this.encoder.encode(`${line}\n`);
    if (this.backlogBytes + bytes.length > BACKLOG_BYTES) {
      this.droppedLines += 1;
      return;
    }
    this.backlog.push(bytes);
    this.backlogBytes += bytes.length;
    this.poll();
  }

  poll(): boolean {
    let hasWritten = false;
    for (let first = this.backlog[0]; first !== undefined; first = this.backlog[0]) {
      const written = this.ring.write(first);
      if (written <= 0) break;
      hasWritten = true;
      this.backlogBytes -= written;
      if (written < first.length) this.backlog[0] = first.subarray(written);
      else this.backlog.shift();
    }
    if (hasWritten) this.notify();
    return hasWritten;
  }
}
