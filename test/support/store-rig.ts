// A xenstore server, a toolstack and any number of domains in one thread, moved only by `pump()`, on a clock of its own.
import {
  type DirectXenstoreClient,
  DomainKernel,
  type DomId,
  type Hypercalls,
  MemoryStore,
  RingXenstoreClient,
  type StoreQuotas,
  type StoreReply,
  type XenstoreClient,
  XenstoreServer,
} from '@splitring/hypervisor';

/** A domain of the rig. */
export interface RigDomain {
  readonly domid: DomId;
  readonly kernel: DomainKernel;
  readonly store: RingXenstoreClient;
  readonly page: Uint8Array;
}

/** A clock that only the test moves. */
export class ManualClock {
  private now = 0;

  nowMs(): number {
    return this.now;
  }

  advance(ms: number): void {
    this.now += ms;
  }
}

/** Hypercalls of a domain that has no hypervisor: its identity, and no event ever. */
export function identityOnly(domid: DomId, generation = 1): Hypercalls {
  const calls = {
    domid,
    generation,
    pollEvents: () => 0,
    doorbell: { words: new Int32Array(new SharedArrayBuffer(4)), index: 0 },
  };
  // The rig's drivers use nothing else; whoever does gets a TypeError at once.
  return calls as unknown as Hypercalls;
}

export class StoreRig {
  readonly clock = new ManualClock();
  readonly store: MemoryStore;
  readonly server: XenstoreServer;
  readonly dom0: DirectXenstoreClient;
  readonly toolstack: DomainKernel;
  readonly domains = new Map<number, RigDomain>();
  /** What a domain that is connected from now on gets for its xenstore. */
  storeOf: (store: XenstoreClient) => XenstoreClient = (store) => store;

  constructor(quotas: Partial<StoreQuotas> = {}) {
    this.store = new MemoryStore(quotas);
    this.server = new XenstoreServer({ store: this.store, clock: this.clock });
    this.dom0 = this.server.directClient();
    this.toolstack = this.kernelOf(identityOnly(0 as DomId), this.dom0);
    this.toolstack.add(this.dom0);
  }

  /** Connect a domain; its kernel polls its client. */
  domain(domid: number, hypercalls: Hypercalls = identityOnly(domid as DomId)): RigDomain {
    const page = new Uint8Array(new SharedArrayBuffer(4096));
    const id = domid as DomId;
    if (!this.server.introduce({ domid: id, generation: hypercalls.generation, page, notify: () => {} })) {
      throw new Error(`domain ${domid} is connected already`);
    }
    const store = new RingXenstoreClient({ page, notify: () => {} });
    const kernel = this.kernelOf(hypercalls, this.storeOf(store));
    kernel.add(store);
    const domain = { domid: id, kernel, store, page };
    this.domains.set(domid, domain);
    return domain;
  }

  /** Let a domain vanish, as after the fence. */
  destroy(domid: number): void {
    this.domains.delete(domid);
    this.server.release(domid as DomId);
  }

  /** Move everybody in turn until nothing happens. @throws if that takes more than `limit` rounds */
  pump(limit = 10_000): number {
    for (let round = 0; round < limit; round++) {
      let hasWorked = this.server.poll();
      if (this.toolstack.poll()) hasWorked = true;
      for (const { kernel } of this.domains.values()) {
        if (kernel.poll()) hasWorked = true;
      }
      if (!hasWorked) return round;
    }
    throw new Error(`still busy after ${limit} rounds`);
  }

  /** Run one operation to its answer. */
  ask<T>(start: (then: (reply: StoreReply<T>) => void) => void): StoreReply<T> {
    const box: { reply?: StoreReply<T> } = {};
    start((reply) => {
      box.reply = reply;
    });
    this.pump();
    if (!box.reply) throw new Error('no answer');
    return box.reply;
  }

  /** A value as dom0 sees it; undefined if the node is not there. */
  value(path: string): string | undefined {
    const reply = this.ask<string>((then) => this.dom0.read(path, then));
    return reply.ok ? reply.value : undefined;
  }

  private kernelOf(hypercalls: Hypercalls, store: XenstoreClient): DomainKernel {
    let seed: number = hypercalls.domid;
    const random = {
      nextU32: () => {
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
        return seed;
      },
    };
    return new DomainKernel({ hypercalls, clock: this.clock, random, connectStore: () => store });
  }
}
