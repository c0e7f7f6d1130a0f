// Counters that one domain writes and anybody reads, without asking and without a lock.

const BYTES_PER_COUNTER = 8;

/**
 * Named counters in shared memory. One writer, any number of readers; a reader sees each counter whole, and several
 * counters perhaps from slightly different moments.
 *
 * @example
 * const counters = SharedCounters.create(['operations', 'errors']);
 * counters.add('operations', 1);
 * new SharedCounters(counters.buffer, counters.names).read('operations'); // 1, in any thread
 */
export class SharedCounters {
  /** The shared memory, 8 bytes for each name. */
  readonly buffer: SharedArrayBuffer;
  /** The counters' names, in memory order. */
  readonly names: readonly string[];
  private readonly values: Float64Array;
  private readonly places: ReadonlyMap<string, number>;

  /** Open counters over memory made by `create`. */
  constructor(buffer: SharedArrayBuffer, names: readonly string[]) {
    this.buffer = buffer;
    this.names = names;
    this.values = new Float64Array(buffer, 0, names.length);
    this.places = new Map(names.map((name, place) => [name, place]));
  }

  /** Make counters, all zero. */
  static create(names: readonly string[]): SharedCounters {
    return new SharedCounters(new SharedArrayBuffer(Math.max(1, names.length) * BYTES_PER_COUNTER), names);
  }

  /** Add to a counter. Writer only. @throws RangeError for a name that was not declared */
  add(name: string, amount: number): void {
    const place = this.placeOf(name);
    this.values[place] = (this.values[place] ?? 0) + amount;
  }

  /** Set a counter. Writer only. @throws RangeError for a name that was not declared */
  set(name: string, value: number): void {
    this.values[this.placeOf(name)] = value;
  }

  /** Read a counter. @throws RangeError for a name that was not declared */
  read(name: string): number {
    return this.values[this.placeOf(name)] ?? 0;
  }

  private placeOf(name: string): number {
    const place = this.places.get(name);
    if (place === undefined) throw new RangeError(`no counter "${name}": there are ${this.names.join(', ')}`);
    return place;
  }
}
