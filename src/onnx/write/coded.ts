import type { Weights } from '../../formats/index.js';
import { DOMAIN } from '../domain.js';
import { TensorProto_DataType } from '../generated/onnx_pb.js';
import type { OnnxFile } from './file.js';
import { encodedBytes, encodeField, type Pages, pagesOf } from './huffman.js';

/** Codes of 256 entries of which each row uses 16 only, in 4 bits; undefined for others. */
export function encodePages(file: OnnxFile, title: string, field: string, weights: Weights): string | undefined {
  const pages = field === 'codes' ? pagesOf(weights) : undefined;
  if (!pages) return undefined;
  const low = file.array(`${title}.low`, pages.codes, TensorProto_DataType.UINT8);
  return writePages(file, title, low, pages, weights);
}

function writePages(file: OnnxFile, title: string, low: string, { pages }: Pages, { cols }: Weights): string {
  const rows = file.array(`${title}.pages`, pages, TensorProto_DataType.UINT8);
  return file.node(`${DOMAIN}.Pages`, [low, rows], file.unique(title), { cols });
}

/** Writes a part of weights Huffman-coded, where that takes fewer bytes. */
export function encodePart(file: OnnxFile, title: string, field: string, weights: Weights): string | undefined {
  const data = (weights as unknown as Record<string, ArrayBufferView>)[field];
  const encoded = encodeField(weights, field);
  if (!encoded || encodedBytes(encoded) >= data.byteLength) return undefined;
  const { count, symbolBits, lengths, bits } = encoded;
  const { UINT8, UINT32 } = TensorProto_DataType;
  const pages = field === 'codes' ? pagesOf(weights) : undefined;
  const output = file.unique(field === 'indices' ? `${title}.gaps` : pages ? `${title}.low` : title);
  const inputs = [file.array(`${title}.bits`, bits, UINT8), file.array(`${title}.lengths`, lengths, UINT8)];
  file.node(`${DOMAIN}.HuffmanDecode`, inputs, output, { size: count, symbol_bits: symbolBits }, output);
  if (pages) return writePages(file, title, output, pages, weights);
  if (field !== 'indices' || !('indptr' in weights)) return output;
  const { indptr } = weights;
  const rows = file.array(`${title}.indptr`, indptr, UINT32);
  const columns = file.unique(title);
  const cols = blockColumns(weights);
  return file.node(`${DOMAIN}.Columns`, [output, rows], columns, { cols }, columns);
}

/** Columns that indices count: of blocks, where a format has such. */
function blockColumns(weights: Weights): number {
  const { blockCols = 1 } = weights as { blockCols?: number };
  return Math.ceil(weights.cols / blockCols);
}
