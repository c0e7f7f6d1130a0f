// What the toolstack writes into the store: a domain's home, a device's two directories and its own copy of the link.
import type { DomId } from '../ids.ts';
import { XenbusState } from '../io/xenbus-state.ts';
import type { StoreCallback, StoreReply, XenstoreClient, XenstoreTransaction } from '../xenstore/client.ts';
import { domainPath } from '../xenstore/path.ts';
import { below } from './keys.ts';

/** A device of a guest and who serves it. */
export interface DeviceAttachment {
  /** `vbd`, `vif` … */
  readonly type: string;
  /** The device's number in its guest. */
  readonly id: string;
  /** The guest. */
  readonly front: DomId;
  /** The driver domain. */
  readonly back: DomId;
  /** More keys for the front directory (`virtual-device`, `mac` …). */
  readonly frontKeys?: Readonly<Record<string, string | number>>;
  /** More keys for the back directory (`params`, `mode`, `bridge` …). */
  readonly backKeys?: Readonly<Record<string, string | number>>;
}

/** Where a device lives in the store. */
export interface DevicePaths {
  /** The guest's directory. */
  readonly front: string;
  /** The driver domain's. */
  readonly back: string;
  /** The toolstack's own, unreadable to both: the only one it trusts (XSA-175, XSA-178). */
  readonly own: string;
}

/** The three directories of a device. */
export function devicePaths(device: Pick<DeviceAttachment, 'type' | 'id' | 'front' | 'back'>): DevicePaths {
  const { type, id, front, back } = device;
  return {
    front: `${domainPath(front)}/device/${type}/${id}`,
    back: `${domainPath(back)}/backend/${type}/${front}/${id}`,
    own: `/libxl/${front}/device/${type}/${id}`,
  };
}

/** Tries before a conflict is reported. */
const MAX_TRIES = 64;

/**
 * Run `work` in a transaction until it commits; work that fails gives the transaction up.
 * `work` queues its operations and calls `done` with the first error, or none.
 */
export function inTransaction(
  store: XenstoreClient,
  work: (transaction: XenstoreTransaction, done: (error?: string) => void) => void,
  then: StoreCallback<void>,
  tries = MAX_TRIES,
): void {
  const again = (reply: StoreReply<unknown>) => {
    if (reply.ok) then({ ok: true, value: undefined });
    else if (reply.error === 'EAGAIN' && tries > 1) inTransaction(store, work, then, tries - 1);
    else then(reply);
  };
  store.transaction((reply) => {
    if (!reply.ok) {
      again(reply);
      return;
    }
    const transaction = reply.value;
    work(transaction, (error) => {
      if (error === undefined) transaction.end(true, again);
      else transaction.end(false, () => again({ ok: false, error }));
    });
  });
}

/** Collects the answers of several operations and reports the first error once all have come. */
class Answers {
  private expected = 1;
  private error: string | undefined;
  private next: (() => void) | undefined;
  private readonly done: (error?: string) => void;

  constructor(done: (error?: string) => void) {
    this.done = done;
  }

  /** A callback for one more operation. */
  readonly take = (): StoreCallback<void> => {
    this.expected += 1;
    return (reply) => this.settle(reply.ok ? undefined : reply.error);
  };

  /** No more operations: report when all have been answered. */
  end(): void {
    this.settle(undefined);
  }

  /** Once all so far have been answered, queue more with `next`, and report when those have. */
  afterwards(next: () => void): void {
    this.next = next;
    this.settle(undefined);
  }

  private settle(error: string | undefined): void {
    this.error ??= error;
    this.expected -= 1;
    if (this.expected > 0) return;
    const { next } = this;
    this.next = undefined;
    if (!next || this.error !== undefined) {
      this.done(this.error);
      return;
    }
    this.expected = 1;
    next();
    this.settle(undefined);
  }
}

function writeDirectory(
  transaction: XenstoreTransaction,
  answers: Answers,
  path: string,
  permissions: readonly string[],
  keys: Readonly<Record<string, string | number>>,
): void {
  transaction.write(path, '', answers.take());
  transaction.setPermissions(path, permissions, answers.take());
  for (const [key, value] of Object.entries(keys)) transaction.write(below(path, key), String(value), answers.take());
}

/**
 * Write the home of a new domain: what it may read, and the few directories it may write in.
 * The domain has to be created, so that its id is settled, and not yet introduced.
 */
export function prepareDomain(store: XenstoreClient, domid: DomId, name: string, then: StoreCallback<void>): void {
  const home = domainPath(domid);
  const theirs = [`n${domid}`];
  inTransaction(
    store,
    (transaction, done) => {
      const answers = new Answers(done);
      writeDirectory(transaction, answers, home, ['n0', `r${domid}`], { name, domid });
      writeDirectory(transaction, answers, below(home, 'device'), ['n0', `r${domid}`], {});
      for (const key of ['backend', 'error', 'data', 'feature']) {
        writeDirectory(transaction, answers, below(home, key), theirs, {});
      }
      writeDirectory(transaction, answers, `/libxl/${domid}`, ['n0'], {});
      answers.end();
    },
    then,
  );
}

/**
 * Remove what was written for a domain that is gone: its home, and the back directories of its devices in whatever
 * driver domains served them. The server has purged the rest.
 */
