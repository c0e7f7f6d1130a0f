// The end of a device: asked for politely, bounded by a deadline, and then taken away.
import { XenbusState } from '../io/xenbus-state.ts';
import type { Clock, Stepped } from '../stepped.ts';
import type { StoreCallback, XenstoreClient } from '../xenstore/client.ts';
import { below, parseState } from './keys.ts';
import { type DeviceAttachment, devicePaths, inTransaction } from './toolstack.ts';

/** What detaching needs of whoever runs it: dom0's kernel has all of it. */
export interface DetachHost {
  /** Privileged. */
  readonly store: XenstoreClient;
  /** Time, for the deadline. */
  readonly clock: Clock;
  /** Have a machine polled. */
  add(machine: Stepped): void;
  /** Stop polling it. */
  remove(machine: Stepped): void;
}

/** How long to be polite. */
export interface DetachOptions {
  /** Wait this long for both ends to be Closed; libxl waits 10 000. */
  readonly timeoutMs?: number;
  /** Do not wait at all. */
  readonly isForced?: boolean;
}

/** How it ended: both ends closed, or taken away under one that did not. */
export type DetachOutcome = 'closed' | 'forced';

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Detach a device: `online` 0 and back state Closing in one transaction, wait for both ends to be Closed, remove the
 * directories; after the deadline (or at once if forced) remove them anyway. ENOENT if there is no such device.
 */
export function detachDevice(
  host: DetachHost,
  device: Pick<DeviceAttachment, 'type' | 'id' | 'front'>,
  options: DetachOptions,
  then: StoreCallback<DetachOutcome>,
): void {
  const own = devicePaths({ ...device, back: device.front }).own;
  host.store.read(below(own, 'backend'), (back) => {
    host.store.read(below(own, 'frontend'), (front) => {
      if (!back.ok) then(back);
      else if (!front.ok) then(front);
      else new Detach(host, { own, back: back.value, front: front.value }, options, then).start();
    });
  });
}

class Detach implements Stepped {
  private readonly host: DetachHost;
  private readonly paths: { readonly own: string; readonly back: string; readonly front: string };
  private readonly report: StoreCallback<DetachOutcome>;
  private readonly isForced: boolean;
  private readonly deadline: number;
  private endWatches: (() => void)[] = [];
  private isOver = false;

  constructor(
    host: DetachHost,
    paths: { readonly own: string; readonly back: string; readonly front: string },
    options: DetachOptions,
    then: StoreCallback<DetachOutcome>,
  ) {
    this.host = host;
    this.paths = paths;
    this.report = then;
    this.isForced = options.isForced === true;
    this.deadline = host.clock.nowMs() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  }

  start(): void {
    if (this.isForced) {
      this.remove('forced');
      return;
    }
    this.host.add(this);
    const { back, front } = this.paths;
    inTransaction(
      this.host.store,
      (transaction, done) => {
        const state = below(back, 'state');
        transaction.read(state, (reply) => {
          if (!reply.ok) {
            done(reply.error);
            return;
          }
          transaction.write(below(back, 'online'), '0', () => {});
          if (parseState(reply.value) === XenbusState.Closed) done();
          else
            transaction.write(state, String(XenbusState.Closing), (written) =>
              done(written.ok ? undefined : written.error),
            );
        });
      },
      (reply) => {
        if (this.isOver) return;
        if (!reply.ok) {
          this.remove('forced'); // no back directory any more: its domain is gone
          return;
        }
        const look = () => this.look();
        this.endWatches = [back, front].map((path) => this.host.store.watch(below(path, 'state'), look, 0));
      },
    );
  }

  poll(): boolean {
    if (this.isOver || this.host.clock.nowMs() < this.deadline) return false;
    this.remove('forced');
    return true;
  }

  deadlineMs(): number {
    return this.isOver ? Number.POSITIVE_INFINITY : this.deadline;
  }

  /** Closed, or not there: an end that has let go. */
  private look(): void {
    const { store } = this.host;
    store.read(below(this.paths.back, 'state'), (back) => {
      store.read(below(this.paths.front, 'state'), (front) => {
        const states = [back, front].map((reply) => parseState(reply.ok ? reply.value : undefined));
        const hasLetGo = (state: number | undefined) => state === XenbusState.Closed || state === XenbusState.Unknown;
        if (!this.isOver && states.every(hasLetGo)) this.remove('closed');
      });
    });
  }

  private remove(outcome: DetachOutcome): void {
    this.isOver = true;
    this.host.remove(this);
    for (const end of this.endWatches) end();
    const { own, back, front } = this.paths;
    inTransaction(
      this.host.store,
      (transaction, done) => {
        // A directory that is gone already, with its parent, is no error.
        transaction.remove(front, () => {});
        transaction.remove(back, () => {});
        transaction.remove(own, (reply) => done(reply.ok ? undefined : reply.error));
      },
      (reply) => this.report(reply.ok ? { ok: true, value: outcome } : reply),
    );
  }
}
