import { roundHalfEven } from '../../formats/activations.js';
import { readCode, writeCode } from '../../formats/bits.js';
import { requireChoice } from '../../formats/checks.js';
import { type Int8Weights, int2, int4, int8, type Weights } from '../../formats/index.js';
import { atLayer, relativeError, valuesOf } from '../layers.js';
import { eachWithMoments, inverseFactor, type Moments, type Sequence } from '../products.js';
import type { LayerChoice, Step } from '../step.js';
import { sweep } from '../sweep.js';
import type { IntegerFormat } from './quantize.js';

export interface GptqOptions extends LayerChoice, Sequence {
  format: IntegerFormat;
  /** int4 and int2: columns that share a scale, or `row`. int8 has one a row. Default 32. */
  groupSize?: number | 'row';
  /** No zero points. Default true. */
  symmetric?: boolean;
  /** What is added to the diagonal of the Hessian, over its mean. Default 0.01. */
  damping?: number;
}

/**
 * GPTQ (Frantar et al. 2023): weights are rounded column by column, and those to come make up for what rounding did to the
 * outputs on calibration data (see `sweep`). The scales of a group are found when its first column's turn comes, from the
 * weights as they are then. Weights that are 0 stay so.
 * @param options or the format
 */
export function gptq(options: IntegerFormat | GptqOptions): Step {
  const given: GptqOptions = typeof options === 'string' ? { format: options } : options;
  const { format, groupSize = 32, symmetric = true, damping = 0.01 } = given;
  requireChoice(format, ['int8', 'int4', 'int2'], 'gptq.format');
  return {
    name: `GPTQ ${format}`,
    needs: 'calibration',
    apply: (job) =>
      eachWithMoments(job, given, 'gptq', (unit, moments) =>
        atLayer(unit.name, () => {
          const { cols } = unit.weights;
          const size = format === 'int8' || groupSize === 'row' || groupSize >= cols ? cols : groupSize;
          const packed = rounded(unit.weights, moments, { format, groupSize: size, symmetric, damping });
          const error = relativeError(valuesOf(packed), valuesOf(unit.weights));
          for (const { name } of unit.layers)
            job.note({ layer: name, did: `${format}, error ${error.toPrecision(2)}` });
          return packed;
        }),
      ),
  };
}

interface Settings {
  format: IntegerFormat;
  groupSize: number;
  symmetric: boolean;
  damping: number;
}

/** Scale and zero point of each group of a row, and codes counted from the least. */
interface Codes {
  scale: Float32Array;
  zeroPoint: Int32Array;
  codes: Uint8Array;
}

function rounded(weights: Weights, moments: readonly Moments[], settings: Settings): Weights {
  const { rows, cols } = weights;
  const { format, groupSize, damping } = settings;
  const values = Float64Array.from(valuesOf(weights));
  const pruned = Uint8Array.from(values, (x) => Number(x === 0));
  const across = Math.ceil(cols / groupSize);
  const bits = Number(format.slice(3));
  const found: Codes = {
    scale: new Float32Array(rows * across),
    zeroPoint: new Int32Array(rows * across),
    codes: new Uint8Array(rows * cols),
  };
  const part = rows / moments.length;
  for (const [g, { gram }] of moments.entries()) {
    const first = g * part;
    sweep({
      values: values.subarray(first * cols, (first + part) * cols),
      rows: part,
      cols,
      factor: inverseFactor(gram, cols, damping, 'gptq.damping'),
      every: groupSize,
      prepare: (from) => {
        for (let r = first; r < first + part; r++) fitGroup(values, r, from, cols, settings, found);
      },
      choose: (value, r, c) => {
        const row = first + r;
        const group = row * across + Math.floor(c / groupSize);
        const { [group]: scale } = found.scale;
        const { [group]: zero } = found.zeroPoint;
        const target = pruned[row * cols + c] ? 0 : value;
        const code = Math.min(Math.max(roundHalfEven(target / scale) + zero, 0), 2 ** bits - 1);
        found.codes[row * cols + c] = code;
        return scale * (code - zero);
      },
    });
  }
  return format === 'int8' ? asInt8(weights, found, settings) : asGrouped(weights, found, settings, format);
}

/** The scale of one group as `pack` finds it, by packing the group alone. */
function fitGroup(
  values: Float64Array,
  row: number,
  from: number,
  cols: number,
  { format, groupSize, symmetric }: Settings,
  { scale, zeroPoint }: Codes,
): void {
  const width = Math.min(groupSize, cols - from);
  const part = Float32Array.from(values.subarray(row * cols + from, row * cols + from + width));
  const at = row * Math.ceil(cols / groupSize) + from / groupSize;
  if (format === 'int8') {
    const packed = int8.pack(part, { rows: 1, cols: width, symmetric });
    scale[at] = packed.scale[0];
    zeroPoint[at] = (packed.zeroPoint?.[0] ?? 0) + 128;
  } else {
    const bits = Number(format.slice(3));
    const packed = { int4, int2 }[format].pack(part, { rows: 1, cols: width, groupSize: width, symmetric });
    scale[at] = packed.scale[0];
    zeroPoint[at] = packed.zeroPoint ? readCode(packed.zeroPoint, 0, 0, bits as 2 | 4) : 2 ** (bits - 1);
  }
}

function asInt8({ rows, cols }: Weights, { scale, zeroPoint, codes }: Codes, { symmetric }: Settings): Weights {
  const weights: Int8Weights = {
    format: 'int8',
    rows,
    cols,
    scale,
    codes: Int8Array.from(codes, (code) => code - 128),
  };
  if (!symmetric) weights.zeroPoint = Int8Array.from(zeroPoint, (zero) => zero - 128);
  return weights;
}

function asGrouped(
  { rows, cols }: Weights,
  found: Codes,
  { groupSize, symmetric }: Settings,
  format: 'int4' | 'int2',
): Weights {
  const bits = format === 'int4' ? 4 : 2;
  const across = Math.ceil(cols / groupSize);
  const groupBytes = Math.ceil((groupSize * bits) / 8);
  const zeroBytes = Math.ceil((across * bits) / 8);
  const codes = new Uint8Array(rows * across * groupBytes);
  const zeroPoint = new Uint8Array(rows * zeroBytes);
  for (let r = 0; r < rows; r++) {
    for (let g = 0; g < across; g++) {
      const at = r * across + g;
      writeCode(zeroPoint, r * zeroBytes, g, bits, found.zeroPoint[at]);
      for (let i = 0; i < groupSize; i++) {
        const c = g * groupSize + i;
        writeCode(codes, at * groupBytes, i, bits, c < cols ? found.codes[r * cols + c] : found.zeroPoint[at]);
      }
    }
  }
  const { scale } = found;
  return { format, rows, cols, groupSize, codes, scale, ...(!symmetric && { zeroPoint }) };
}
