import { badModel } from '../graph/refuse.js';

/*
 * FlatBuffers are read where they lie: a table is a signed offset to its vtable and its fields, a vtable the sizes of both
 * and the fields' places, and tables, vectors and strings are reached by unsigned offsets (https://flatbuffers.dev/internals).
 * The library's accessors follow any offset. Here all of a file that accessors will follow is checked before: that it lies
 * inside the file and has the size that its type needs.
 */

/** A field: a number of so many bytes, a string, a vector of numbers, of tables, a table, or a union (two fields). */
type Field =
  | { kind: 'number'; bytes: number }
  | { kind: 'string' }
  | { kind: 'numbers'; bytes: number }
  | { kind: 'tables'; table: string }
  | { kind: 'table'; table: string }
  | { kind: 'union'; members: Readonly<Record<number, string>> };

const I8: Field = { kind: 'number', bytes: 1 };
const I32: Field = { kind: 'number', bytes: 4 };
const U64: Field = { kind: 'number', bytes: 8 };
const TEXT: Field = { kind: 'string' };
const BYTES: Field = { kind: 'numbers', bytes: 1 };
const WORDS: Field = { kind: 'numbers', bytes: 4 };
const LONGS: Field = { kind: 'numbers', bytes: 8 };
const tables = (table: string): Field => ({ kind: 'tables', table });
const table = (name: string): Field => ({ kind: 'table', table: name });
const union = (members: Readonly<Record<number, string>>): Field => ({ kind: 'union', members });

const SPARSE_INDICES = union({ 1: 'Int32Vector', 2: 'Uint16Vector', 3: 'Uint8Vector' });

/** The options that are read, by their number in the union, and their fields. */
const OPTIONS: Readonly<Record<number, readonly Field[]>> = {
  1: [I8, I32, I32, I8, I32, I32],
  2: [I8, I32, I32, I32, I8, I32, I32],
  5: [I8, I32, I32, I32, I32, I8],
  8: [I8, I8, I8, I8],
  9: [I32],
  10: [I32, I8],
  11: [I8],
  12: [I8],
  15: [I32, I32, I8, I8],
  17: [WORDS],
  19: [I32],
  21: [I8],
  23: [I32, I32],
  27: [I8],
  28: [I8],
  29: [I8],
  30: [WORDS],
  32: [I32, I32, I32, I32, I32, I8],
  35: [I32],
  37: [I8, I8],
  49: [I8, I32, I32, I8],
  59: [I32, I32],
  61: [I32],
  64: [I32, I32],
  74: [I8, I8],
  75: [I32],
  77: [I8],
  79: [I32],
  94: [I32],
  101: [I8, I8, I8],
  116: [I8],
};

/** Fields of the tables of tflite.fbs in their order. A union's type and value follow each other. */
const TABLES: Readonly<Record<string, readonly Field[]>> = {
  Model: [I32, tables('OperatorCode'), tables('SubGraph'), TEXT, tables('Buffer')],
  OperatorCode: [I8, TEXT, I32, I32],
  SubGraph: [tables('Tensor'), WORDS, WORDS, tables('Operator'), TEXT],
  Buffer: [BYTES, U64],
  Tensor: [WORDS, I8, I32, TEXT, table('QuantizationParameters'), I8, table('SparsityParameters'), WORDS],
  QuantizationParameters: [WORDS, WORDS, WORDS, LONGS, union({ 1: 'CustomQuantization' }), I32],
  CustomQuantization: [BYTES],
  SparsityParameters: [WORDS, WORDS, tables('DimensionMetadata')],
  DimensionMetadata: [I8, I32, SPARSE_INDICES, SPARSE_INDICES],
  Int32Vector: [WORDS],
  Uint16Vector: [{ kind: 'numbers', bytes: 2 }],
  Uint8Vector: [BYTES],
  Operator: [I32, WORDS, WORDS, union(Object.fromEntries(Object.keys(OPTIONS).map((type) => [type, type])))],
  ...OPTIONS,
};

/** Elements of vectors of tables that are looked at, for each byte of the file: tables may be shared, but not without end. */
const VISITS_PER_BYTE = 4;
const FREE_VISITS = 1 << 16;

