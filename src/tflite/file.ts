import { ByteBuffer, Encoding } from 'flatbuffers';
import { MAX_ELEMENTS } from '../errors.js';
import { badModel } from '../graph/refuse.js';
import {
  BuiltinOperator,
  DimensionType,
  Int32Vector,
  Model,
  type Operator,
  type QuantizationParameters,
  SparseIndexVector,
  type SparsityParameters,
  type SubGraph,
  type Tensor,
  TensorType,
  Uint8Vector,
  Uint16Vector,
} from './generated/tflite_generated.js';
import { verify } from './verify.js';

/** What the codes of a tensor mean: real = scale (code - zeroPoint), one of each for all or along a dimension. */
export interface TensorQuantization {
  scale: readonly number[];
  zeroPoint: readonly number[];
  dimension: number;
}

/** One level of a sparse tensor: all of its indices, or those that segments list. */
export type SparseLevel =
  | { format: 'dense'; size: number }
  | { format: 'csr'; segments: readonly number[]; indices: readonly number[] };

/** How the elements of a sparse tensor are stored. */
export interface Sparsity {
  traversal: readonly number[];
  blockMap: readonly number[];
  levels: readonly SparseLevel[];
}

export interface TfliteTensor {
  name: string;
  type: TensorType;
  shape: readonly number[];
  /** The shape with -1 where a size is open; absent where none is. */
  signature?: readonly number[];
  /** The bytes of a constant; absent: what an operator makes, or an input. */
  data?: Uint8Array;
  quantization?: TensorQuantization;
  sparsity?: Sparsity;
  /** Keeps its contents from run to run. */
  isVariable: boolean;
}

export interface TfliteOperator {
  /** The name of a built-in operator, `CUSTOM name`, or a number that is not known. */
  name: string;
  /** Indices of tensors; -1 for one that is left out. */
  inputs: readonly number[];
  outputs: readonly number[];
  /** The table with the options, of the kind `optionsType`. */
  table: Operator;
}

/** The main graph of a model, checked: every index leads somewhere, every shape multiplies. */
export interface TfliteFile {
  tensors: readonly TfliteTensor[];
  inputs: readonly number[];
  outputs: readonly number[];
  operators: readonly TfliteOperator[];
}

const IDENTIFIER = 'TFL3';
const VERSION = 3;
const MOST_DIMENSIONS = 8;
const MOST_TENSORS = 1 << 18;
const MOST_OPERATORS = 1 << 16;
/** Inputs and outputs of all operators together. */
const MOST_OPERANDS = 1 << 20;
const LARGEST_EXACT = BigInt(Number.MAX_SAFE_INTEGER);

/** Numbers and texts that may be read in all, for each byte of the file: vectors may be shared, but not without end. */
const NUMBERS_PER_BYTE = 8;
const FREE_NUMBERS = 1 << 20;
const LONGEST_NAME = 1000;

/** Reads vectors, and counts what it reads. */
class Lists {
  #left: number;

  constructor(fileBytes: number) {
    this.#left = FREE_NUMBERS + NUMBERS_PER_BYTE * fileBytes;
  }

