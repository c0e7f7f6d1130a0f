// Where one frame's time goes: from the sender to the driver domain, inside it, from it to the receiver.
//
// One frame is on its way at a time, so three words say where it was last seen. Each has one writer per frame, and whoever
// reads them was woken by the frame itself. Reading the clock and noting costs some 0.1 µs at each place.
import type { Bridge } from '@splitring/backend';
import type { DomainKernel } from '@splitring/hypervisor';
import { monotonicNs } from '../harness/pair.ts';

/** Index of each time: the sender's call, the driver domain's turn that finds the frame, the end of the copy. */
const SENT = 0;
const FOUND = 1;
const COPIED = 2;
/** Bytes of the control buffer before them. */
const OFFSET_BYTES = 32;

/** Medians in nanoseconds. Together they are the way of a frame. */
export interface HopReport {
  /** From the sender's call to the start of the driver domain's turn that finds the frame: slot, event, wake-up. */
  readonly send: number;
  /** In the driver domain: slot, bridge, copy. */
  readonly driver: number;
  /** From there to the receiver's handler: answers, event, wake-up. */
  readonly receive: number;
}

/** The times of the frame on its way, in memory that all domains of the benchmark share. */
export class HopTimes {
  readonly #now: Float64Array;
  #send: number[] = [];
  #driver: number[] = [];
  #receive: number[] = [];

  /** Over the control buffer of a machine. */
  constructor(control: SharedArrayBuffer) {
    this.#now = new Float64Array(control, OFFSET_BYTES, 3);
  }

  /** Guest: the frame is sent now. */
  sent(): void {
    this.#now[SENT] = monotonicNs();
  }

  /** Guest: a frame is here. */
  arrived(): void {
    const nowNs = monotonicNs();
    const [sent = 0, found = 0, copied = 0] = this.#now;
    this.#send.push(found - sent);
    this.#driver.push(copied - found);
    this.#receive.push(nowNs - copied);
  }

  /** Guest: the medians since this was last asked. @returns undefined if no frame came */
  take(): HopReport | undefined {
    if (this.#send.length === 0) return undefined;
    const report = { send: median(this.#send), driver: median(this.#driver), receive: median(this.#receive) };
    this.#send = [];
    this.#driver = [];
    this.#receive = [];
    return report;
  }

  /** Driver domain: note when each turn begins, and when a frame has been copied. Before the back end is added. */
  watch(kernel: DomainKernel, bridge: Bridge): void {
    let turnNs = 0;
    kernel.add({
      poll: () => {
        turnNs = monotonicNs();
        return false;
      },
    });
    bridge.onAttach = (link) => {
      link.tap = {
        capture: (_, direction) => {
          if (direction === 'in') return;
          this.#now[FOUND] = turnNs;
          this.#now[COPIED] = monotonicNs();
        },
      };
    };
  }
}

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[times.length >> 1] ?? Number.NaN;
}