export function forgetDomain(store: XenstoreClient, domid: DomId, then: StoreCallback<void>): void {
  const own = `/libxl/${domid}`;
  inTransaction(
    store,
    (transaction, done) => {
      const answers = new Answers(done);
      eachBelow(transaction, answers, `${own}/device`, 2, (device) => {
        const removed = answers.take();
        transaction.read(below(device, 'backend'), (back) => {
          if (back.ok) transaction.remove(back.value, () => {}); // purged already if its domain is gone, too
          removed({ ok: true, value: undefined });
        });
      });
      answers.afterwards(() => {
        transaction.remove(domainPath(domid), answers.take());
        transaction.remove(own, answers.take());
      });
    },
    then,
  );
}

/** Visit the nodes `levels` below `path`; what is not there has nothing below it. */
function eachBelow(
  transaction: XenstoreTransaction,
  answers: Answers,
  path: string,
  levels: number,
  visit: (path: string) => void,
): void {
  const listed = answers.take();
  transaction.directory(path, (reply) => {
    for (const name of reply.ok ? reply.value : []) {
      if (levels === 1) visit(below(path, name));
      else eachBelow(transaction, answers, below(path, name), levels - 1, visit);
    }
    listed({ ok: true, value: undefined });
  });
}

/**
 * Attach a device: both directories, each end's state Initialising, and our own copy, in one transaction.
 * EEXIST if the guest has a device of this type and id.
 */
export function attachDevice(store: XenstoreClient, device: DeviceAttachment, then: StoreCallback<void>): void {
  const paths = devicePaths(device);
  inTransaction(
    store,
    (transaction, done) => {
      transaction.read(below(paths.own, 'backend'), (existing) => {
        if (existing.ok) done('EEXIST');
        else writeAttachment(transaction, device, paths, done);
      });
    },
    then,
  );
}

function writeAttachment(
  transaction: XenstoreTransaction,
  device: DeviceAttachment,
  paths: DevicePaths,
  done: (error?: string) => void,
): void {
  const counter = '/libxl/attachments';
  transaction.read(counter, (last) => {
    const attachment = Number(last.ok ? last.value : 0) + 1;
    const answers = new Answers(done);
    const { front, back } = device;
    transaction.remove(paths.front, () => {}); // what was left there had permissions of its own
    transaction.remove(paths.back, () => {});
    transaction.write(counter, String(attachment), answers.take());
    writeDirectory(transaction, answers, paths.own, ['n0'], {
      frontend: paths.front,
      backend: paths.back,
      'backend-id': back,
      attachment,
    });
    writeDirectory(transaction, answers, paths.back, [`n${back}`, `r${front}`], {
      ...device.backKeys,
      attachment,
      ...backLink(device, paths),
    });
    writeDirectory(transaction, answers, paths.front, [`n${front}`, `r${back}`], {
      ...device.frontKeys,
      backend: paths.back,
      'backend-id': back,
      attachment,
      state: XenbusState.Initialising,
    });
    answers.end();
  });
}

function backLink(device: DeviceAttachment, paths: DevicePaths): Record<string, string | number> {
  return { frontend: paths.front, 'frontend-id': device.front, online: 1, state: XenbusState.Initialising };
}

/**
 * Give a device to another (or a restarted) driver domain: new back directory, front end told to begin anew, all in one
 * transaction. It stays the same attachment, so the front end keeps its driver and what it has in flight.
 * ENOENT if the guest has no such device.
 */
export function reattachDevice(store: XenstoreClient, device: DeviceAttachment, then: StoreCallback<void>): void {
  const paths = devicePaths(device);
  const attachmentKey = below(paths.own, 'attachment');
  inTransaction(
    store,
    (transaction, done) => {
      transaction.read(attachmentKey, (attachment) => {
        transaction.read(below(paths.own, 'backend'), (old) => {
          if (!attachment.ok) done(attachment.error);
          else if (!old.ok) done(old.error);
          else moveAttachment(transaction, device, paths, { old: old.value, attachment: attachment.value }, done);
        });
      });
    },
    then,
  );
}

function moveAttachment(
  transaction: XenstoreTransaction,
  device: DeviceAttachment,
  paths: DevicePaths,
  is: { readonly old: string; readonly attachment: string },
  done: (error?: string) => void,
): void {
  const answers = new Answers(done);
  const { front, back } = device;
  transaction.remove(is.old, () => {}); // purged already if its domain is gone
  writeDirectory(transaction, answers, paths.back, [`n${back}`, `r${front}`], {
    ...device.backKeys,
    attachment: is.attachment,
    ...backLink(device, paths),
  });
  writeDirectory(transaction, answers, paths.own, ['n0'], { backend: paths.back, 'backend-id': back });
  const link = { backend: paths.back, 'backend-id': back, state: XenbusState.Initialising };
  for (const [key, value] of Object.entries(link)) {
    transaction.write(below(paths.front, key), String(value), answers.take());
  }
  permitBelow(transaction, answers, paths.front, [`n${front}`, `r${back}`]);
  answers.end();
}

/** Give a directory and all below it one list: what the front end wrote before names the old back end. */
function permitBelow(
  transaction: XenstoreTransaction,
  answers: Answers,
  path: string,
  permissions: readonly string[],
): void {
  transaction.setPermissions(path, permissions, answers.take());
  const listed = answers.take();
  transaction.directory(path, (reply) => {
    for (const name of reply.ok ? reply.value : []) permitBelow(transaction, answers, below(path, name), permissions);
    listed(reply.ok ? { ok: true, value: undefined } : reply);
  });
}