  list<T>(length: number, at: (i: number) => T): T[] {
    this.#left -= length;
    if (this.#left < 0) badModel('file', 'vectors that are not shared over and over', 'more of them');
    return Array.from({ length }, (_, i) => at(i));
  }

  text(bytes: string | Uint8Array | null): string {
    if (!(bytes instanceof Uint8Array)) return bytes ?? '';
    const used = bytes.subarray(0, LONGEST_NAME);
    this.#left -= used.length;
    return new TextDecoder().decode(used);
  }
}

function readSizes(sizes: number[], least: number, place: string): number[] {
  if (sizes.length > MOST_DIMENSIONS) badModel(place, `at most ${MOST_DIMENSIONS} dimensions`, String(sizes.length));
  for (const [i, size] of sizes.entries()) {
    if (size < least || size > MAX_ELEMENTS) badModel(`${place}[${i}]`, `${least}..${MAX_ELEMENTS}`, String(size));
  }
  const count = sizes.reduce((product, size) => product * Math.max(size, 1), 1);
  if (count > MAX_ELEMENTS) badModel(place, `at most ${MAX_ELEMENTS} elements`, `[${sizes.join(', ')}]`);
  return sizes;
}

function readQuantization(
  lists: Lists,
  table: QuantizationParameters | null,
  rank: number,
  place: string,
): TensorQuantization | undefined {
  if (!table || table.scaleLength() === 0) return undefined;
  const scale = lists.list(table.scaleLength(), (i) => table.scale(i)!);
  const zeroPoint = lists.list(table.zeroPointLength(), (i) => {
    const value = table.zeroPoint(i)!;
    if (value > LARGEST_EXACT || value < -LARGEST_EXACT) badModel(`${place}.zero_point[${i}]`, 'a code', String(value));
    return Number(value);
  });
  const dimension = table.quantizedDimension();
  if (scale.length > 1 && (dimension < 0 || dimension >= rank)) {
    badModel(`${place}.quantized_dimension`, `0..${rank - 1}`, String(dimension));
  }
  if (zeroPoint.length > 1 && zeroPoint.length !== scale.length) {
    badModel(`${place}.zero_point`, `${scale.length} of them, as of scales`, String(zeroPoint.length));
  }
  return { scale, zeroPoint: zeroPoint.length === 0 ? [0] : zeroPoint, dimension };
}

/** The table of indices of a sparse level, by its kind. */
function readIndices(
  lists: Lists,
  type: SparseIndexVector,
  get: <T>(into: T) => T | null,
  place: string,
): readonly number[] {
  const kinds = {
    [SparseIndexVector.Int32Vector]: Int32Vector,
    [SparseIndexVector.Uint16Vector]: Uint16Vector,
    [SparseIndexVector.Uint8Vector]: Uint8Vector,
  };
  if (!Object.hasOwn(kinds, type)) return badModel(place, 'a vector of integers', `kind ${type}`);
  const vector = get(new kinds[type as keyof typeof kinds]());
  if (!vector) return badModel(place, 'a vector of integers', 'none');
  return lists.list(vector.valuesLength(), (i) => vector.values(i)!);
}

function readSparsity(lists: Lists, table: SparsityParameters | null, place: string): Sparsity | undefined {
  if (!table) return undefined;
  const levels = lists.list(table.dimMetadataLength(), (i): SparseLevel => {
    const level = table.dimMetadata(i)!;
    const at = `${place}.dim_metadata[${i}]`;
    if (level.format() === DimensionType.DENSE) return { format: 'dense', size: level.denseSize() };
    return {
      format: 'csr',
      segments: readIndices(
        lists,
        level.arraySegmentsType(),
        (into) => level.arraySegments(into),
        `${at}.array_segments`,
      ),
      indices: readIndices(lists, level.arrayIndicesType(), (into) => level.arrayIndices(into), `${at}.array_indices`),
    };
  });
  return {
    traversal: lists.list(table.traversalOrderLength(), (i) => table.traversalOrder(i)!),
    blockMap: lists.list(table.blockMapLength(), (i) => table.blockMap(i)!),
    levels,
  };
}

function readTensor(lists: Lists, model: Model, table: Tensor, index: number): TfliteTensor {
  const name = lists.text(table.name(Encoding.UTF8_BYTES));
  const place = `tensor ${index} (${JSON.stringify(name.slice(0, 80))})`;
  const shape = readSizes(
    lists.list(table.shapeLength(), (i) => table.shape(i)!),
    0,
    `${place}.shape`,
  );
  const signature = readSizes(
    lists.list(table.shapeSignatureLength(), (i) => table.shapeSignature(i)!),
    -1,
    `${place}.shape_signature`,
  );
  if (signature.length > 0 && signature.length !== shape.length) {
    badModel(`${place}.shape_signature`, `${shape.length} dimensions like shape`, String(signature.length));
  }
  const bufferIndex = table.buffer();
  if (bufferIndex >= model.buffersLength() && bufferIndex !== 0) {
    badModel(`${place}.buffer`, `0..${model.buffersLength() - 1}`, String(bufferIndex));
  }
  // Buffer 0 is empty: that of tensors without contents.
  const buffer = bufferIndex === 0 ? null : model.buffers(bufferIndex);
  if (buffer && buffer.offset() > 1n) badModel(`${place}.buffer`, 'data in the buffer', 'data behind the model');
  const data = buffer && buffer.dataLength() > 0 ? buffer.dataArray()! : undefined;
  return {
    name,
    type: table.type(),
    shape,
    ...(signature.includes(-1) && { signature }),
    ...(data && { data }),
    quantization: readQuantization(lists, table.quantization(), shape.length, place),
    sparsity: readSparsity(lists, table.sparsity(), place),
    isVariable: table.isVariable(),
  };
}

/** Names of operators that are known, by their codes. */
function nameOf(lists: Lists, model: Model, table: Operator, place: string): string {
  const index = table.opcodeIndex();
  const code = index < model.operatorCodesLength() ? model.operatorCodes(index) : null;
  if (!code) return badModel(`${place}.opcode_index`, `0..${model.operatorCodesLength() - 1}`, String(index));
  // Operators up to 126 are in the older field; newer files have them in both.
  const number = Math.max(code.builtinCode(), code.deprecatedBuiltinCode());
  if (number === BuiltinOperator.CUSTOM)
    return `CUSTOM ${lists.text(code.customCode(Encoding.UTF8_BYTES)).slice(0, 60)}`;
  return BuiltinOperator[number] ?? `operator ${number}`;
}

function readIndex(index: number, count: number, least: number, place: string): number {
  if (index < least || index >= count) badModel(place, `${least}..${count - 1}`, String(index));
  return index;
}

function readOperators(lists: Lists, model: Model, graph: SubGraph): TfliteOperator[] {
  const count = graph.operatorsLength();
  const tensors = graph.tensorsLength();
  if (count > MOST_OPERATORS) badModel('operators', `at most ${MOST_OPERATORS}`, String(count));
  let operands = 0;
  return lists.list(count, (i) => {
    const table = graph.operators(i)!;
    const name = nameOf(lists, model, table, `operator ${i}`);
    const place = `operator ${i} (${name})`;
    operands += table.inputsLength() + table.outputsLength();
    if (operands > MOST_OPERANDS) badModel(place, `at most ${MOST_OPERANDS} inputs and outputs in all`, 'more');
    return {
      name,
      inputs: lists.list(table.inputsLength(), (at) =>
        readIndex(table.inputs(at)!, tensors, -1, `${place}.inputs[${at}]`),
      ),
      outputs: lists.list(table.outputsLength(), (at) =>
        readIndex(table.outputs(at)!, tensors, 0, `${place}.outputs[${at}]`),
      ),
      table,
    };
  });
}

/**
 * Reads the main graph of a TensorFlow Lite model. Nothing is copied but numbers of tables.
 * @throws ThinferError `bad-model` with the place of what is wrong
 */
export function readFile(bytes: Uint8Array): TfliteFile {
  const buffer = new ByteBuffer(bytes);
  if (bytes.length < 8 || !buffer.__has_identifier(IDENTIFIER)) {
    badModel('file', `a FlatBuffer with the identifier ${IDENTIFIER}`, `${bytes.length} bytes of something else`);
  }
  verify(bytes);
  const lists = new Lists(bytes.length);
  const model = Model.getRootAsModel(buffer);
  if (model.version() !== VERSION) badModel('version', String(VERSION), String(model.version()));
  const graph = model.subgraphsLength() > 0 ? model.subgraphs(0) : null;
  if (!graph) return badModel('subgraphs', 'at least one', 'none');
  const count = graph.tensorsLength();
  if (count > MOST_TENSORS) badModel('tensors', `at most ${MOST_TENSORS}`, String(count));
  return {
    tensors: lists.list(count, (i) => readTensor(lists, model, graph.tensors(i)!, i)),
    inputs: lists.list(graph.inputsLength(), (i) => readIndex(graph.inputs(i)!, count, 0, `inputs[${i}]`)),
    outputs: lists.list(graph.outputsLength(), (i) => readIndex(graph.outputs(i)!, count, 0, `outputs[${i}]`)),
    operators: readOperators(lists, model, graph),
  };
}

/** The name of an element type. */
export function typeName(type: number): string {
  return TensorType[type] ?? `type ${type}`;
}
