// The bytes of the watched buffers: saved, restored, hashed; from outside, unobserved.

const Bytes = Uint8Array; // the real one, kept before any observation replaces the global
const Words = Int32Array;

/** All watched buffers as one image. */
export class SharedImage {
  private readonly views: readonly Uint8Array[];
  private readonly words: readonly Int32Array[];
  private readonly total: number;

  /** The buffers' sizes are multiples of 4. */
  constructor(buffers: readonly SharedArrayBuffer[]) {
    this.views = buffers.map((buffer) => new Bytes(buffer));
    this.words = buffers.map((buffer) => new Words(buffer));
    this.total = this.views.reduce((sum, view) => sum + view.length, 0);
  }

  /** Copy everything. */
  save(): Uint8Array {
    const saved = new Bytes(this.total);
    let at = 0;
    for (const view of this.views) {
      saved.set(view, at);
      at += view.length;
    }
    return saved;
  }

  /** Put back what `save` returned. */
  restore(saved: Uint8Array): void {
    let at = 0;
    for (const view of this.views) {
      view.set(saved.subarray(at, at + view.length));
      at += view.length;
    }
  }

  /** A 64-bit hash of the contents, as text. */
  hash(): string {
    let a = 0x811c9dc5;
    let b = 0x1b873593;
    for (const words of this.words) {
      for (let i = 0; i < words.length; i += 1) {
        a = mix(a, words[i] as number); // in range
        b = mix(b, a);
      }
    }
    return `${a}:${b}`;
  }

  /** The bytes of one buffer. */
  bytesOf(buffer: SharedArrayBuffer): Uint8Array {
    const found = this.views.find((view) => view.buffer === buffer);
    if (found === undefined) throw new Error('this buffer is not watched');
    return found;
  }
}

/** One step of a 32-bit hash (murmur3's). */
export function mix(hash: number, value: number): number {
  let k = Math.imul(value, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const h = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}
