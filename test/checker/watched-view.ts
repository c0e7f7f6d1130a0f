// Views that report each access: a DataView and typed arrays of every kind.
import { currentMonitor, watchedTargets } from './access.ts';

type RealArray = Int32Array | BigInt64Array;
type Element = number | bigint;

const RealDataView = DataView;
const WIDTHS = {
  Int8: 1,
  Uint8: 1,
  Int16: 2,
  Uint16: 2,
  Int32: 4,
  Uint32: 4,
  Float32: 4,
  Float64: 8,
  BigInt64: 8,
  BigUint64: 8,
} as const;

/** A DataView whose every get and set is one reported access. */
export class WatchedDataView {
  declare readonly buffer: ArrayBufferLike;
  declare readonly byteOffset: number;
  declare readonly byteLength: number;
  declare readonly real: DataView;

  constructor(real: DataView) {
    // Defined, not assigned: DataView.prototype has getters of these names, which know real views only.
    const { buffer, byteOffset, byteLength } = real;
    for (const [name, value] of Object.entries({ real, buffer, byteOffset, byteLength })) {
      Object.defineProperty(this, name, { value });
    }
  }
}

Object.setPrototypeOf(WatchedDataView.prototype, RealDataView.prototype);
for (const [type, bytes] of Object.entries(WIDTHS)) {
  const getter = `get${type}` as 'getInt32'; // all getters have one signature, up to bigint
  const setter = `set${type}` as 'setInt32';
  Object.defineProperty(WatchedDataView.prototype, getter, {
    value(this: WatchedDataView, at: number, isLittle?: boolean) {
      return report('load', false, this.real, this.byteOffset + at, bytes, () => this.real[getter](at, isLittle));
    },
  });
  Object.defineProperty(WatchedDataView.prototype, setter, {
    value(this: WatchedDataView, at: number, value: number, isLittle?: boolean) {
      return report('store', false, this.real, this.byteOffset + at, bytes, () =>
        this.real[setter](at, value, isLittle),
      );
    },
  });
}

/** Report one access to the monitor in charge and return what it decides. */
export function report(
  kind: 'load' | 'store' | 'rmw',
  isAtomic: boolean,
  view: ArrayBufferView,
  at: number,
  bytes: number,
  perform: () => unknown,
): unknown {
  // Only views over watched SharedArrayBuffers get here.
  return currentMonitor().access({ kind, isAtomic, buffer: view.buffer as SharedArrayBuffer, at, bytes, perform });
}

/** Wrap a typed array over a watched buffer: every element read or written is one reported access. */
export function makeWatchedArray(view: ArrayBufferView): object {
  const real = view as RealArray; // a typed array of some kind
  const bytes = real.BYTES_PER_ELEMENT;
  const at = (index: number) => real.byteOffset + index * bytes;
  const read = (index: number) =>
    index < real.length ? (report('load', false, real, at(index), bytes, () => real[index]) as Element) : undefined;
  const write = (index: number, value: Element) => {
    if (index < real.length) report('store', false, real, at(index), bytes, () => put(real, index, value));
  };
  const methods = arrayMethods(real, read, write);
  const proxy = new Proxy(real, {
    get(target, key) {
      const index = indexOf(key);
      if (index !== undefined) return read(index);
      if (Object.hasOwn(methods, key)) return methods[key as string];
      const value = Reflect.get(target, key, target) as unknown;
      if (typeof value !== 'function' || key === 'constructor') return value;
      // Any other method reads: give it a private copy, taken element by element.
      return (...args: unknown[]) => Reflect.apply(value, copyOf(real, read), args) as unknown;
    },
    set(_target, key, value) {
      const index = indexOf(key);
      if (index !== undefined) write(index, value as Element);
      return true;
    },
  });
  watchedTargets.set(proxy, real);
  return proxy;
}

/** The methods that write or make a new view; the rest is served from a copy. */
function arrayMethods(
  real: RealArray,
  read: (index: number) => Element | undefined,
  write: (index: number, value: Element) => void,
): Record<string, unknown> {
  const bounds = (start = 0, end = real.length) => {
    const clamp = (n: number) => (n < 0 ? Math.max(0, real.length + n) : Math.min(n, real.length));
    return [clamp(start), Math.max(clamp(start), clamp(end))] as const;
  };
  return {
    set(source: ArrayLike<Element>, offset = 0) {
      if (offset + source.length > real.length) throw new RangeError('offset is out of bounds');
      for (let i = 0; i < source.length; i += 1) write(offset + i, source[i] as Element); // in range
    },
    fill(value: Element, start?: number, end?: number) {
      const [from, to] = bounds(start, end);
      for (let i = from; i < to; i += 1) write(i, value);
    },
    copyWithin(target: number, start?: number, end?: number) {
      const [from, to] = bounds(start, end);
      for (let i = from; i < to; i += 1) write(target + i - from, read(i) as Element); // in range
    },
    subarray(start?: number, end?: number) {
      const [from, to] = bounds(start, end);
      return makeWatchedArray(real.subarray(from, to));
    },
  };
}

function copyOf(real: RealArray, read: (index: number) => Element | undefined): RealArray {
  const copy = new (real.constructor as Int32ArrayConstructor)(real.length);
  for (let i = 0; i < real.length; i += 1) put(copy, i, read(i) as Element); // in range
  return copy;
}

function put(array: RealArray, index: number, value: Element): void {
  (array as Record<number, unknown>)[index] = value; // number or bigint, as the kind of array wants
}

function indexOf(key: string | symbol): number | undefined {
  if (typeof key !== 'string') return undefined;
  const first = key.charCodeAt(0);
  return first >= 48 && first <= 57 ? Number(key) : undefined;
}
