// One client's session with the store in memory: checks what it says, owns its watches and transactions.
import { XENSTORE_PAYLOAD_MAX, type XsErrorName } from '../io/xs-wire.ts';
import type { StoreCallback, StoreReply } from './client.ts';
import { domainPath, parsePath, quotaBytes, type StorePath } from './path.ts';
import {
  accessOf,
  type Caller,
  formatPermissions,
  PERM_READ,
  type Permissions,
  parsePermissions,
} from './permissions.ts';
import type { StoreEventSink, StoreListing, StoreQuotas, StoreSession } from './store.ts';
import type { Transaction } from './transaction.ts';
import type { StoreNode } from './tree.ts';
import type { Allowance, Change, Outcome, View } from './view.ts';
import type { Watch, WatchTrie } from './watch-trie.ts';

/** What a session needs of its store. */
export interface SessionHost {
  /** Quotas of a domain. */
  quotas(domid: number): StoreQuotas;
  /** The store's own tree. */
  readonly main: View;
  /** Everybody's watches. */
  readonly watches: WatchTrie<MemorySession>;
  /** Start a transaction that may touch `limitNodes` nodes. */
  fork(limitNodes: number): Transaction;
  /** A domain has changed the store: tell watchers, and see whose transactions that makes fail. */
  changed(change: Change, isExact: boolean, domid: number): void;
  /** Counters of a domain. */
  usage(domid: number): { watches: number; heldBytes: number };
  /** Permissions of a special path. */
  special(name: string): Permissions;
  /** Replace them. */
  setSpecial(name: string, permissions: Permissions): void;
  /** Everything kept for a domain. */
  memoryBytes(domid: number): number;
  /** So many transactions more (or fewer) are open. */
  opened(count: number): void;
  /** The session has ended. */
  forget(session: MemorySession): void;
}

/** Bytes counted for a watch besides its path and token. */
const WATCH_BYTES = 64;
/** Characters that are not bytes. */
const BEYOND_BYTES = /[\u0100-\uffff]/;
/** Special paths that exist. */
const SPECIALS = new Set(['@introduceDomain', '@releaseDomain']);

type Operation = (view: View, at: readonly string[], allowance: Allowance) => Outcome;

/** A session of {@link MemoryStore}. */
export class MemorySession implements StoreSession {
  /** Whose session it is. */
  readonly caller: Caller;
  private readonly host: SessionHost;
  private readonly sink: StoreEventSink;
  private readonly watches = new Map<string, Watch<MemorySession>>();
  private readonly transactions = new Map<number, Transaction>();
  private readonly allowance: Allowance;
  private lastTransaction = 0;
  private isClosed = false;

  /** Made by the store. */
  constructor(host: SessionHost, caller: Caller, sink: StoreEventSink) {
    this.host = host;
    this.caller = caller;
    this.sink = sink;
    this.allowance = {
      mayOwnNodes: (domid, nodes) => host.main.ledger.of(domid).nodes + nodes <= host.quotas(domid).nodes,
      mayHoldBytes: (domid, bytes) => host.memoryBytes(domid) + bytes <= host.quotas(domid).memoryBytes,
      nodeBytes: host.quotas(caller.domid).nodeBytes,
    };
  }

  get domid(): number {
    return this.caller.domid;
  }

  get openTransactions(): number {
    return this.transactions.size;
  }

  /** Memory that the open transactions take. */
  get transactionBytes(): number {
    let bytes = 0;
    for (const transaction of this.transactions.values()) {
      bytes += transaction.recordBytes;
      for (const domid of transaction.view.ledger.domains()) {
        bytes += Math.max(0, transaction.view.ledger.of(domid).nodeBytes);
      }
    }
    return bytes;
  }

  get isOverMemory(): boolean {
    return !this.caller.isPrivileged && this.host.memoryBytes(this.domid) > this.quotas.memoryBytes;
  }

  read(tx: number, path: string, then: StoreCallback<string>): void {
    then(this.withNode(tx, path, (node) => node.value));
  }

  directory(tx: number, path: string, then: StoreCallback<StoreListing>): void {
    then(
      this.withNode(tx, path, ({ children, generation }) => ({
        names: [...children.keys()],
        generation,
      })),
    );
  }

  write(tx: number, path: string, value: string, then: StoreCallback<void>): void {
    if (value.length > XENSTORE_PAYLOAD_MAX || BEYOND_BYTES.test(value)) {
      then(no(value.length > XENSTORE_PAYLOAD_MAX ? 'E2BIG' : 'EINVAL'));
      return;
    }
    this.change(tx, path, then, (view, at, allowance) => view.write(at, value, this.caller, allowance));
  }

