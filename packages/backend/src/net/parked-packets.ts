// Packets whose destination has had no room for a while, put aside so that the packets behind them can go on.
import type { TxPacket } from './tx-packet.ts';

/** Packets put aside, in the order of their coming. Small by design: everything here is a plain scan. */
export class ParkedPackets {
  readonly #packets: TxPacket[] = [];
  readonly #spare: TxPacket[] = [];
  #slots = 0;

  /** Packets put aside now. */
  get length(): number {
    return this.#packets.length;
  }

  /** Ring slots that they occupy. */
  get slots(): number {
    return this.#slots;
  }

  /** When the first of them is to be given up. */
  get deadlineMs(): number {
    return this.#packets[0]?.giveUpAtMs ?? Number.POSITIVE_INFINITY;
  }

  /** Put a packet aside until `giveUpAtMs`. @returns another object for the next packet, if there is a spare one */
  park(packet: TxPacket, giveUpAtMs: number): TxPacket | undefined {
    packet.giveUpAtMs = giveUpAtMs;
    this.#packets.push(packet);
    this.#slots += packet.chain.slots + packet.chain.extras;
    return this.#spare.pop();
  }

  /** Whether a packet for the same destination is put aside: then this one must not overtake it. */
  hasSameDestination(packet: TxPacket): boolean {
    return this.#packets.some((other) => isSameDestination(packet, other));
  }

  /**
   * Offer each packet again, oldest first, one try per destination that has no room.
   *
   * @param settle finishes a packet or answers false if its destination still has no room
   * @returns packets finished
   */
  retry(settle: (packet: TxPacket) => boolean): number {
    const stuck: TxPacket[] = [];
    let kept = 0;
    const { length } = this.#packets;
    for (let i = 0; i < length; i += 1) {
      const packet = this.#packets[i] as TxPacket; // in range
      if (stuck.some((other) => isSameDestination(packet, other)) || !settle(packet)) {
        stuck.push(packet);
        this.#packets[kept] = packet;
        kept += 1;
      } else {
        this.#slots -= packet.chain.slots + packet.chain.extras;
        this.#spare.push(packet);
      }
    }
    this.#packets.length = kept;
    return length - kept;
  }
}

function isSameDestination(a: TxPacket, b: TxPacket): boolean {
  return a.frame.word0 === b.frame.word0 && ((a.frame.word1 ^ b.frame.word1) & 0xffff) === 0;
}
