// Observe every access that shipped code makes to shared memory: atomic, plain, hint, slot byte.
//
// While `observe` runs, the globals `Atomics`, `DataView` and the typed arrays are replaced: a view made over a watched
// SharedArrayBuffer reports each access to the monitor before it happens; all other memory works as ever. The code under
// test is the shipped code, unchanged; it must only make its views inside `observe` and not keep `Atomics.load` aside.
import { type Monitor, monitorInCharge, setMonitor, watchedTargets } from './access.ts';
import { watchedAtomics } from './watched-atomics.ts';
import { makeWatchedArray, WatchedDataView } from './watched-view.ts';

type AnyConstructor = new (...args: never[]) => object;

const ARRAYS = [
  'Int8Array',
  'Uint8Array',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const;

const globals = globalThis as unknown as Record<string, unknown>; // the globals are replaced by name
let isWatched: (buffer: SharedArrayBuffer) => boolean = () => false;

/**
 * Run `body` (synchronous) with all accesses to the watched buffers reported to `first`.
 *
 * @param watched which buffers to watch: a list, or a predicate (`() => true` for every SharedArrayBuffer).
 */
export function observe<T>(
  first: Monitor,
  watched: readonly SharedArrayBuffer[] | ((buffer: SharedArrayBuffer) => boolean),
  body: () => T,
): T {
  const restore = replaceGlobals(first, watched);
  try {
    return body();
  } finally {
    restore();
  }
}

/**
 * `observe` for a `body` that awaits. Nothing else on this thread may touch the watched buffers meanwhile. Rejections that
 * nobody handles are left to the listeners that `body` adds.
 */
export async function observeLoops<T>(
  first: Monitor,
  watched: readonly SharedArrayBuffer[],
  body: () => Promise<T>,
): Promise<T> {
  const restore = replaceGlobals(first, watched);
  const listeners = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  try {
    return await body();
  } finally {
    for (const listener of listeners) process.on('unhandledRejection', listener);
    restore();
  }
}

function replaceGlobals(
  first: Monitor,
  watched: readonly SharedArrayBuffer[] | ((buffer: SharedArrayBuffer) => boolean),
): () => void {
  if (monitorInCharge() !== undefined) throw new Error('observe() does not nest');
  const saved = new Map<string, unknown>();
  const replace = (name: string, value: unknown) => {
    saved.set(name, globals[name]);
    globals[name] = value;
  };
  const isView = ArrayBuffer.isView;
  isWatched = typeof watched === 'function' ? watched : (buffer) => watched.includes(buffer);
  setMonitor(first);
  for (const name of ARRAYS) replace(name, constructorOf(globals[name] as AnyConstructor, makeWatchedArray));
  replace(
    'DataView',
    constructorOf(DataView as unknown as AnyConstructor, (real) => new WatchedDataView(real as DataView)),
  );
  replace('Atomics', watchedAtomics);
  ArrayBuffer.isView = (value): value is ArrayBufferView =>
    isView(value) || value instanceof WatchedDataView || isProxy(value);
  return () => {
    for (const [name, value] of saved) globals[name] = value;
    ArrayBuffer.isView = isView;
    setMonitor(undefined);
  };
}

/** A constructor that makes real views, and wraps those over watched buffers; equal ones are made once: ends are rebuilt often. */
function constructorOf(real: AnyConstructor, wrap: (view: ArrayBufferView) => object): AnyConstructor {
  const made = new Map<unknown, Map<string, object>>();
  return new Proxy(real, {
    construct(target, args: unknown[]) {
      const [buffer, offset, length] = args;
      if (!(buffer instanceof SharedArrayBuffer) || !isWatched(buffer))
        return Reflect.construct(target, args) as object;
      const views = made.get(buffer) ?? new Map<string, object>();
      made.set(buffer, views);
      const key = `${String(offset)}+${String(length)}`;
      const view = views.get(key) ?? wrap(Reflect.construct(target, args) as ArrayBufferView);
      views.set(key, view);
      return view;
    },
  });
}

function isProxy(value: unknown): boolean {
  return typeof value === 'object' && value !== null && watchedTargets.has(value);
}
