// A client that speaks xenstore messages; how they travel (ring page or direct call) is its transport's matter.
//
// Everything that comes in lands in one bounded-per-poll inbox, so that callbacks run from poll() only.
import { XS, XS_ERRORS } from '../io/xs-wire.ts';
import type { StoreCallback, StoreReply, XenstoreClient, XenstoreTransaction } from './client.ts';
import { TransactionGate } from './transaction-gate.ts';

interface Pending {
  readonly type: number;
  readonly then: StoreCallback<string>;
}

interface ClientWatch {
  readonly path: string;
  readonly depth: number | undefined;
  readonly onEvent: (path: string) => void;
  /** The path to report with the event that waits in the inbox, if one does (XSA-349: never more than one). */
  queued: string | undefined;
}

/** Callbacks run in one poll. */
const CALLBACKS_PER_POLL = 64;

/** The part of a client that knows messages and not how they travel. */
export abstract class MessageClient implements XenstoreClient {
  /** Messages that answered nothing we asked: 0 with an honest server. */
  strayMessages = 0;
  /** Watches that the server refused, over quota: their owners hear of nothing. */
  refusedWatches = 0;
  private readonly pending = new Map<number, Pending>();
  private readonly watches = new Map<string, ClientWatch>();
  private readonly gate = new TransactionGate();
  private inbox: (() => void)[] = [];
  private lastReqId = 0;
  private lastToken = 0;

  /** Hand one request to the transport. @returns false if no more can be taken now: the request fails with EBUSY */
  protected abstract send(type: number, reqId: number, txId: number, payload: string): boolean;

  read(path: string, then: StoreCallback<string>): void {
    this.ask(XS.READ, 0, `${path}\0`, then);
  }

  directory(path: string, then: StoreCallback<readonly string[]>): void {
    this.list(0, path, then);
  }

  write(path: string, value: string, then?: StoreCallback<void>): void {
    this.ask(XS.WRITE, 0, `${path}\0${value}`, plain(then));
  }

  makeDirectory(path: string, then?: StoreCallback<void>): void {
    this.ask(XS.MKDIR, 0, `${path}\0`, plain(then));
  }

  remove(path: string, then?: StoreCallback<void>): void {
    this.ask(XS.RM, 0, `${path}\0`, plain(then));
  }

  getPermissions(path: string, then: StoreCallback<readonly string[]>): void {
    this.ask(XS.GET_PERMS, 0, `${path}\0`, (reply) => then(reply.ok ? { ok: true, value: split(reply.value) } : reply));
  }

  setPermissions(path: string, permissions: readonly string[], then?: StoreCallback<void>): void {
    this.ask(XS.SET_PERMS, 0, setPermissionsPayload(path, permissions), plain(then));
  }

  watch(path: string, onEvent: (path: string) => void, depth?: number): () => void {
    this.lastToken += 1;
    const token = `w${this.lastToken}`;
    const watch: ClientWatch = { path, depth, onEvent, queued: undefined };
    this.watches.set(token, watch);
    this.register(token, watch);
    return () => {
      if (!this.watches.delete(token)) return;
      this.ask(XS.UNWATCH, 0, `${path}\0${token}\0`, () => {});
    };
  }

  transaction(then: StoreCallback<XenstoreTransaction>): void {
    this.gate.enter((leave) =>
      this.ask(XS.TRANSACTION_START, 0, '\0', (reply) => {
        if (!reply.ok) {
          leave();
          then(reply);
          return;
        }
        const tx = Number(reply.value.replace('\0', ''));
        then({ ok: true, value: this.transactionOf(tx, leave) });
      }),
    );
  }

  /** Run what came in, oldest first, at most 64 callbacks. @returns whether there was any */
  protected runInbox(): boolean {
    const batch = this.inbox.slice(0, CALLBACKS_PER_POLL);
    this.inbox = this.inbox.slice(CALLBACKS_PER_POLL);
    for (const callback of batch) callback();
    return batch.length > 0;
  }

  /** Whether callbacks wait. */
  protected get hasCallbacks(): boolean {
    return this.inbox.length > 0;
  }

  /** Requests without an answer. */
  protected get unanswered(): number {
    return this.pending.size;
  }

  /** An answer has come. One that nobody asked for is counted and ignored. */
  protected answered(type: number, reqId: number, payload: string): void {
    const asked = this.pending.get(reqId);
    if (!asked || (type !== asked.type && type !== XS.ERROR)) {
      this.strayMessages += 1;
      return;
    }
    this.pending.delete(reqId);
    const reply: StoreReply<string> =
      type === XS.ERROR ? { ok: false, error: errorName(payload) } : { ok: true, value: payload };
    this.inbox.push(() => asked.then(reply));
  }

