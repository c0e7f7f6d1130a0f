// What a xenstore keeps and guarantees, without any transport: tree, permissions, quotas, transactions, watches.
//
// The server and the direct client work against these interfaces only. Answers come through callbacks, at once or later
// from poll(), so that a store kept elsewhere (a consensus store with prefix watches and compare-and-swap) fits as well.
import type { StoreCallback } from './client.ts';

/** Limits of an unprivileged domain; xenstored's defaults. */
export interface StoreQuotas {
  /** Nodes it owns. */
  readonly nodes: number;
  /** Watches it has registered. */
  readonly watches: number;
  /** Transactions it has open. */
  readonly transactions: number;
  /** Nodes one of its transactions may touch. */
  readonly transactionNodes: number;
  /** Entries in one permission list. */
  readonly permissions: number;
  /** Bytes of one node: value, names of children, 8 per permission entry. */
  readonly nodeBytes: number;
  /** Bytes of a path it may use; below a domain's home (`/local/domain/<domid>/`) counted from there. */
  readonly pathBytes: number;
  /** Bytes of everything kept for it: nodes, watches, open transactions, undelivered output. */
  readonly memoryBytes: number;
}

/** xenstored's default quotas. */
export const DEFAULT_QUOTAS: StoreQuotas = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  transactionNodes: 1024,
  permissions: 5,
  nodeBytes: 2048,
  pathBytes: 2048,
  memoryBytes: 2_621_440,
};

/** What a driver domain needs: it owns directories of, and watches, every device it serves. */
export const DRIVER_DOMAIN_QUOTAS: Partial<StoreQuotas> = { nodes: 100_000, watches: 10_000, memoryBytes: 268_435_456 };

/** A listing and the generation that tells whether it has changed since. */
export interface StoreListing {
  /** Names, oldest first. */
  readonly names: readonly string[];
  /** Grows with every change of the node. */
  readonly generation: number;
}

/** Receives the events of one session: the path as its watch sees it, and the watch's token. */
export type StoreEventSink = (path: string, token: string) => void;

/**
 * One client's standing with the store: it owns its watches and transactions. Paths are checked here; a relative one
 * starts at the domain's home. `tx` is 0 or the number of an open transaction of this session (else ENOENT).
 */
export interface StoreSession {
  /** Whose session it is. */
  readonly domid: number;
  /** Transactions open in this session. */
  readonly openTransactions: number;
  /** Value of a node. */
  read(tx: number, path: string, then: StoreCallback<string>): void;
  /** Children of a node. */
  directory(tx: number, path: string, then: StoreCallback<StoreListing>): void;
  /** Set a value; missing ancestors are created empty. */
  write(tx: number, path: string, value: string, then: StoreCallback<void>): void;
  /** Create an empty node; an existing one is left untouched. */
  makeDirectory(tx: number, path: string, then: StoreCallback<void>): void;
  /** Remove a node and all below it. */
  remove(tx: number, path: string, then: StoreCallback<void>): void;
  /** Permissions of a node or of a special path. */
  getPermissions(tx: number, path: string, then: StoreCallback<readonly string[]>): void;
  /** Replace permissions of a node or of a special path. */
  setPermissions(tx: number, path: string, permissions: readonly string[], then: StoreCallback<void>): void;
  /**
   * Report changes of a path and all below it (at most `depth` levels down): one event at once, after the answer.
   * A change is reported before the change is answered.
   */
  watch(path: string, token: string, depth: number, then: StoreCallback<void>): void;
  /** End a watch. ENOENT if there is none. */
  unwatch(path: string, token: string, then: StoreCallback<void>): void;
  /** Start a transaction on a snapshot of the store. */
  startTransaction(then: StoreCallback<number>): void;
  /** Commit or give up. EAGAIN: a touched node has changed since it was first touched; nothing was done. */
  endTransaction(tx: number, isCommit: boolean, then: StoreCallback<void>): void;
  /** Drop every watch and every transaction. */
  reset(): void;
  /** Count bytes that somebody else keeps for this domain (undelivered output) as its memory; negative to give back. */
  holdBytes(bytes: number): void;
  /** Whether the domain uses more memory than its quota. */
  readonly isOverMemory: boolean;
  /** End the session: reset, and no event from now on. Idempotent. */
  close(): void;
}

/** The store. */
export interface Store {
  /** Give one domain other quotas, until it is purged. */
  setQuotas(domid: number, quotas: Partial<StoreQuotas>): void;
  /** Open a session; `onEvent` may be called from inside any call to the store. */
  open(caller: { readonly domid: number; readonly isPrivileged: boolean }, onEvent: StoreEventSink): StoreSession;
  /**
   * Called for every change that makes a transaction of another domain fail, with the domain that changed; a writer
   * that does so all the time is held back (XSA-206).
   */
  onInterference: (domid: number) => void;
  /** Tell the watchers of `@introduceDomain` or `@releaseDomain`. */
  announce(special: '@introduceDomain' | '@releaseDomain'): void;
  /**
   * A domain is gone: delete the nodes it owns with their children, strip it from every list of permissions, special
   * ones too, end its sessions. Has to be done before the domid is used again.
   */
  purge(domid: number): void;
  /** Move on whatever is answered later. */
  poll(): boolean;
}
