// Writes keys and state of one device, one transaction at a time, never against what somebody else has decided.
import { SplitringError } from 'sharedarraybuffer-ring';
import type { XenbusStateValue } from '../io/xenbus-state.ts';
import type { XenstoreClient, XenstoreTransaction } from '../xenstore/client.ts';
import { below, parseState } from './keys.ts';

/** What the publisher tells its device. */
export interface PublisherHost {
  /** The state that our node should have now. */
  expected(): XenbusStateValue;
  /** It has this one now. */
  written(state: XenbusStateValue): void;
  /** The node is gone or holds another state: nothing was written. */
  overtaken(): void;
  /** The store refuses to take what has to be written. */
  refused(error: SplitringError): void;
}

interface Job {
  readonly entries: Readonly<Record<string, string | number>>;
  readonly state: XenbusStateValue | undefined;
  readonly then: (() => void) | undefined;
}

/** Tries before a conflict counts as a refusal; conflicts need somebody else writing into our own directory. */
const MAX_TRIES = 64;
/** Errors after which the same again may succeed. */
const RETRIED: ReadonlySet<string> = new Set(['EAGAIN', 'EBUSY', 'ECONNRESET']);

/** The queue of writes of one device. */
export class Publisher {
  private readonly store: XenstoreClient;
  private readonly nodePath: string;
  private readonly host: PublisherHost;
  private jobs: Job[] = [];
  private running: Job | undefined;
  private tries = 0;

  /** For the directory at `nodePath`. */
  constructor(store: XenstoreClient, nodePath: string, host: PublisherHost) {
    this.store = store;
    this.nodePath = nodePath;
    this.host = host;
  }

  /** Whether something is being written. */
  get isBusy(): boolean {
    return this.running !== undefined;
  }

  /** Queue a write; see XenbusDevice.publish. */
  publish(entries: Job['entries'], state: XenbusStateValue | undefined, then: (() => void) | undefined): void {
    this.jobs.push({ entries, state, then });
    if (!this.running) this.next();
  }

  /** Forget what is queued; what is under way may still be written, but reports nothing. */
  cancel(): void {
    this.jobs = [];
    this.running = undefined;
  }

  private next(): void {
    this.running = this.jobs.shift();
    this.tries = 0;
    if (this.running) this.attempt(this.running);
  }

  private attempt(job: Job): void {
    this.tries += 1;
    this.store.transaction((reply) => {
      if (this.running !== job) {
        if (reply.ok) reply.value.end(false, () => {});
      } else if (reply.ok) {
        this.write(job, reply.value);
      } else {
        this.again(job, reply.error);
      }
    });
  }

  private write(job: Job, transaction: XenstoreTransaction): void {
    const statePath = below(this.nodePath, 'state');
    transaction.read(statePath, (current) => {
      const expected = this.host.expected();
      const isOvertaken = !current.ok || parseState(current.value) !== expected;
      const hasEntries = Object.keys(job.entries).length > 0;
      const isNothing = !hasEntries && (job.state === undefined || job.state === expected);
      if (this.running !== job || isOvertaken || isNothing) {
        transaction.end(false, () => {});
        if (this.running === job) this.finish(job, isOvertaken ? 'overtaken' : 'written');
        return;
      }
      this.writeAll(job, transaction, statePath);
    });
  }

  /** The writes go out together; the commit waits for all their answers, as one may have been refused. */
  private writeAll(job: Job, transaction: XenstoreTransaction, statePath: string): void {
    const writes = Object.entries(job.entries).map(
      ([key, value]) => [below(this.nodePath, key), String(value)] as const,
    );
    if (job.state !== undefined) writes.push([statePath, String(job.state)]);
    let error: string | undefined;
    let unanswered = writes.length;
    for (const [path, value] of writes) {
      transaction.write(path, value, (reply) => {
        if (!reply.ok) error ??= reply.error;
        unanswered -= 1;
        if (unanswered === 0) this.commit(job, transaction, error);
      });
    }
  }

  private commit(job: Job, transaction: XenstoreTransaction, error: string | undefined): void {
    if (this.running !== job || error !== undefined) {
      transaction.end(false, () => {});
      if (this.running === job) this.again(job, error ?? 'EIO');
      return;
    }
    transaction.end(true, (reply) => {
      if (this.running !== job) return;
      if (reply.ok) this.finish(job, 'written');
      else this.again(job, reply.error);
    });
  }

  private again(job: Job, error: string): void {
    if (RETRIED.has(error) && this.tries < MAX_TRIES) {
      this.attempt(job);
      return;
    }
    const message = `Cannot publish ${this.nodePath}: the store answers ${error}`;
    this.running = undefined;
    this.host.refused(new SplitringError('XENBUS_PUBLISH', message, { path: this.nodePath, error }));
  }

  private finish(job: Job, outcome: 'written' | 'overtaken'): void {
    this.running = undefined;
    if (outcome === 'overtaken') {
      this.jobs = [];
      this.host.overtaken();
      return;
    }
    if (job.state !== undefined) this.host.written(job.state);
    job.then?.();
    if (!this.running) this.next();
  }
}
