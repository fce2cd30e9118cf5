// The operator domain `thinfer`: what formats that ONNX has no form for are made of. docs/onnx-domain.md says it in full.

import type { FormatName } from '../formats/format.js';
import { TensorProto_DataType } from './generated/onnx_pb.js';

const { FLOAT, INT32, INT8, UINT16, UINT32, UINT8 } = TensorProto_DataType;

export const DOMAIN = 'thinfer';

/** A typed array that weights have, by the name of its field. */
export interface PartSpec {
  field: string;
  types: readonly number[];
  /** Absent where it would only say what is the default. */
  optional?: true;
}

/** How a format's weights are written: typed arrays as inputs, in this order, and numbers as attributes. */
export interface FormatSpec {
  parts: readonly PartSpec[];
  /** Attributes by the fields that they are. */
  attributes?: Readonly<Record<string, string>>;
}

const part = (field: string, ...types: number[]): PartSpec => ({ field, types });
const optional = (field: string, ...types: number[]): PartSpec => ({ field, types, optional: true });

const PATTERN = [part('indptr', UINT32), part('indices', UINT16, UINT32)];
const SIGNS: FormatSpec = { parts: [part('bits', UINT32), part('scale', FLOAT)] };
const GROUPED: FormatSpec = {
  parts: [part('codes', UINT8), part('scale', FLOAT), optional('zeroPoint', UINT8)],
  attributes: { group_size: 'groupSize' },
};

/** Every format of src/formats. */
export const FORMAT_SPECS: Readonly<Record<FormatName, FormatSpec>> = {
  dense: { parts: [part('values', FLOAT)] },
  f16: { parts: [part('halves', UINT16)] },
  csr: { parts: [...PATTERN, part('values', FLOAT)] },
  bcsr: {
    parts: [...PATTERN, part('values', FLOAT)],
    attributes: { block_rows: 'blockRows', block_cols: 'blockCols' },
  },
  nm: { parts: [part('values', FLOAT), part('positions', UINT8)] },
  int8: { parts: [part('codes', INT8), part('scale', FLOAT), optional('zeroPoint', INT8)] },
  int8Grouped: GROUPED,
  int4: GROUPED,
  int2: GROUPED,
  codebook: {
    parts: [part('codebook', FLOAT, INT8), part('codes', UINT8), optional('scale', FLOAT)],
    attributes: { entries: 'entries' },
  },
  ternary: { parts: [part('codes', UINT8), part('scale', FLOAT)] },
  binary: SIGNS,
  xnor: SIGNS,
  csrInt8: {
    parts: [...PATTERN, part('codes', INT8), part('scale', FLOAT)],
    attributes: { block_cols: 'blockCols' },
  },
  csrCodebook: {
    parts: [part('codebook', FLOAT), ...PATTERN, part('codes', UINT8)],
    attributes: { entries: 'entries' },
  },
};

/** The array class of elements of a type. */
export const PART_ARRAYS = {
  [FLOAT]: Float32Array,
  [UINT8]: Uint8Array,
  [INT8]: Int8Array,
  [UINT16]: Uint16Array,
  [INT32]: Int32Array,
  [UINT32]: Uint32Array,
} as const;

export type PartArray = Float32Array | Uint8Array | Int8Array | Uint16Array | Int32Array | Uint32Array;

/** The type of an array's elements. */
export function partType(data: PartArray): number {
  return Number(Object.entries(PART_ARRAYS).find(([, Type]) => data instanceof Type)![0]);
}