  makeDirectory(tx: number, path: string, then: StoreCallback<void>): void {
    this.change(tx, path, then, (view, at, allowance) => view.makeDirectory(at, this.caller, allowance));
  }

  remove(tx: number, path: string, then: StoreCallback<void>): void {
    this.change(tx, path, then, (view, at) => view.remove(at, this.caller));
  }

  getPermissions(tx: number, path: string, then: StoreCallback<readonly string[]>): void {
    const special = this.parseSpecial(path);
    if (special === undefined) {
      then(this.withNode(tx, path, (node) => formatPermissions(node.permissions)));
      return;
    }
    const list = this.host.special(special);
    then(accessOf(list, this.caller) & PERM_READ ? ok(formatPermissions(list)) : no('EACCES'));
  }

  setPermissions(tx: number, path: string, permissions: readonly string[], then: StoreCallback<void>): void {
    const list = parsePermissions(permissions);
    const special = this.parseSpecial(path);
    if (!list) {
      then(no('EINVAL'));
    } else if (!this.caller.isPrivileged && list.length > this.quotas.permissions) {
      then(no('ENOSPC'));
    } else if (special === undefined) {
      this.change(tx, path, then, (view, at, allowance) => view.setPermissions(at, list, this.caller, allowance));
    } else if (this.caller.isPrivileged) {
      this.host.setSpecial(special, list);
      then(ok(undefined));
    } else {
      then(no('EACCES'));
    }
  }

  watch(path: string, token: string, depth: number, then: StoreCallback<void>): void {
    const watch = this.startWatch(path, token, depth);
    if (typeof watch === 'string') {
      then(no(watch));
      return;
    }
    then(ok(undefined));
    this.deliver(watch, watch.path);
  }

  unwatch(path: string, token: string, then: StoreCallback<void>): void {
    const parsed = this.parse(path);
    const watch = parsed && this.watches.get(`${parsed.text}\0${token}`);
    if (watch) this.endWatch(watch);
    if (watch) then(ok(undefined));
    else then(no(parsed ? 'ENOENT' : 'EINVAL'));
  }

  startTransaction(then: StoreCallback<number>): void {
    const { quotas } = this;
    const isFull = !this.caller.isPrivileged && this.transactions.size >= quotas.transactions;
    if (this.isClosed || isFull) {
      then(no(this.isClosed ? 'EIO' : 'ENOSPC'));
      return;
    }
    do this.lastTransaction = (this.lastTransaction + 1) >>> 0;
    while (this.lastTransaction === 0 || this.transactions.has(this.lastTransaction));
    const limit = this.caller.isPrivileged ? Number.POSITIVE_INFINITY : quotas.transactionNodes;
    this.transactions.set(this.lastTransaction, this.host.fork(limit));
    this.host.opened(1);
    then(ok(this.lastTransaction));
  }

  endTransaction(tx: number, isCommit: boolean, then: StoreCallback<void>): void {
    const transaction = this.transactions.get(tx);
    if (this.transactions.delete(tx)) this.host.opened(-1);
    const error = transaction ? isCommit && this.commit(transaction) : 'ENOENT';
    then(error ? no(error) : ok(undefined));
  }

  reset(): void {
    for (const watch of [...this.watches.values()]) this.endWatch(watch);
    this.host.opened(-this.transactions.size);
    this.transactions.clear();
  }

  holdBytes(bytes: number): void {
    if (!this.isClosed) this.host.usage(this.domid).heldBytes += bytes;
  }

  close(): void {
    if (this.isClosed) return;
    this.reset();
    this.isClosed = true;
    this.host.forget(this);
  }

  /** Report a change through one of our watches. */
  deliver(watch: Watch<MemorySession>, path: string): void {
    if (this.isClosed) return;
    const { relativeTo, token } = watch;
    this.sink(relativeTo && path.startsWith(relativeTo) ? path.slice(relativeTo.length) : path, token);
  }

  /** A domain has gone: transactions that would write its id into the store cannot be committed any more. */
  doom(domid: number): void {
    for (const transaction of this.transactions.values()) {
      if (transaction.mentions(domid)) transaction.isDoomed = true;
    }
  }

  /** Whether one of our transactions has touched a node or its parent. */
  dependsOn(path: readonly string[]): boolean {
    for (const transaction of this.transactions.values()) {
      if (transaction.hasTouched(path)) return true;
    }
    return false;
  }

  private get quotas(): StoreQuotas {
    return this.host.quotas(this.domid);
  }

