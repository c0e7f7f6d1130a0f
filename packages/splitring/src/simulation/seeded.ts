// Time and chance that follow from a seed.
import type { Clock, Random } from '@splitring/hypervisor';

/** xoshiro128**: 128 bits of state from one seed. Blackman and Vigna, "Scrambled linear pseudorandom number generators". */
export class SeededRandom implements Random {
  private readonly state = new Uint32Array(4);

  /** Start from a seed, any safe integer. */
  constructor(seed: number) {
    // splitmix32 spreads the seed over the state, so that near seeds give far streams.
    let word = (seed ^ Math.floor(seed / 2 ** 32)) | 0;
    for (let at = 0; at < 4; at += 1) {
      word = (word + 0x9e3779b9) | 0;
      let mixed = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.state[at] = mixed ^ (mixed >>> 15);
    }
  }

  nextU32(): number {
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = this.state;
    const scrambled = Math.imul(s1, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const t2 = s2 ^ s0;
    const t3 = s3 ^ s1;
    this.state[1] = s1 ^ t2;
    this.state[0] = s0 ^ t3;
    this.state[2] = t2 ^ (s1 << 9);
    this.state[3] = (t3 << 11) | (t3 >>> 21);
    return result;
  }

  /** A uniform integer, 0 … limit − 1; the bias of at most 2^-20 does not matter here. */
  below(limit: number): number {
    return this.nextU32() % limit;
  }
}

/** A clock that moves only when told to. */
export class VirtualClock implements Clock {
  private now = 0;

  nowMs(): number {
    return this.now;
  }

  /** Let `ms` pass. */
  advance(ms: number): void {
    this.now += ms;
  }
}
