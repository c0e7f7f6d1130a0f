// The `Atomics` that shipped code meets inside `observe`: reported for watched views, the real one for all others.
import { currentMonitor, watchedTargets } from './access.ts';
import { report } from './watched-view.ts';

const real = Atomics;

/** The real view and the byte offset of element `index`, if `view` is watched. */
function locate(view: object, index: number): { target: Int32Array; at: number } | undefined {
  const target = watchedTargets.get(view) as Int32Array | undefined; // any integer kind: the calls below fit all
  return target === undefined ? undefined : { target, at: target.byteOffset + index * target.BYTES_PER_ELEMENT };
}

function rmw(name: 'add' | 'sub' | 'and' | 'or' | 'xor' | 'exchange') {
  return (view: Int32Array, index: number, value: number) => {
    const found = locate(view, index);
    if (found === undefined) return real[name](view, index, value);
    const { target, at } = found;
    return report('rmw', true, target, at, target.BYTES_PER_ELEMENT, () => real[name](target, index, value));
  };
}

/** Stand-in for the global `Atomics`. */
export const watchedAtomics = {
  load(view: Int32Array, index: number) {
    const found = locate(view, index);
    if (found === undefined) return real.load(view, index);
    const { target, at } = found;
    return report('load', true, target, at, target.BYTES_PER_ELEMENT, () => real.load(target, index));
  },
  store(view: Int32Array, index: number, value: number) {
    const found = locate(view, index);
    if (found === undefined) return real.store(view, index, value);
    const { target, at } = found;
    return report('store', true, target, at, target.BYTES_PER_ELEMENT, () => real.store(target, index, value));
  },
  compareExchange(view: Int32Array, index: number, expected: number, value: number) {
    const found = locate(view, index);
    if (found === undefined) return real.compareExchange(view, index, expected, value);
    const { target, at } = found;
    const perform = () => real.compareExchange(target, index, expected, value);
    return report('rmw', true, target, at, target.BYTES_PER_ELEMENT, perform);
  },
  add: rmw('add'),
  sub: rmw('sub'),
  and: rmw('and'),
  or: rmw('or'),
  xor: rmw('xor'),
  exchange: rmw('exchange'),
  wait(view: Int32Array, index: number, expected: number, timeoutMs = Number.POSITIVE_INFINITY) {
    const found = locate(view, index);
    if (found === undefined) return real.wait(view, index, expected, timeoutMs);
    const { target, at } = found;
    // Watched views lie over SharedArrayBuffers.
    const buffer = target.buffer as unknown as SharedArrayBuffer;
    return currentMonitor().wait(buffer, at, () => real.load(target, index), expected, timeoutMs);
  },
  waitAsync(view: Int32Array, index: number, expected: number, timeoutMs = Number.POSITIVE_INFINITY) {
    const found = locate(view, index);
    if (found === undefined) return real.waitAsync(view, index, expected, timeoutMs);
    const { target, at } = found;
    const monitor = currentMonitor();
    if (monitor.waitAsync === undefined)
      throw new Error('Cannot await here: the code under observation is synchronous');
    const buffer = target.buffer as unknown as SharedArrayBuffer; // as above
    return monitor.waitAsync(buffer, at, () => real.load(target, index), expected, timeoutMs);
  },
  notify(view: Int32Array, index: number, count = Number.POSITIVE_INFINITY) {
    const found = locate(view, index);
    if (found === undefined) return real.notify(view, index, count);
    return currentMonitor().notify(found.target.buffer as unknown as SharedArrayBuffer, found.at, count); // as above
  },
  isLockFree: (bytes: number) => real.isLockFree(bytes),
};
