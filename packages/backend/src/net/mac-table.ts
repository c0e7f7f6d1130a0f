// hot path: bench net
// Which port an Ethernet address was last seen on: open addressing over numbers, no allocation, aging by sweeps.

/** Entries at most; beyond that new addresses are not learned and their frames are flooded. */
const MAX_ENTRIES = 4096;
const SLOTS = MAX_ENTRIES * 2;
const MASK = SLOTS - 1;
/** Port index of an empty slot. */
const NONE = -1;

/** Learned addresses. An address is two numbers: its first four bytes (`low`) and last two (`high`), and a VLAN. */
export class MacTable {
  /** Goes up with every change that can make a remembered lookup wrong. */
  generation = 0;
  /** Addresses that were learned on another port than before. */
  moves = 0;
  private count = 0;
  private readonly lows = new Int32Array(SLOTS);
  private readonly highs = new Int32Array(SLOTS);
  private readonly ports = new Int32Array(SLOTS).fill(NONE);
  private readonly seenAtMs = new Float64Array(SLOTS);

  /** Number of addresses known. */
  get entries(): number {
    return this.count;
  }

  /** The port of an address. @returns -1 if it is not known */
  find(low: number, high: number): number {
    for (let slot = hash(low, high); ; slot = (slot + 1) & MASK) {
      const port = this.ports[slot] as number; // masked
      if (port === NONE || (this.lows[slot] === low && this.highs[slot] === high)) return port;
    }
  }

  /**
   * Learn that an address lives on `port`. @returns false if the table is full and the address is not in it
   */
  learn(low: number, high: number, port: number, nowMs: number): boolean {
    let slot = hash(low, high);
    while (this.ports[slot] !== NONE && (this.lows[slot] !== low || this.highs[slot] !== high))
      slot = (slot + 1) & MASK;
    const before = this.ports[slot] as number; // masked
    if (before === NONE) {
      if (this.count >= MAX_ENTRIES) return false;
      this.count += 1;
      this.lows[slot] = low;
      this.highs[slot] = high;
    }
    if (before !== port) {
      if (before !== NONE) this.moves += 1;
      this.ports[slot] = port;
      this.generation += 1;
    }
    this.seenAtMs[slot] = nowMs;
    return true;
  }

  /** Forget every address of `port`. */
  forgetPort(port: number): void {
    this.rebuild((slot) => this.ports[slot] !== port);
  }

  /** Forget addresses not seen since `beforeMs`. */
  expire(beforeMs: number): void {
    this.rebuild((slot) => (this.seenAtMs[slot] as number) >= beforeMs);
  }

  /** Insert what is to be kept anew: with linear probing nothing can simply be taken out of a chain. */
  private rebuild(isKept: (slot: number) => boolean): void {
    const kept: [number, number, number, number][] = [];
    let removed = 0;
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const port = this.ports[slot] as number; // in range, as are the others
      if (port === NONE) continue;
      if (isKept(slot)) {
        kept.push([this.lows[slot] as number, this.highs[slot] as number, port, this.seenAtMs[slot] as number]);
      } else removed += 1;
    }
    if (removed === 0) return;
    this.ports.fill(NONE);
    this.count = 0;
    for (const [low, high, port, seenAtMs] of kept) this.learn(low, high, port, seenAtMs);
    this.generation += 1;
  }
}

function hash(low: number, high: number): number {
  const mixed = Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) & MASK;
}
