// The end of a device: asked for politely, bounded by a deadline, and then taken away.
import { XenbusState } from '../io/xenbus-state.ts';
import type { Clock, Stepped } from '../stepped.ts';
import type { StoreCallback, StoreReply, XenstoreClient, XenstoreTransaction } from '../xenstore/client.ts';
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
  /** The guest's domain has ended: it counts as Closed, and only the back end is waited for. */
  readonly isFrontGone?: boolean;
}

/** How it ended: both ends closed, or taken away under one that did not. */
export type DetachOutcome = 'closed' | 'forced';

const DEFAULT_TIMEOUT_MS = 10_000;

/** Who serves the device now: what the toolstack wrote, read in the transaction that acts on it. */
interface Link {
  readonly back: string;
  readonly front: string;
  /** Names this attachment: another one is another device under the same id. */
  readonly attachment: string;
}

/**
 * Detach a device: `online` 0 and back state Closing in one transaction, wait for both ends to be Closed, remove the
 * directories; after the deadline (or at once if forced) remove them anyway. A device that moves to another driver
 * domain meanwhile is detached there. ENOENT if there is no such device.
 */
export function detachDevice(
  host: DetachHost,
  device: Pick<DeviceAttachment, 'type' | 'id' | 'front'>,
  options: DetachOptions,
  then: StoreCallback<DetachOutcome>,
): void {
  new Detach(host, devicePaths({ ...device, back: device.front }).own, options, then).start();
}

class Detach implements Stepped {
  private readonly host: DetachHost;
  /** The toolstack's own directory of the device. */
  private readonly own: string;
  private readonly report: StoreCallback<DetachOutcome>;
  private readonly isForced: boolean;
  private readonly isFrontGone: boolean;
  private readonly deadline: number;
  private link: Link | undefined;
  private endWatches: (() => void)[] = [];
  /** Several looks at once may find that the device has moved. */
  private isAsking = false;
  private isOver = false;

  constructor(host: DetachHost, own: string, options: DetachOptions, then: StoreCallback<DetachOutcome>) {
    this.host = host;
    this.own = own;
    this.report = then;
    this.isForced = options.isForced === true;
    this.isFrontGone = options.isFrontGone === true;
    this.deadline = host.clock.nowMs() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  }

  start(): void {
    if (this.isForced) {
      this.remove('forced');
      return;
    }
    this.host.add(this);
    this.ask();
  }

  poll(): boolean {
    if (this.isOver || this.host.clock.nowMs() < this.deadline) return false;
    this.remove('forced');
    return true;
  }

  deadlineMs(): number {
    return this.isOver ? Number.POSITIVE_INFINITY : this.deadline;
  }

  /** Tell the back end that serves the device now, and watch both ends let go. */
  private ask(): void {
    this.isAsking = true;
    for (const end of this.endWatches.splice(0)) end();
    let isServed = false;
    inTransaction(
      this.host.store,
      (transaction, done) => {
        this.readLink(transaction, done, ({ back, front }) => {
          if (this.isFrontGone) transaction.write(below(front, 'state'), String(XenbusState.Closed), () => {});
          const state = below(back, 'state');
          transaction.read(state, (reply) => {
            isServed = reply.ok;
            if (reply.ok)
              tellToClose(transaction, { back, isClosed: parseState(reply.value) === XenbusState.Closed }, done);
            else done();
          });
        });
      },
      (reply) => {
        this.isAsking = false;
        if (this.isOver) return;
        if (!reply.ok)
          this.end(this.link && reply.error === 'ENOENT' ? { ok: true, value: 'forced' } : reply); // gone under our hands is gone
        else if (!isServed)
          this.remove('forced'); // no back directory any more: its domain is gone
        else this.watchEnds();
      },
    );
  }

  private watchEnds(): void {
    const { link, host } = this;
    if (!link) return;
    const look = () => this.look();
    const watched = [below(link.back, 'state'), below(link.front, 'state'), below(this.own, 'backend')];
    this.endWatches = watched.map((path) => host.store.watch(path, look, 0));
  }

  /** Closed, or not there: an end that has let go. */
  private look(): void {
    const { store } = this.host;
    const { link } = this;
    if (!link) return;
    store.read(below(this.own, 'backend'), (current) => {
      store.read(below(link.back, 'state'), (back) => {
        store.read(below(link.front, 'state'), (front) => {
          if (this.isOver || this.isAsking || link !== this.link) return;
          const states = [back, front].map((reply) => parseState(reply.ok ? reply.value : undefined));
          const hasLetGo = (state: number | undefined) => state === XenbusState.Closed || state === XenbusState.Unknown;
          if (current.ok && current.value !== link.back) this.ask();
          else if (states.every(hasLetGo)) this.remove('closed');
        });
      });
    });
  }

  private remove(outcome: DetachOutcome): void {
    this.isOver = true;
    const known = this.link;
    inTransaction(
      this.host.store,
      (transaction, done) => {
        this.readLink(transaction, done, ({ back, front }) => {
          // A directory that is gone already, with its parent, is no error.
          transaction.remove(front, () => {});
          transaction.remove(back, () => {});
          transaction.remove(this.own, (reply) => done(reply.ok ? undefined : reply.error));
        });
      },
      (reply) => {
        const hasMoved = known !== undefined && known.back !== this.link?.back;
        if (reply.ok || (known && reply.error === 'ENOENT'))
          this.end({ ok: true, value: hasMoved ? 'forced' : outcome });
        else this.end(reply);
      },
    );
  }

  /** Read who serves the device; ENOENT if it is gone, or another one has been attached in its place. */
  private readLink(transaction: XenstoreTransaction, fail: (error: string) => void, then: (link: Link) => void): void {
    transaction.read(below(this.own, 'backend'), (back) => {
      transaction.read(below(this.own, 'frontend'), (front) => {
        transaction.read(below(this.own, 'attachment'), (attachment) => {
          if (!back.ok) fail(back.error);
          else if (!front.ok) fail(front.error);
          else if (!attachment.ok) fail(attachment.error);
          else if (this.link && this.link.attachment !== attachment.value) fail('ENOENT');
          else {
            this.link = { back: back.value, front: front.value, attachment: attachment.value };
            then(this.link);
          }
        });
      });
    });
  }

  private end(reply: StoreReply<DetachOutcome>): void {
    this.isOver = true;
    this.host.remove(this);
    for (const end of this.endWatches.splice(0)) end();
    this.report(reply);
  }
}

function tellToClose(
  transaction: XenstoreTransaction,
  { back, isClosed }: { readonly back: string; readonly isClosed: boolean },
  done: (error?: string) => void,
): void {
  transaction.write(below(back, 'online'), '0', () => {});
  if (isClosed) done();
  else
    transaction.write(below(back, 'state'), String(XenbusState.Closing), (written) =>
      done(written.ok ? undefined : written.error),
    );
}
