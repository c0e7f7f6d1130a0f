// The xenstore server: any number of domains on their ring pages, each with its own bounds, in front of one store.
import type { DomId } from '../ids.ts';
import { XS, XS_FEATURES_OFFERED, XS_PAGE_ERROR } from '../io/xs-wire.ts';
import type { Clock, Stepped } from '../stepped.ts';
import { Connection, type StorePeer } from './connection.ts';
import { DirectXenstoreClient } from './direct-client.ts';
import { type Answer, execute, type RequestHost } from './requests.ts';
import type { Store, StoreSession } from './store.ts';
import { WriteLimiter } from './write-limiter.ts';

/** What a server is made of. */
export interface XenstoreServerOptions {
  /** What it serves. */
  readonly store: Store;
  /** Time, for unread events and the write rate. */
  readonly clock: Clock;
  /** Requests and events that a domain may have outstanding before it is not read from any more. */
  readonly maxOutstanding?: number;
  /** How long an event may lie unread before the connection is given up. */
  readonly eventTimeoutMs?: number;
}

/** What the server knows of a domain. */
export interface ConnectionReport {
  /** The domain. */
  readonly domid: DomId;
  /** Its generation. */
  readonly generation: number;
  /** Why its connection is ignored, as XS_PAGE_ERROR; 0 if it is served. */
  readonly error: number;
  /** Requests and events outstanding. */
  readonly outstanding: number;
  /** Events it has missed. */
  readonly droppedEvents: number;
}

/** Requests taken from one domain in one poll, so that nobody waits long for a busy one. */
const REQUESTS_PER_POLL = 8;
/** How long an unread event counts against the writer that caused it. */
const CHARGE_MS = 100;
/** Operations for which the transaction in the header does not count. */
const WITHOUT_TX: ReadonlySet<number> = new Set([
  XS.WATCH,
  XS.UNWATCH,
  XS.RESET_WATCHES,
  XS.INTRODUCE,
  XS.RELEASE,
  XS.GET_DOMAIN_PATH,
  XS.IS_DOMAIN_INTRODUCED,
  XS.RESUME,
]);

/**
 * The server. Stepped: `poll()` serves everybody a little.
 *
 * @example
 * const server = new XenstoreServer({ store: new MemoryStore(), clock });
 * server.introduce({ domid, generation, page, notify });
 * const dom0 = server.directClient(); // poll it as well
 */
export class XenstoreServer implements Stepped {
  private readonly store: Store;
  private readonly clock: Clock;
  private readonly maxOutstanding: number;
  private readonly eventTimeoutMs: number;
  private readonly connections = new Map<number, { connection: Connection; session: StoreSession }>();
  private readonly limiter = new WriteLimiter();
  private readonly host: RequestHost;
  /** Whose request is being executed: events that it raises are on its account. */
  private current: Connection | undefined;
  private nowMs: number;

  /** A server with nobody connected. */
  constructor(options: XenstoreServerOptions) {
    this.store = options.store;
    this.clock = options.clock;
    this.maxOutstanding = options.maxOutstanding ?? 20;
    this.eventTimeoutMs = options.eventTimeoutMs ?? 20_000;
    this.nowMs = this.clock.nowMs();
    this.store.onInterference = (domid) => {
      if (this.connections.has(domid)) this.limiter.charge(domid);
    };
    this.host = {
      features: XS_FEATURES_OFFERED,
      isIntroduced: (domid) => domid === 0 || this.connections.has(domid),
      release: (domid) => this.release(domid as DomId), // parsed from a request: a plain number below the reserved ones
    };
  }

  /**
   * Connect a domain by its ring page and tell the watchers of `@introduceDomain`.
   * @returns false if the domid is connected already: release it first
   */
  introduce(peer: StorePeer): boolean {
    if (this.connections.has(peer.domid)) return false;
    if (peer.quotas) this.store.setQuotas(peer.domid, peer.quotas);
    const session: StoreSession = this.store.open({ domid: peer.domid, isPrivileged: false }, (path, token) =>
      connection.event(path, token, this.current, this.nowMs),
    );
    const connection = new Connection(peer, session);
    this.connections.set(peer.domid, { connection, session });
    this.store.announce('@introduceDomain');
    return true;
  }

  /**
   * Disconnect a domain that is gone, purge whatever the store kept for its domid, tell the watchers of
   * `@releaseDomain`. Has to come before the domid is used again.
   * @param generation if given, only this one is meant: a successor with the same domid is left alone
   * @returns false if it was not connected (purged anyway), or is another generation
   */
  release(domid: DomId, generation?: number): boolean {
    const known = this.connections.get(domid);
    if (known && generation !== undefined && known.connection.peer.generation !== generation) return false;
    known?.connection.close();
    this.connections.delete(domid);
    this.limiter.forget(domid);
    this.store.purge(domid);
    this.store.announce('@releaseDomain');
    return known !== undefined;
  }