  /** An event has come. It is merged with one of the same watch that still waits. */
  protected eventCame(path: string, token: string): void {
    const watch = this.watches.get(token);
    if (!watch) return; // ended meanwhile
    if (watch.queued !== undefined) {
      if (watch.queued !== path) watch.queued = watch.path;
      return;
    }
    watch.queued = path;
    this.inbox.push(() => {
      const at = watch.queued;
      watch.queued = undefined;
      if (at !== undefined && this.watches.has(token)) watch.onEvent(at);
    });
  }

  /** The connection was lost: nothing asked before will be answered. */
  protected failPending(error: string): void {
    for (const { then } of this.pending.values()) this.inbox.push(() => then({ ok: false, error }));
    this.pending.clear();
  }

  /** Register every watch anew, after a reconnection. Each fires once, so its owner reads again. */
  protected registerAll(): void {
    for (const [token, watch] of this.watches) this.register(token, watch);
  }

  private register(token: string, watch: ClientWatch): void {
    const depth = watch.depth === undefined ? '' : `${watch.depth}\0`;
    this.ask(XS.WATCH, 0, `${watch.path}\0${token}\0${depth}`, (reply) => {
      if (!reply.ok && reply.error !== 'ECONNRESET') this.refusedWatches += 1;
    });
  }

  private ask(type: number, txId: number, payload: string, then: StoreCallback<string>): void {
    do this.lastReqId = (this.lastReqId + 1) >>> 0;
    while (this.pending.has(this.lastReqId));
    const reqId = this.lastReqId;
    this.pending.set(reqId, { type, then });
    if (this.send(type, reqId, txId, payload)) return;
    this.pending.delete(reqId);
    this.inbox.push(() => then({ ok: false, error: 'EBUSY' }));
  }

  private transactionOf(tx: number, leave: () => void): XenstoreTransaction {
    return {
      read: (path, then) => this.ask(XS.READ, tx, `${path}\0`, then),
      directory: (path, then) => this.list(tx, path, then),
      write: (path, value, then) => this.ask(XS.WRITE, tx, `${path}\0${value}`, plain(then)),
      remove: (path, then) => this.ask(XS.RM, tx, `${path}\0`, plain(then)),
      setPermissions: (path, permissions, then) =>
        this.ask(XS.SET_PERMS, tx, setPermissionsPayload(path, permissions), plain(then)),
      end: (isCommit, then) =>
        this.ask(XS.TRANSACTION_END, tx, isCommit ? 'T\0' : 'F\0', (reply) => {
          leave();
          plain(then)(reply);
        }),
    };
  }

  private list(tx: number, path: string, then: StoreCallback<readonly string[]>): void {
    this.ask(XS.DIRECTORY, tx, `${path}\0`, (reply) => {
      if (reply.ok) then({ ok: true, value: split(reply.value) });
      else if (reply.error === 'E2BIG') this.listParts(tx, path, '', undefined, then);
      else then(reply);
    });
  }

  /** A listing too long for one message, part by part; from the start again whenever it changed in between. */
  private listParts(
    tx: number,
    path: string,
    soFar: string,
    generation: string | undefined,
    then: StoreCallback<readonly string[]>,
  ): void {
    this.ask(XS.DIRECTORY_PART, tx, `${path}\0${soFar.length}\0`, (reply) => {
      if (!reply.ok) {
        then(reply);
        return;
      }
      const end = reply.value.indexOf('\0');
      const now = reply.value.slice(0, end);
      const part = reply.value.slice(end + 1);
      if (generation !== undefined && now !== generation) {
        this.listParts(tx, path, '', undefined, then);
        return;
      }
      if (part === '\0') {
        then({ ok: true, value: split(soFar) });
        return;
      }
      if (part.endsWith('\0\0')) {
        then({ ok: true, value: split(soFar + part.slice(0, -1)) });
        return;
      }
      if (part === '') {
        // no progress: not an honest server
        then({ ok: false, error: 'EIO' });
        return;
      }
      this.listParts(tx, path, soFar + part, now, then);
    });
  }
}

function split(payload: string): string[] {
  return payload === '' ? [] : payload.slice(0, -1).split('\0');
}

function setPermissionsPayload(path: string, permissions: readonly string[]): string {
  return `${path}\0${permissions.map((entry) => `${entry}\0`).join('')}`;
}

function plain(then: StoreCallback<void> | undefined): StoreCallback<string> {
  return (reply) => then?.(reply.ok ? { ok: true, value: undefined } : reply);
}

function errorName(payload: string): string {
  const name = payload.replace('\0', '');
  return XS_ERRORS.some((known) => known === name) ? name : 'EINVAL';
}