class Verifier {
  readonly #view: DataView;
  readonly #seen = new Map<string, Set<number>>();
  #visits: number;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#visits = FREE_VISITS + VISITS_PER_BYTE * bytes.length;
  }

  verify(): void {
    this.#require(0, 8, 'file');
    this.#table('Model', this.#follow(0, 'file'), 'model');
  }

  /** Throws unless `bytes` bytes from `at` lie in the file. */
  #require(at: number, bytes: number, place: string): void {
    if (at >= 0 && at + bytes <= this.#view.byteLength) return;
    badModel(place, `data inside the file of ${this.#view.byteLength} bytes`, `bytes ${at} to ${at + bytes}`);
  }

  /** Where the offset that lies at `at` leads. */
  #follow(at: number, place: string): number {
    this.#require(at, 4, place);
    return at + this.#view.getUint32(at, true);
  }

  /** False the second time: what was checked is not checked again, however many share it. */
  #isNew(what: string, at: number): boolean {
    const seen = this.#seen.get(what) ?? new Set<number>();
    this.#seen.set(what, seen);
    if (seen.has(at)) return false;
    seen.add(at);
    return true;
  }

  #visit(place: string): void {
    if (--this.#visits < 0) badModel(place, 'a file whose tables are not shared over and over', 'more of them');
  }

  #table(name: string, at: number, place: string): void {
    if (!this.#isNew(name, at)) return;
    this.#visit(place);
    this.#require(at, 4, place);
    const vtable = at - this.#view.getInt32(at, true);
    this.#require(vtable, 4, `${place} (vtable)`);
    const vtableBytes = this.#view.getUint16(vtable, true);
    const tableBytes = this.#view.getUint16(vtable + 2, true);
    if (vtableBytes < 4 || vtableBytes % 2 !== 0 || tableBytes < 4) {
      badModel(`${place} (vtable)`, 'even sizes from 4', `${vtableBytes} and ${tableBytes}`);
    }
    this.#require(vtable, vtableBytes, `${place} (vtable)`);
    this.#require(at, tableBytes, place);
    let slot = 0;
    const field = (bytes: number): number => {
      const entry = 4 + 2 * slot++;
      const offset = entry + 2 <= vtableBytes ? this.#view.getUint16(vtable + entry, true) : 0;
      if (offset !== 0 && (offset < 4 || offset + bytes > tableBytes)) {
        badModel(`${place} field ${slot - 1}`, `a place in the ${tableBytes} bytes of the table`, String(offset));
      }
      return offset === 0 ? 0 : at + offset;
    };
    for (const [i, type] of TABLES[name].entries()) this.#field(type, field, `${place}.${i}`);
  }

  #field(type: Field, field: (bytes: number) => number, place: string): void {
    if (type.kind === 'number') {
      field(type.bytes);
      return;
    }
    const tag = type.kind === 'union' ? field(1) : 0;
    const at = field(4);
    if (at === 0) return;
    if (type.kind === 'union') {
      const member = tag === 0 ? undefined : type.members[this.#view.getUint8(tag)];
      // Of a kind that is not known: never read.
      if (member !== undefined) this.#table(member, this.#follow(at, place), place);
      return;
    }
    const target = this.#follow(at, place);
    if (type.kind === 'table') this.#table(type.table, target, place);
    else this.#vector(type, target, place);
  }

  #vector(type: Exclude<Field, { kind: 'number' | 'union' | 'table' }>, at: number, place: string): void {
    this.#require(at, 4, place);
    const count = this.#view.getUint32(at, true);
    const bytes = type.kind === 'numbers' ? type.bytes : type.kind === 'tables' ? 4 : 1;
    this.#require(at + 4, count * bytes, place);
    if (type.kind !== 'tables' || !this.#isNew(`[${type.table}]`, at)) return;
    for (let i = 0; i < count; i++) {
      this.#visit(place);
      const element = at + 4 + 4 * i;
      this.#table(type.table, this.#follow(element, place), `${place}[${i}]`);
    }
  }
}

/**
 * Checks that everything of the file that is read lies inside it.
 * @throws ThinferError `bad-model` naming the first field that does not, by numbers from the root
 */
export function verify(bytes: Uint8Array): void {
  new Verifier(bytes).verify();
}