  private parse(path: string): StorePath | undefined {
    const parsed = parsePath(path, domainPath(this.domid));
    if (parsed && !this.caller.isPrivileged && quotaBytes(parsed) > this.quotas.pathBytes) return undefined;
    return parsed;
  }

  private parseSpecial(path: string): string | undefined {
    return SPECIALS.has(path) ? path : undefined;
  }

  private withNode<T>(tx: number, path: string, take: (node: Readonly<StoreNode>) => T): StoreReply<T> {
    const parsed = this.parse(path);
    if (!parsed || parsed.isSpecial) return no('EINVAL');
    const view = this.viewOf(tx);
    if (!view) return no('ENOENT');
    const node = view.lookup(parsed.components, this.caller, PERM_READ);
    return typeof node === 'string' ? no(node) : ok(take(node));
  }

  private change(tx: number, path: string, then: StoreCallback<void>, operate: Operation): void {
    const outcome = this.operate(tx, path, operate);
    if (typeof outcome === 'string') {
      then(no(outcome));
      return;
    }
    if (tx === 0 && outcome.change) this.host.changed(outcome.change, false, this.domid);
    then(ok(undefined));
  }

  private operate(tx: number, path: string, operate: Operation): Outcome {
    const parsed = this.parse(path);
    if (!parsed || parsed.isSpecial) return 'EINVAL';
    const view = this.viewOf(tx);
    if (!view) return 'ENOENT';
    return operate(view, parsed.components, tx === 0 ? this.allowance : this.allowanceIn(view));
  }

  /** @returns the error, if it could not be committed: then nothing was done */
  private commit(transaction: Transaction): XsErrorName | undefined {
    const { main } = this.host;
    if (transaction.conflictsWith(main.tree)) return 'EAGAIN';
    if (transaction.hasFailed) return 'ENOMEM';
    if (!this.caller.isPrivileged) {
      const more = transaction.view.ledger.of(this.domid);
      if (more.nodes > 0 && !this.allowance.mayOwnNodes(this.domid, more.nodes)) return 'ENOSPC';
      if (more.nodeBytes > 0 && !this.allowance.mayHoldBytes(this.domid, more.nodeBytes)) return 'ENOMEM';
    }
    for (const { change, isExact } of transaction.applyTo(main)) this.host.changed(change, isExact, this.domid);
    return undefined;
  }

  private startWatch(path: string, token: string, depth: number): Watch<MemorySession> | XsErrorName {
    const parsed = this.parse(path);
    if (!parsed || (parsed.isSpecial && !SPECIALS.has(parsed.text)) || !(depth >= 0)) return 'EINVAL';
    const key = `${parsed.text}\0${token}`;
    if (this.watches.has(key)) return 'EEXIST';
    const usage = this.host.usage(this.domid);
    const bytes = watchBytes(parsed.text, token);
    if (!this.caller.isPrivileged) {
      if (usage.watches >= this.quotas.watches) return 'ENOSPC';
      if (!this.allowance.mayHoldBytes(this.domid, bytes)) return 'ENOMEM';
    }
    const { text, components, relativeTo, isSpecial } = parsed;
    const watch = { owner: this, path: text, components, token, relativeTo, depth };
    this.watches.set(key, watch);
    this.host.watches.add(watch, isSpecial);
    usage.watches += 1;
    usage.heldBytes += bytes;
    return watch;
  }

  private viewOf(tx: number): View | undefined {
    if (this.isClosed) return undefined;
    return tx === 0 ? this.host.main : this.transactions.get(tx)?.view;
  }

  /** In a transaction what it has added counts as well. */
  private allowanceIn(view: View): Allowance {
    const { mayOwnNodes, mayHoldBytes, nodeBytes } = this.allowance;
    return {
      mayOwnNodes: (domid, nodes) => mayOwnNodes(domid, view.ledger.of(domid).nodes + nodes),
      mayHoldBytes,
      nodeBytes,
    };
  }

  private endWatch(watch: Watch<MemorySession>): void {
    this.watches.delete(`${watch.path}\0${watch.token}`);
    this.host.watches.remove(watch);
    const usage = this.host.usage(this.domid);
    usage.watches -= 1;
    usage.heldBytes -= watchBytes(watch.path, watch.token);
  }
}

function watchBytes(path: string, token: string): number {
  return path.length + token.length + WATCH_BYTES;
}

function ok<T>(value: T): StoreReply<T> {
  return { ok: true, value };
}

function no(error: XsErrorName): { readonly ok: false; readonly error: string } {
  return { ok: false, error };
}
