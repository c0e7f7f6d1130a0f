// Requests and responses over the Xen ring: 112-byte slots, 28 words written and summed, a 16-byte response, up to `depth`
// in flight, batches of 32: step by step what bench/native/ring/pipelined.cc does. `depth` 1 is a round trip.
import { BackRing, FrontRing, initRing, RING_HEADER_BYTES, type WaitStrategy } from 'sharedarraybuffer-ring';
import type { OpenSubject } from '../../harness/contract.ts';
import { type HalfReport, openPair, type PairDefinition, type PairPort } from '../../harness/pair.ts';
import { type PipelinedParams, REQUEST_BATCH, REQUEST_BYTES, RESPONSE_BYTES } from '../params.ts';
import { serveBatch, slotWords, stageBatch, takeBatch } from '../request.ts';
import { timeAsyncRoundTrips, timeRoundTrips } from '../round-trips.ts';
import { isAsync, strategyOf } from '../waiting.ts';

/** Eight pages hold 256 slots. */
const REGION_BYTES = 8 * 4096;
/** Doorbell words, each on its own cache lines: what an event channel is. */
const FRONT_BELL = 0;
const BACK_BELL = 32;
/** Word of the ring's header that the other end moves: `req_prod` for the back end, `rsp_prod` for the front end. */
const REQ_PROD = 0;
const RSP_PROD = 2;
/** Turns of an end's loop between two entries of its function. */
const TURNS = 64;

interface Shared {
  readonly region: SharedArrayBuffer;
  readonly bells: SharedArrayBuffer;
}

/** What both ends do alike: wait for the other one, and wake it. */
class Waiting {
  notifications = 0;
  readonly strategy: WaitStrategy;
  private readonly header: Int32Array;
  private readonly bells: Int32Array;

  constructor(shared: Shared, wait: string, port: PairPort) {
    this.strategy = strategyOf(wait, port.doorbell);
    this.header = new Int32Array(shared.region, 0, 4);
    this.bells = new Int32Array(shared.bells);
  }

  knock(bell: number): void {
    this.notifications += 1;
    Atomics.add(this.bells, bell, 1);
    this.strategy.wake(this.bells, bell);
  }

  /** Wait until `prod` leaves `seen`: spin, sample the bell, ask for an event and look again, sleep. */
  wait(prod: number, seen: number, bell: number, finalCheck: () => boolean): void {
    if (this.strategy.spin(this.header, prod, seen) || !this.strategy.needsArming) return;
    const sampled = Atomics.load(this.bells, bell);
    if (!finalCheck()) this.strategy.wait(this.bells, bell, sampled, Number.POSITIVE_INFINITY);
  }

  async waitAsync(bell: number, finalCheck: () => boolean): Promise<void> {
    const sampled = Atomics.load(this.bells, bell);
    if (!finalCheck()) await this.strategy.waitAsync(this.bells, bell, sampled, Number.POSITIVE_INFINITY);
  }

  seen(prod: number): number {
    return this.header[prod] ?? 0;
  }
}

/** The front end's work between two waits. */
class Front {
  readonly waiting: Waiting;
  readonly ring: FrontRing;
  private readonly views: readonly Int32Array[];
  /** Index of the next request in the ring, which goes on from trial to trial. */
  private index = 0;
  private readonly depth: number;
  checksum = 0;
  answered = 0;
  private staged = 0;
  readonly finalCheck = () => this.ring.finalCheck();

  constructor(shared: Shared, params: PipelinedParams, port: PairPort) {
    this.waiting = new Waiting(shared, params.wait, port);
    this.ring = new FrontRing(new Uint8Array(shared.region), REQUEST_BYTES, { responseBytes: RESPONSE_BYTES });
    this.views = slotWords(shared.region, this.ring.slots, REQUEST_BYTES, RING_HEADER_BYTES);
    this.depth = params.depth;
  }

  reset(): void {
    this.checksum = 0;
    this.answered = 0;
    this.staged = 0;
    this.waiting.notifications = 0;
  }

  /** Stage what the depth allows and publish it, in batches. */
  stage(operations: number): void {
    let room = Math.min(operations - this.staged, this.depth - this.ring.outstanding);
    while (room > 0) {
      const count = Math.min(room, REQUEST_BATCH);
      stageBatch(this.ring, this.views, this.index, this.staged, count);
      this.index = (this.index + count) | 0;
      this.staged += count;
      room -= count;
      this.push();
    }
  }

  /** Take the responses that are there; false if there are none. */
  consume(): boolean {
    const count = this.ring.availableResponses();
    if (count <= 0) return false;
    this.checksum = (this.checksum + takeBatch(this.ring)) | 0;
    this.answered += count;
    return true;
  }

  /** Run `operations` requests to their responses, waiting on this thread. */
  run(operations: number): void {
    const end = this.answered + operations;
    const staged = this.staged + operations;
    while (this.answered < end) this.turns(end, staged);
  }

