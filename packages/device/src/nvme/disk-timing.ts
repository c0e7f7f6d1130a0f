// How long a modeled medium takes: one channel of limited bandwidth, and a latency after it. Off unless configured.
import type { FaultOperation } from '../media/fault-plan.ts';

/** Latency and bandwidth of a modeled medium. */
export interface DiskTimingOptions {
  /** Latency of a read in milliseconds; default 0. */
  readonly readMs?: number;
  /** Latency of a write, discard or write-zeroes; default 0. */
  readonly writeMs?: number;
  /** Latency of a flush; default 0. */
  readonly flushMs?: number;
  /** Bytes moved per millisecond, all commands together; default unlimited. */
  readonly bytesPerMs?: number;
}

/** Computes when commands finish. */
export class DiskTiming {
  private readonly readMs: number;
  private readonly writeMs: number;
  private readonly flushMs: number;
  private readonly bytesPerMs: number;
  private channelFreeMs = 0;

  /** @throws RangeError for a negative latency or a bandwidth that is not positive */
  constructor(options: DiskTimingOptions) {
    this.readMs = options.readMs ?? 0;
    this.writeMs = options.writeMs ?? 0;
    this.flushMs = options.flushMs ?? 0;
    this.bytesPerMs = options.bytesPerMs ?? Number.POSITIVE_INFINITY;
    if (!(this.readMs >= 0 && this.writeMs >= 0 && this.flushMs >= 0 && this.bytesPerMs > 0)) {
      throw new RangeError('Cannot model timing: latencies are at least 0, bandwidth is above 0');
    }
  }

  /** When a command fetched at `nowMs` finishes; it takes its turn on the channel. */
  finish(operation: FaultOperation, lengthBytes: number, nowMs: number): number {
    const start = Math.max(nowMs, this.channelFreeMs);
    this.channelFreeMs = start + lengthBytes / this.bytesPerMs;
    return this.channelFreeMs + this.latency(operation);
  }

  private latency(operation: FaultOperation): number {
    if (operation === 'read') return this.readMs;
    return operation === 'flush' ? this.flushMs : this.writeMs;
  }
}
