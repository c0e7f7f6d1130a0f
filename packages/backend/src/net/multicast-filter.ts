// Which multicast groups a guest wants to hear. xen/include/public/io/netif.h, feature-multicast-control
import type { Frame } from './frame.ts';

/** Addresses that one guest may join. */
const MAX_ADDRESSES = 64;

/** A guest's list of groups. Off until the guest asks for it: then everything is let through. */
export class MulticastFilter {
  /** Whether the guest asks for filtering; joined groups are kept while it does not. */
  isOn = false;
  readonly #joined = new Set<number>();

  /**
   * Join a group. Joining it again changes nothing (Linux stores duplicates, so that 64 joins of one address fill it).
   * @returns false if the list is full
   */
  join(address: Uint8Array): boolean {
    const key = keyOf(address);
    if (!this.#joined.has(key) && this.#joined.size >= MAX_ADDRESSES) return false;
    this.#joined.add(key);
    return true;
  }

  /** Leave a group. @returns false if it was not joined */
  leave(address: Uint8Array): boolean {
    return this.#joined.delete(keyOf(address));
  }

  /** Forget everything: the connection ended. */
  reset(): void {
    this.isOn = false;
    this.#joined.clear();
  }

  /** Whether a frame for a group may pass; broadcast always does. */
  passes(frame: Frame): boolean {
    if (!this.isOn) return true;
    const high = frame.word1 & 0xffff;
    if (frame.word0 === -1 && high === 0xffff) return true;
    return this.#joined.has((frame.word0 >>> 0) + high * 0x1_0000_0000);
  }
}

/** An address as one number, built as a frame's words are: little-endian. */
function keyOf(address: Uint8Array): number {
  let key = 0;
  for (let i = 5; i >= 0; i -= 1) key = key * 256 + (address[i] as number); // six bytes
  return key;
}
