// Structs declared once: a table of typed fields yields sizes, C offsets, readers and writers over a DataView.
// hot path: as fast as hand-written DataView code; one closure per field, no lookup by name while running.
import { RingError } from './error.ts';

/** One kind of field: its size, its alignment, and how it is read and written (little-endian). */
export interface FieldType<T> {
  /** Bytes it occupies. */
  readonly sizeof: number;
  /** Alignment in bytes, as a C compiler chooses it on x86-64. */
  readonly align: number;
  /** Make a reader for a field at `offset` of a struct. */
  reader(offset: number): (view: DataView, base: number) => T;
  /** Make a writer for a field at `offset` of a struct. */
  writer(offset: number): (view: DataView, base: number, value: T) => void;
  /** A fresh empty value. */
  empty(): T;
  /** `true` if the field has two 32-bit halves. */
  readonly hasHalves?: boolean;
}

/** The TypeScript type that a field type reads and writes. */
export type FieldValue<F> = F extends FieldType<infer T> ? T : never;
/** Fields of a struct, in the order of declaration. */
// `any` because FieldType is invariant in its value: `unknown` would refuse every concrete field.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Fields = Readonly<Record<string, FieldType<any>>>;
/** One value per field: what `read` fills and `write` takes. */
export type StructValues<F extends Fields> = { -readonly [K in keyof F]: FieldValue<F[K]> };

/** Reads one field of a struct that starts at byte `base`. */
export type FieldReader<T> = (view: DataView, base: number) => T;
/** Writes one field of a struct that starts at byte `base`. */
export type FieldWriter<T> = (view: DataView, base: number, value: T) => void;
type HalfKeys<F extends Fields> = { [K in keyof F]: F[K] extends { readonly hasHalves: true } ? K : never }[keyof F];

/** A declared struct: a field type itself, so that structs nest. */
export interface Struct<F extends Fields> extends FieldType<StructValues<F>> {
  /** Byte offset of every field. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** One reader per field: `layout.get.id(view, base)`. Reads shared memory exactly once. */
  readonly get: { readonly [K in keyof F]: FieldReader<FieldValue<F[K]>> };
  /** One writer per field: `layout.set.id(view, base, value)`. */
  readonly set: { readonly [K in keyof F]: FieldWriter<FieldValue<F[K]>> };
  /** Readers of the low 32 bits of u64 fields: opaque ids need no Number. */
  readonly low: { readonly [K in HalfKeys<F>]: FieldReader<number> };
  /** Readers of the high 32 bits of u64 fields. */
  readonly high: { readonly [K in HalfKeys<F>]: FieldReader<number> };
  /**
   * Fill `into` with every field at `base`, allocating nothing for numbers. Returns `into`. Convenient, but each field is
   * stored by name (20 ns): loops over requests use `get`, which costs what hand-written code does.
   */
  read(view: DataView, base: number, into: StructValues<F>): StructValues<F>;
  /** Write every field of `values` at `base`; padding bytes are left as they are (see `clear`). For loops there is `set`. */
  write(view: DataView, base: number, values: Readonly<StructValues<F>>): void;
  /** Write zero to every byte at `base`, padding too, so that nothing old leaks. */
  clear(view: DataView, base: number): void;
  /** A fresh scratch object for `read`. */
  create(): StructValues<F>;
}

const TWO_32 = 0x1_0000_0000;
const HIGH_LIMIT = 0x20_0000; // a high half below 2^21 keeps the value below 2^53

function numeric(sizeof: number, reader: FieldType<number>['reader'], writer: FieldType<number>['writer']) {
  return { sizeof, align: sizeof, reader, writer, empty: () => 0 } satisfies FieldType<number>;
}

/** Unsigned 8-bit field. */
export const u8: FieldType<number> = numeric(
  1,
  (offset) => (view, base) => view.getUint8(base + offset),
  (offset) => (view, base, value) => view.setUint8(base + offset, value),
);
/** Unsigned 16-bit field. */
export const u16: FieldType<number> = numeric(
  2,
  (offset) => (view, base) => view.getUint16(base + offset, true),
  (offset) => (view, base, value) => view.setUint16(base + offset, value, true),
);
/** Signed 16-bit field. */
export const i16: FieldType<number> = numeric(
  2,
  (offset) => (view, base) => view.getInt16(base + offset, true),
  (offset) => (view, base, value) => view.setInt16(base + offset, value, true),
);
/** Unsigned 32-bit field. */
export const u32: FieldType<number> = numeric(
  4,
  (offset) => (view, base) => view.getUint32(base + offset, true),
  (offset) => (view, base, value) => view.setUint32(base + offset, value, true),
);
/** Signed 32-bit field. */
export const i32: FieldType<number> = numeric(
  4,
  (offset) => (view, base) => view.getInt32(base + offset, true),
  (offset) => (view, base, value) => view.setInt32(base + offset, value, true),
);

/**
 * Unsigned 64-bit field as a Number. A value of 2^53 or more reads as NaN, which no range check lets through; writing
 * one that is no safe integer throws RingError `STRUCT_RANGE`.
 */
export const u64: FieldType<number> & { readonly hasHalves: true } = {
  ...numeric(
    8,
    (offset) => (view, base) => {
      const high = view.getUint32(base + offset + 4, true);
      const low = view.getUint32(base + offset, true);
      return high === 0 ? low : high < HIGH_LIMIT ? high * TWO_32 + low : Number.NaN;
    },
    (offset) => (view, base, value) => {
      if (value >>> 0 !== value) return writeWide(view, base + offset, value);
      view.setUint32(base + offset, value, true);
      view.setUint32(base + offset + 4, 0, true);
    },
  ),
  hasHalves: true,
};

