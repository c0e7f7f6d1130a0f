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
  /** Nothing is being written any more. */
  idle(): void;
}

interface Job {
  readonly entries: Readonly<Record<string, string | number>>;
  readonly state: XenbusStateValue | undefined;
  readonly then: (() => void) | undefined;
  /** Nobody wants it any more: it is given up where that is still possible, and reports nothing. */
  isAbandoned: boolean;
  /** The connection was lost while it was being committed: it may have succeeded. */
  isUncertain: boolean;
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
    this.jobs.push({ entries, state, then, isAbandoned: false, isUncertain: false });
    if (!this.running) this.next();
  }

  /** Forget what is queued and give up what is under way; what follows waits until that has ended either way. */
  cancel(): void {
    this.jobs = [];
    if (this.running) this.running.isAbandoned = true;
  }

  private next(): void {
    this.running = this.jobs.shift();
    this.tries = 0;
    if (this.running) this.attempt(this.running);
    else this.host.idle();
  }

  private attempt(job: Job): void {
    this.tries += 1;
    this.store.transaction((reply) => {
      if (reply.ok) this.check(job, reply.value);
      else this.again(job, reply.error);
    });
  }

  /** Read our state first: what was deleted is not created again, what somebody else has set is not overwritten. */
  private check(job: Job, transaction: XenstoreTransaction): void {
    const statePath = below(this.nodePath, 'state');
    transaction.read(statePath, (current) => {
      const expected = this.host.expected();
      const found = current.ok ? parseState(current.value) : undefined;
      const isDone = job.isUncertain && job.state !== undefined && found === job.state;
      const hasEntries = Object.keys(job.entries).length > 0;
      const isNothing = !hasEntries && (job.state === undefined || job.state === expected);
      if (!job.isAbandoned && !isDone && !isNothing && found === expected) {
        this.writeAll(job, transaction, statePath);
        return;
      }
      transaction.end(false, () => {});
      if (isDone || found === expected) this.finish(job, isDone || isNothing);
      else this.overtaken(job);
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
    if (job.isAbandoned || error !== undefined) {
      transaction.end(false, () => {});
      this.again(job, error ?? 'EAGAIN');
      return;
    }
    transaction.end(true, (reply) => {
      if (reply.ok) {
        this.finish(job, true);
        return;
      }
      job.isUncertain = reply.error === 'ECONNRESET';
      this.again(job, reply.error);
    });
  }

  private again(job: Job, error: string): void {
    if (job.isAbandoned && !job.isUncertain) {
      this.finish(job, false);
    } else if (RETRIED.has(error) && this.tries < MAX_TRIES) {
      this.attempt(job);
    } else {
      this.running = undefined;
      this.jobs = [];
      const message = `Cannot publish ${this.nodePath}: the store answers ${error}`;
      this.host.refused(new SplitringError('XENBUS_PUBLISH', message, { path: this.nodePath, error }));
    }
  }

  private overtaken(job: Job): void {
    this.running = undefined;
    if (!job.isAbandoned) this.jobs = [];
    this.host.overtaken();
    if (!this.running) this.next();
  }

  private finish(job: Job, isWritten: boolean): void {
    this.running = undefined;
    if (isWritten && job.state !== undefined) this.host.written(job.state);
    if (isWritten && !job.isAbandoned) job.then?.();
    if (!this.running) this.next();
  }
}
