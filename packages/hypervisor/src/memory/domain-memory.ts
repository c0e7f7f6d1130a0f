// The memory that one domain holds, and its side of the control channel over which the builder hands memory to it.
import { HypercallError } from '../error.ts';
import type { FrameRun } from '../hypercalls.ts';
import { EXTENT_SHIFT, type FrameNumber } from '../ids.ts';
import type { ControlMessage, ControlPort, ControlRequest } from './control-port.ts';
import { EventPage } from './event-page.ts';
import { Extent } from './extent.ts';
import { NativeCopy } from './native-copy.ts';
import { DOMAIN_REPLY_WORD, type Identity, identityDomid, type Tables } from './tables.ts';

type Request = ControlRequest extends infer R ? (R extends ControlRequest ? Omit<R, 'sequence'> : never) : never;

/** A wait is looked at again this often, in case the notification was for somebody else. */
const SLICE_MS = 250;
/** The builder answers within microseconds; a host thread that computes for longer than this is taken as gone. */
const SLICES = 40;

/** The memory that one domain holds, filled from its control port. */
export class DomainMemory {
  /** The wasm memories behind the extents held, and what copies between them. */
  readonly native = new NativeCopy();
  readonly #tables: Tables;
  readonly #self: Identity;
  readonly #port: ControlPort;
  readonly #extents: (Extent | undefined)[] = [];
  readonly #pages: (EventPage | undefined)[] = [];
  readonly #replies = new Map<number, string | undefined>();
  #sequence = 0;
  readonly #retired: ((extent: number) => void)[] = [];
  readonly #added: ((extent: Extent) => void)[] = [];

  /** Talk as `self` over `port`; `initial` is what the boot data carried. */
  constructor(tables: Tables, self: Identity, port: ControlPort, initial: readonly ControlMessage[]) {
    this.#tables = tables;
    this.#self = self;
    this.#port = port;
    for (const message of initial) this.#take(message);
  }

  /** The extent of a frame, if this domain holds it and it is in use. */
  extentOf(frame: number): Extent | undefined {
    const id = frame >>> EXTENT_SHIFT;
    return this.extent(id);
  }

  /** The extent with this number, if this domain holds it and it is in use. */
  extent(id: number): Extent | undefined {
    const { words, limits } = this.#tables;
    if (id >= limits.extents) return undefined;
    const generation = Atomics.load(words, this.#tables.extent(id) + 3);
    let extent = this.#extents[id];
    if (isStale(extent, generation)) {
      this.drain();
      extent = this.#extents[id];
      if (isStale(extent, generation)) return undefined;
    }
    return extent;
  }

  /** The 4096 bytes of a frame. @throws HypercallError EFAULT if this domain does not hold it */
  pageBytes(frame: FrameNumber): Uint8Array {
    const extent = this.extentOf(frame);
    const index = frame & ((1 << EXTENT_SHIFT) - 1);
    if (extent === undefined || index >= extent.grant.frames) {
      throw new HypercallError('EFAULT', `Cannot reach frame ${frame}: not in this domain's memory`, { frame });
    }
    return extent.page(index);
  }

  /** One view of consecutive frames, if this domain holds them. */
  run(first: FrameNumber, frames: number): FrameRun | undefined {
    const extent = first >= 0 ? this.extentOf(first) : undefined;
    const index = first & ((1 << EXTENT_SHIFT) - 1);
    if (extent === undefined || frames < 1 || frames > extent.grant.frames - index) return undefined;
    return { first, frames, bytes: extent.run(index, frames) };
  }

  /** Our last hold on `granter` has just gone: if it is dead, its remains can be cleared away. */
  granterMayBeGone(granter: Identity): void {
    if (this.#tables.liveIdentity(identityDomid(granter)) !== granter) this.tell({ kind: 'released' });
  }

  /** Have `listener` called with the number of every extent that is taken back: drop all views of it. */
  whenRetired(listener: (extent: number) => void): void {
    this.#retired.push(listener);
  }

  /** Have `listener` called with every extent held now and handed to this domain from now on. */
  whenAdded(listener: (extent: Extent) => void): void {
    for (const extent of this.#extents) if (extent !== undefined) listener(extent);
    this.#added.push(listener);
  }

  /** The event page shared with the domain that lives under `domid`, if both live and there is one. */
  eventPage(domid: number): EventPage | undefined {
    const page = this.#pages[domid];
    if (page !== undefined && page.peer === this.#tables.liveIdentity(domid)) return page;
    this.drain();
    const fresh = this.#pages[domid];
    return fresh !== undefined && fresh.peer === this.#tables.liveIdentity(domid) ? fresh : undefined;
  }

  /** Take in everything that has arrived. */
  drain(): void {
    for (let message = this.#port.receive(); message !== undefined; message = this.#port.receive()) this.#take(message);
  }

  /**
   * Ask the builder, and wait for the answer.
   * @throws HypercallError with the builder's code; ETIMEDOUT if the host thread did not answer
   */
  request(request: Request): void {
    const sequence = ++this.#sequence;
    const word = this.#tables.domain(identityDomid(this.#self)) + DOMAIN_REPLY_WORD;
    let seen = Atomics.load(this.#tables.words, word);
    this.#port.post({ ...request, sequence } as ControlRequest); // the kinds keep their own fields
    for (let slice = 0; ; slice++) {
      this.drain();
      if (this.#replies.has(sequence)) break;
      if (slice === SLICES) {
        throw new HypercallError('ETIMEDOUT', `Cannot ${request.kind}: the host thread does not answer`, {});
      }
      Atomics.wait(this.#tables.words, word, seen, SLICE_MS);
      seen = Atomics.load(this.#tables.words, word);
    }
    const error = this.#replies.get(sequence);
    this.#replies.delete(sequence);
    if (error !== undefined) throw new HypercallError(error, `Cannot ${request.kind}: ${error}`, { ...request });
  }

  /** Tell the builder something that needs no answer. */
  tell(request: Request): void {
    this.#port.post({ ...request, sequence: 0 } as ControlRequest); // the kinds keep their own fields
  }

  #take(message: ControlMessage): void {
    switch (message.kind) {
      case 'extent':
        this.#forget(message.id);
        this.#add(new Extent(this.native.adopt(message)));
        break;
      case 'event-page': {
        const page = new EventPage(message, this.#self);
        this.#pages[identityDomid(page.peer)] = page;
        break;
      }
      case 'retire-extent':
        if (this.#extents[message.id]?.grant.generation === message.generation) this.#forget(message.id);
        break;
      case 'reply':
        this.#replies.set(message.sequence, message.error);
    }
  }

  #add(extent: Extent): void {
    this.#extents[extent.grant.id] = extent;
    for (const listener of this.#added) listener(extent);
  }

  #forget(id: number): void {
    const extent = this.#extents[id];
    if (extent === undefined) return;
    this.#extents[id] = undefined;
    this.native.forget(extent.grant);
    for (const listener of this.#retired) listener(id);
  }
}

/** Whether a known extent is not what the table tells of. One generation ahead is a handing over that is being published. */
function isStale(extent: Extent | undefined, generation: number): boolean {
  return extent === undefined || ((extent.grant.generation - generation) & ~1) !== 0;
}
