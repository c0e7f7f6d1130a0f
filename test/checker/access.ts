// What an access to watched memory is, and who decides about it.

/** One access to watched memory, about to happen. */
export interface SharedAccess {
  readonly kind: 'load' | 'store' | 'rmw';
  /** Made through `Atomics`. */
  readonly isAtomic: boolean;
  readonly buffer: SharedArrayBuffer;
  /** First byte and number of bytes touched. */
  readonly at: number;
  readonly bytes: number;
  /** Do it on the real memory and return what the code shall see. */
  readonly perform: () => unknown;
}

/** Who decides what an access does: let it happen, replay an old result, or throw to stop the code there. */
export interface Monitor {
  access(access: SharedAccess): unknown;
  wait(buffer: SharedArrayBuffer, at: number, load: () => unknown, expected: unknown, timeoutMs: number): string;
  /** Like `wait`, with the answer of `Atomics.waitAsync`; where it is missing, nobody awaits. */
  waitAsync?(
    buffer: SharedArrayBuffer,
    at: number,
    load: () => unknown,
    expected: unknown,
    timeoutMs: number,
  ): AsyncWait;
  notify(buffer: SharedArrayBuffer, at: number, count: number): number;
}

/** What `Atomics.waitAsync` answers. */
export type AsyncWait =
  | { readonly async: true; readonly value: Promise<string> }
  | { readonly async: false; readonly value: string };

let monitor: Monitor | undefined;

/** The real view behind each watched typed array. */
export const watchedTargets = new WeakMap<object, ArrayBufferView>();

/** The monitor in charge, if code is being observed. */
export function monitorInCharge(): Monitor | undefined {
  return monitor;
}

/** The monitor in charge, for watched views: they exist while code is observed only. */
export function currentMonitor(): Monitor {
  if (monitor === undefined) throw new Error('a watched view was used outside observe()');
  return monitor;
}

/** Put another monitor in charge: an explorer that runs several ends gives each its own. */
export function setMonitor(next: Monitor | undefined): void {
  monitor = next;
}
