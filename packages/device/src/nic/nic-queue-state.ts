// One descriptor ring of a card: base, length, head and tail as the driver set them.
import { DESCRIPTOR_BYTES, NIC_QUEUE, QUEUE_ENABLE } from './nic-registers.ts';

/** Registers of one queue. Head is the card's, all else the driver's. */
export class NicQueueState {
  /** Descriptor that the card works on next. */
  head = 0;
  /** First descriptor that is still the driver's. */
  tail = 0;
  /** Buffer size, in SRRCTL's units of 1 KiB; 2 KiB if 0. */
  bufferUnits = 0;
  #baseLow = 0;
  #baseHigh = 0;
  #lengthBytes = 0;
  #control = 0;

  /** Descriptors in the ring; 0 while it cannot be used. */
  get entries(): number {
    return (this.#control & QUEUE_ENABLE) === 0 ? 0 : this.#lengthBytes / DESCRIPTOR_BYTES;
  }

  /** Descriptors that the driver has handed over. A tail beyond the ring hands over nothing. */
  get available(): number {
    const { entries, head, tail } = this;
    return entries === 0 || tail >= entries || head >= entries ? 0 : (tail - head + entries) % entries;
  }

  /** Bus address of the descriptor at `index`. */
  address(index: number): number {
    return (this.#baseHigh >>> 0) * 0x1_0000_0000 + (this.#baseLow >>> 0) + index * DESCRIPTOR_BYTES;
  }

  /** Move to the next descriptor. */
  advance(): void {
    this.head = this.head + 1 < this.entries ? this.head + 1 : 0;
  }

  /** Read a register at `offset` of the queue's block. */
  read(offset: number): number {
    switch (offset) {
      case NIC_QUEUE.BAL:
        return this.#baseLow;
      case NIC_QUEUE.BAH:
        return this.#baseHigh;
      case NIC_QUEUE.LEN:
        return this.#lengthBytes;
      case NIC_QUEUE.SRRCTL:
        return this.bufferUnits;
      case NIC_QUEUE.HEAD:
        return this.head;
      case NIC_QUEUE.TAIL:
        return this.tail;
      case NIC_QUEUE.DCTL:
        return this.#control;
      default:
        return 0;
    }
  }

  /** Write a register at `offset` of the queue's block. */
  write(offset: number, value: number): void {
    switch (offset) {
      case NIC_QUEUE.BAL:
        this.#baseLow = value & ~127; // the hardware wants 128-byte alignment
        break;
      case NIC_QUEUE.BAH:
        this.#baseHigh = value;
        break;
      case NIC_QUEUE.LEN:
        this.#lengthBytes = value & 0xf_ff80;
        break;
      case NIC_QUEUE.SRRCTL:
        this.bufferUnits = value & 127;
        break;
      case NIC_QUEUE.HEAD:
        if ((this.#control & QUEUE_ENABLE) === 0) this.head = value & 0xffff;
        break;
      case NIC_QUEUE.TAIL:
        this.tail = value & 0xffff;
        break;
      case NIC_QUEUE.DCTL:
        this.#control = value;
        break;
      default:
    }
  }

  /** Registers to their defaults. */
  reset(): void {
    this.head = 0;
    this.tail = 0;
    this.bufferUnits = 0;
    this.#baseLow = 0;
    this.#baseHigh = 0;
    this.#lengthBytes = 0;
    this.#control = 0;
  }
}