  /** Some turns of the loop; not all of them, so that it is compiled as a function (see bursts.ts). */
  private turns(end: number, staged: number): void {
    for (let turn = 0; turn < TURNS && this.answered < end; turn++) {
      const seen = this.waiting.seen(RSP_PROD);
      const isIdle = !this.consume();
      this.stage(staged);
      if (isIdle) this.waiting.wait(RSP_PROD, seen, FRONT_BELL, this.finalCheck);
    }
  }

  /** The same on the event loop. */
  async runAsync(operations: number): Promise<void> {
    const end = this.answered + operations;
    const staged = this.staged + operations;
    while (this.answered < end) {
      this.stage(staged);
      if (!this.consume()) await this.waiting.waitAsync(FRONT_BELL, this.finalCheck);
    }
  }

  private push(): void {
    if (this.ring.pushRequests() && this.waiting.strategy.needsArming) this.waiting.knock(BACK_BELL);
  }
}

/** The back end's work between two waits. */
class Back {
  readonly waiting: Waiting;
  readonly ring: BackRing;
  private readonly views: readonly Int32Array[];
  /** The request taken last, as words. */
  private readonly request: Int32Array;
  /** Index of the next response in the ring. */
  private index = 0;
  served = 0;
  readonly finalCheck = () => this.ring.finalCheck();

  constructor(shared: Shared, params: PipelinedParams, port: PairPort) {
    this.waiting = new Waiting(shared, params.wait, port);
    this.ring = new BackRing(new Uint8Array(shared.region), REQUEST_BYTES);
    this.views = slotWords(shared.region, this.ring.slots, REQUEST_BYTES, RING_HEADER_BYTES);
    const { buffer, byteOffset } = this.ring.request;
    this.request = new Int32Array(buffer, byteOffset, REQUEST_BYTES >> 2);
  }

  reset(): void {
    this.served = 0;
    this.waiting.notifications = 0;
  }

  /** Answer the requests that are there; false if there are none. */
  serve(): boolean {
    let left = this.ring.availableRequests();
    if (left <= 0) return false;
    this.served += left;
    while (left > 0) {
      const count = Math.min(left, REQUEST_BATCH);
      serveBatch(this.ring, this.request, this.views, this.index, count);
      this.index = (this.index + count) | 0;
      left -= count;
      this.push();
    }
    return true;
  }

  /** Serve `operations` requests, waiting on this thread. */
  run(operations: number): void {
    while (this.served < operations) this.turns(operations);
  }

  private turns(operations: number): void {
    for (let turn = 0; turn < TURNS && this.served < operations; turn++) {
      const seen = this.waiting.seen(REQ_PROD);
      if (!this.serve()) this.waiting.wait(REQ_PROD, seen, BACK_BELL, this.finalCheck);
    }
  }

  /** The same on the event loop. */
  async runAsync(operations: number): Promise<void> {
    while (this.served < operations) {
      if (!this.serve()) await this.waiting.waitAsync(BACK_BELL, this.finalCheck);
    }
  }

  private push(): void {
    if (this.ring.pushResponses() && this.waiting.strategy.needsArming) this.waiting.knock(FRONT_BELL);
  }
}

/** What the responses of one trial add up to, so that a lost or wrong one shows. In closed form: the clock is running. */
function expected(operations: number): number {
  const words = BigInt(REQUEST_BYTES / 4);
  const count = BigInt(operations);
  return Number(BigInt.asIntN(32, ((1n + words) * count * (count - 1n) + count * words * (words - 1n)) / 2n));
}

export const pair: PairDefinition<PipelinedParams, Shared> = {
  share: () => {
    const region = new SharedArrayBuffer(REGION_BYTES);
    initRing(new Uint8Array(region));
    return { region, bells: new SharedArrayBuffer(256) };
  },

  front: (shared, params, port) => {
    const front = new Front(shared, params, port);
    const runTrial = (operations: number): HalfReport | Promise<HalfReport> => {
      if (isAsync(params.wait)) {
        return params.depth === 1
          ? timeAsyncRoundTrips(operations, () => front.runAsync(1))
          : front.runAsync(operations).then(() => ({}));
      }
      if (params.depth === 1 && params.timed) return timeRoundTrips(operations, () => front.run(1));
      front.run(operations);
      return {};
    };
    return async (operations) => {
      front.reset();
      const report = await runTrial(operations);
      if (front.checksum !== expected(operations)) throw new Error('The responses do not add up');
      return { ...report, metrics: { ...report.metrics, notifications: front.waiting.notifications / operations } };
    };
  },

  back: (shared, params, port) => {
    const back = new Back(shared, params, port);
    return async (operations) => {
      back.reset();
      if (isAsync(params.wait)) await back.runAsync(operations);
      else back.run(operations);
      return { metrics: { notifications: back.waiting.notifications / operations } };
    };
  },
};

/** Open the subject. */
export function open(params: PipelinedParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