  /** A privileged client without a ring, for the toolstack. It has to be polled; close it when done. */
  directClient(): DirectXenstoreClient {
    const client: DirectXenstoreClient = new DirectXenstoreClient({
      execute: (type, tx, payload, answer) => {
        const before = this.current;
        this.current = undefined;
        execute(session, true, this.host, type, WITHOUT_TX.has(type) ? 0 : tx, payload, answer);
        this.current = before;
      },
      close: () => session.close(),
    });
    const session = this.store.open({ domid: 0, isPrivileged: true }, (path, token) => client.event(path, token));
    return client;
  }

  /** Serve every domain a bounded number of requests, and hand out what is ready. */
  poll(): boolean {
    this.nowMs = this.clock.nowMs();
    this.limiter.refill(this.nowMs);
    let hasWorked = this.store.poll();
    for (const { connection, session } of this.connections.values()) {
      if (connection.isQuiet) continue;
      connection.excuse(this.nowMs - CHARGE_MS);
      if (this.serve(connection, session)) hasWorked = true;
    }
    for (const { connection } of this.connections.values()) {
      if (connection.hasOutput && connection.flush()) {
        connection.peer.notify();
        hasWorked = true;
      }
    }
    return hasWorked;
  }

  /** Every update is notified, so there is nothing to ask for: only look again. */
  arm(): boolean {
    for (const { connection } of this.connections.values()) {
      if (connection.wantsReconnect || connection.canWrite) return true;
      if (this.mayRead(connection) && connection.lookForInput()) return true;
    }
    return false;
  }

  /** When an unread event expires, or stops to count against its writer, or a writer in debt may go on. */
  deadlineMs(): number {
    let earliest = this.limiter.deadlineMs();
    for (const { connection } of this.connections.values()) {
      earliest = Math.min(earliest, connection.oldestEventMs + this.eventTimeoutMs);
      earliest = Math.min(earliest, connection.oldestChargeMs + CHARGE_MS);
    }
    return earliest;
  }

  /** Bytes exchanged with a domain so far, modulo 2^32; by this a kernel judges the events of its port. */
  bytesMoved(domid: DomId): number {
    return this.connections.get(domid)?.connection.bytesMoved ?? 0;
  }

  /** What is known of every connected domain. */
  inspect(): ConnectionReport[] {
    return [...this.connections.values()].map(({ connection }) => ({
      domid: connection.peer.domid,
      generation: connection.peer.generation,
      error: connection.error,
      outstanding: connection.outstanding,
      droppedEvents: connection.droppedEvents,
    }));
  }

  private serve(connection: Connection, session: StoreSession): boolean {
    if (connection.wantsReconnect) {
      connection.reconnect();
      return true;
    }
    if (this.nowMs - connection.oldestEventMs >= this.eventTimeoutMs) {
      connection.breakOff(XS_PAGE_ERROR.event);
      return true;
    }
    let taken = 0;
    while (taken < REQUESTS_PER_POLL && this.mayRead(connection)) {
      const request = connection.take();
      if (!request) break;
      taken += 1;
      this.run(connection, session, request.header.type, request.header.reqId, request.header.txId, request.payload);
    }
    if (taken > 0) connection.peer.notify(); // the guest may wait for room in its request ring
    return taken > 0;
  }

  /** The brakes: too much outstanding, too much memory in unread output, or writes that starve a transaction. */
  private mayRead(connection: Connection): boolean {
    if (connection.outstanding >= this.maxOutstanding) return false;
    if (!this.limiter.mayWrite(connection.peer.domid)) return false;
    return !(connection.hasOutput && connection.isOverMemory);
  }

  private run(
    connection: Connection,
    session: StoreSession,
    type: number,
    reqId: number,
    txId: number,
    payload: string,
  ) {
    const { life } = connection;
    connection.outstanding += 1;
    const answer: Answer = (reply) => {
      if (connection.life !== life) connection.outstanding -= 1;
      else if (reply.ok) connection.reply(type, reqId, txId, reply.value, this.nowMs);
      else connection.reply(XS.ERROR, reqId, txId, `${reply.error}\0`, this.nowMs);
    };
    this.current = connection;
    execute(session, false, this.host, type, WITHOUT_TX.has(type) ? 0 : txId, payload, answer);
    this.current = undefined;
  }
}
