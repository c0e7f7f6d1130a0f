// What drivers may ask of the xenstore.
//
// Answers come back through callbacks run from `poll()`, never through promises: a front end must be able to shake
// hands again while its guest blocks in a synchronous call, where no microtask runs.

/** An answer: the value, or the name of the error (`ENOENT`, `EACCES`, `EAGAIN` …). */
export type StoreReply<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };
/** Receives one answer. */
export type StoreCallback<T> = (reply: StoreReply<T>) => void;

/** One operation inside a transaction, in order. */
export interface XenstoreTransaction {
  /** Read a node inside the transaction. */
  read(path: string, then: StoreCallback<string>): void;
  /** List children inside the transaction. */
  directory(path: string, then: StoreCallback<readonly string[]>): void;
  /** Write a node inside the transaction. */
  write(path: string, value: string, then?: StoreCallback<void>): void;
  /** Remove a node inside the transaction. */
  remove(path: string, then?: StoreCallback<void>): void;
  /** Set permissions inside the transaction. */
  setPermissions(path: string, permissions: readonly string[], then?: StoreCallback<void>): void;
  /** Commit (true) or give up (false). `EAGAIN`: all of it has to be done anew. */
  end(isCommit: boolean, then: StoreCallback<void>): void;
}

/** A domain's connection to the store. Paths are absolute, or relative to /local/domain/<own domid>. */
export interface XenstoreClient {
  /** Read a node's value (bytes as latin1 text). */
  read(path: string, then: StoreCallback<string>): void;
  /** List a node's children. */
  directory(path: string, then: StoreCallback<readonly string[]>): void;
  /** Write a node, creating parents. */
  write(path: string, value: string, then?: StoreCallback<void>): void;
  /** Create a node with an empty value if it is missing. */
  makeDirectory(path: string, then?: StoreCallback<void>): void;
  /** Remove a node and all below it. */
  remove(path: string, then?: StoreCallback<void>): void;
  /** Read permissions (`n0`, `r7` …). */
  getPermissions(path: string, then: StoreCallback<readonly string[]>): void;
  /** Replace permissions. */
  setPermissions(path: string, permissions: readonly string[], then?: StoreCallback<void>): void;
  /**
   * Watch a path: `onEvent(path)` once at registration and whenever it or anything below changes. Events carry no
   * value, may repeat and may be spurious. At most one event per watch is queued: where several paths changed, the
   * watched path itself is reported. `depth` limits how many levels below the path count.
   * @returns a function that ends the watch
   */
  watch(path: string, onEvent: (path: string) => void, depth?: number): () => void;
  /** Start a transaction, at once or when few enough of this client's are open. Whoever gets one must end it. */
  transaction(then: StoreCallback<XenstoreTransaction>): void;
}