/** Write a value that does not fit 32 bits; out of the hot path. */
function writeWide(view: DataView, at: number, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) {
    view.setUint32(at, value >>> 0, true);
    view.setUint32(at + 4, value / TWO_32, true);
    return;
  }
  throw new RingError('STRUCT_RANGE', `Cannot write ${value} to a 64-bit field: not in 0 to 2^53 - 1`, { value });
}

/** Field of `sizeof` raw bytes. Reading copies them to a fresh array; writing pads with zeros or cuts. */
export function bytes(sizeof: number): FieldType<Uint8Array> {
  return {
    sizeof,
    align: 1,
    reader: (offset) => (view, base) =>
      new Uint8Array(view.buffer, view.byteOffset + base + offset, sizeof).slice() as Uint8Array,
    writer: (offset) => (view, base, value) => {
      const field = new Uint8Array(view.buffer, view.byteOffset + base + offset, sizeof);
      field.set(value.subarray(0, sizeof));
      field.fill(0, value.length);
    },
    empty: () => new Uint8Array(sizeof),
  };
}

/** An array field; element i lies at `offsets.field + i * stride`. */
export interface ArrayType<T> extends FieldType<T[]> {
  /** Elements in the array. */
  readonly length: number;
  /** Bytes from one element to the next. */
  readonly stride: number;
}

/** Field of `length` elements of one type. Reading makes a fresh array; in loops use `offsets.x + i * stride`. */
export function array<T>(element: FieldType<T>, length: number): ArrayType<T> {
  const stride = alignUp(element.sizeof, element.align);
  const readers = Array.from({ length }, (_, i) => element.reader(i * stride));
  const writers = Array.from({ length }, (_, i) => element.writer(i * stride));
  return {
    sizeof: stride * length,
    align: element.align,
    length,
    stride,
    reader: (offset) => (view, base) => readers.map((read) => read(view, base + offset)),
    writer: (offset) => (view, base, value) => {
      for (const [i, write] of writers.entries()) write(view, base + offset, value[i] ?? element.empty());
    },
    empty: () => Array.from({ length }, () => element.empty()),
  };
}

/**
 * Declare a struct with C alignment (x86-64).
 *
 * @example
 * const blkifResponse = struct({ id: u64, operation: u8, status: i16 }); // sizeof 16, offsets 0, 8, 10
 * blkifResponse.set.status(ring.view, at, 0);
 * const status = blkifResponse.get.status(ring.response, 0);
 */
export function struct<F extends Fields>(fields: F): Struct<F> {
  const names = Object.keys(fields) as (keyof F & string)[]; // keys of F by definition
  const offsets: Record<string, number> = {};
  const get: Record<string, FieldReader<unknown>> = {};
  const set: Record<string, FieldWriter<unknown>> = {};
  const low: Record<string, FieldReader<number>> = {};
  const high: Record<string, FieldReader<number>> = {};
  let end = 0;
  let align = 1;
  for (const name of names) {
    const field = fields[name] as FieldType<unknown>; // `name` is a key of `fields`
    const offset = alignUp(end, field.align);
    offsets[name] = offset;
    get[name] = field.reader(offset);
    set[name] = field.writer(offset);
    if (field.hasHalves) {
      low[name] = u32.reader(offset);
      high[name] = u32.reader(offset + 4);
    }
    end = offset + field.sizeof;
    align = Math.max(align, field.align);
  }
  const sizeof = alignUp(end, align);
  const moves = fieldMoves(names, get, set);
  const create = () => Object.fromEntries(names.map((name) => [name, (fields[name] as FieldType<unknown>).empty()]));
  // The casts below give the tables, built name by name, the types that the declaration implies.
  return {
    sizeof,
    align,
    offsets,
    get,
    set,
    low,
    high,
    ...moves,
    clear: (view: DataView, base: number) => {
      for (let i = 0; i < sizeof; i += 1) view.setUint8(base + i, 0);
    },
    create,
    empty: create,
    reader: (offset: number) => (view: DataView, base: number) => moves.read(view, base + offset, create()),
    writer: (offset: number) => (view: DataView, base: number, values: Record<string, unknown>) =>
      moves.write(view, base + offset, values),
  } as unknown as Struct<F>; // built by name at run time: no type follows that; the layout tests check every member
}

/** Whole-struct read and write as two chains of closures, each of which knows one name. */
function fieldMoves(
  names: readonly string[],
  get: Record<string, FieldReader<unknown>>,
  set: Record<string, FieldWriter<unknown>>,
) {
  const readers = names.map((name) => get[name] as FieldReader<unknown>); // filled for every name
  const writers = names.map((name) => set[name] as FieldWriter<unknown>);
  return {
    read(view: DataView, base: number, into: Record<string, unknown>) {
      for (let i = 0; i < names.length; i += 1)
        into[names[i] as string] = (readers[i] as FieldReader<unknown>)(view, base);
      return into;
    },
    write(view: DataView, base: number, values: Record<string, unknown>) {
      for (let i = 0; i < names.length; i += 1)
        (writers[i] as FieldWriter<unknown>)(view, base, values[names[i] as string]);
    },
  };
}

function alignUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}
