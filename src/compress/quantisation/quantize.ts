import { describe, ThinferError } from '../../errors.js';
import { requireChoice } from '../../formats/checks.js';
import { bcsr, csr, csrInt8, int2, int4, int8, nm, type Weights } from '../../formats/index.js';
import type { Quantization } from '../../plan/problem.js';
import { atLayer, bytesOf, isPruned, relativeError, unitsOf, valuesOf, withWeights } from '../layers.js';
import type { LayerChoice, Step } from '../step.js';
import { correctBias } from './bias.js';
import { type Grid, gridName, packExactly, requireGrid, toGrid } from './floats.js';
import { type RangeMethod, type RangeOptions, rangeOfValues, requireRangeOptions } from './ranges.js';
import { quantizeActivations } from './static.js';

export type IntegerFormat = 'int8' | 'int4' | 'int2';

export interface QuantizeOptions extends LayerChoice {
  /** What weights become: integers, whose layers multiply 8-bit activations, or floats of fewer bits. */
  format: IntegerFormat | Grid;
  /** int8: a scale a row. Default true. */
  perChannel?: boolean;
  /** Integers: no zero points. Default true. */
  symmetric?: boolean;
  /** int4 and int2: columns that share a scale (see `int4.pack`); `row`: all of a row. Default 32; `row` with static activations. */
  groupSize?: number | 'row';
  /** What integers span of a row's weights, or of the tensor's. Default `minmax`; int4 and int2 look for the best step themselves. */
  range?: RangeMethod;
  /** `percentile`: the share that is left out on each side. Default 0.0001. */
  outside?: number;
  /**
   * Integers: `dynamic` quantises what a layer reads when it runs, by what each sample holds; `static` by what calibration
   * data holds, so that codes go from layer to layer. Default `dynamic`.
   */
  activations?: 'dynamic' | 'static' | ({ dtype?: Quantization['dtype'] } & RangeOptions);
  /** See `biasCorrected`. Default false. */
  biasCorrection?: boolean;
}

const INTEGERS = { int8, int4, int2 } as const;

const isInteger = (format: QuantizeOptions['format']): format is IntegerFormat =>
  typeof format === 'string' && Object.hasOwn(INTEGERS, format);

/**
 * Rounds weights to fewer bits. Integers: the affine scheme of Jacob et al. 2018, Quantization and Training of Neural
 * Networks for Efficient Integer-Arithmetic-Only Inference. Weights that were pruned stay so: as csrInt8 where that takes
 * fewer bytes than int8.
 * @param options or the format
 */
export function quantize(options: IntegerFormat | 'f16' | 'bf16' | QuantizeOptions): Step {
  const given: QuantizeOptions = typeof options === 'string' ? { format: options } : options;
  const { format, activations = 'dynamic', biasCorrection = false, range } = given;
  const integers = isInteger(format);
  if (!integers) requireGrid(format, 'quantize.format');
  requireRangeOptions(given, 'quantize');
  const isStatic = activations !== 'dynamic';
  if (typeof activations === 'string') requireChoice(activations, ['dynamic', 'static'], 'quantize.activations');
  else requireRangeOptions(activations, 'quantize.activations');
  if (isStatic && !integers) {
    const expected = 'dynamic: floats multiply f32 activations';
    throw new ThinferError({
      code: 'bad-argument',
      place: 'quantize.activations',
      expected,
      got: describe(activations),
    });
  }
  const what = [integers ? format : gridName(format), range, isStatic && 'static', biasCorrection && 'bias corrected'];
  return {
    name: `quantize ${what.filter(Boolean).join(', ')}`,
    needs: isStatic || biasCorrection ? 'calibration' : undefined,
    async apply(job) {
      const units = unitsOf(job.graph, given, 'quantize');
      const replaced = new Map<Weights, Weights>();
      for (const [i, { name, weights, layers }] of units.entries()) {
        job.progress(i / units.length / 2, name);
        const packed = atLayer(name, () => (integers ? toIntegers(weights, given, format) : toFloats(weights, format)));
        replaced.set(weights, packed);
        const error = relativeError(valuesOf(packed), valuesOf(weights));
        const did = `${packed.format === format || !integers ? what[0] : packed.format}, error ${error.toPrecision(2)}`;
        for (const layer of layers) job.note({ layer: layer.name, did });
      }
      let graph = withWeights(job.graph, replaced);
      if (biasCorrection) graph = await correctBias(job, job.graph, graph);
      if (!isStatic) return graph;
      const names = new Set(units.flatMap(({ layers }) => layers.map(({ name }) => name)));
      return quantizeActivations({ ...job, graph }, names, typeof activations === 'object' ? activations : {});
    },
  };
}

/** Weights as integers: clipped to the range, whose ends are the outermost codes of `pack` then. */
export function toIntegers(weights: Weights, options: QuantizeOptions, format: IntegerFormat): Weights {
  const { rows, cols } = weights;
  const { perChannel = true, symmetric = true, activations = 'dynamic' } = options;
  const { groupSize = activations === 'dynamic' ? 32 : 'row' } = options;
  const values = clipped(weights, options, 2 ** Number(format.slice(3)));
  if (format !== 'int8') {
    const size = groupSize === 'row' || groupSize >= cols ? cols : groupSize;
    return INTEGERS[format].pack(values, { rows, cols, symmetric, groupSize: size });
  }
  const plain = int8.pack(values, { rows, cols, perChannel, symmetric });
  if (!isPruned(weights)) return plain;
  const blockCols = weights.format === 'bcsr' && weights.blockCols === 4 ? 4 : 1;
  const sparse = csrInt8.pack(values, { rows, cols, blockCols });
  return bytesOf(sparse) < bytesOf(plain) ? sparse : int8.pack(values, { rows, cols });
}

function clipped(weights: Weights, options: QuantizeOptions, levels: number): Float32Array {
  const { range = 'minmax', perChannel = true, symmetric = true } = options;
  const values = valuesOf(weights);
  if (range === 'minmax') return values;
  const size = perChannel ? weights.cols : values.length;
  const out = values.slice();
  for (let start = 0; start < out.length; start += size) {
    const part = out.subarray(start, start + size);
    const [low, high] = rangeOfValues(part, options, { levels: symmetric ? levels - 1 : levels, symmetric });
    for (let i = 0; i < part.length; i++) part[i] = Math.min(Math.max(part[i], low), high);
  }
  return out;
}

function toFloats(weights: Weights, grid: Grid): Weights {
  const { rows, cols } = weights;
  const values = valuesOf(weights).map((x) => toGrid(x, grid));
  switch (weights.format) {
    case 'csr':
      return csr.pack(values, { rows, cols });
    case 'bcsr': {
      const { blockRows, blockCols } = weights;
      return bcsr.pack(values, { rows, cols, block: [blockRows, blockCols] as never });
    }
    case 'nm':
      return nm.pack(values, { rows, cols });
    default:
      return packExactly(values, weights);
  }
}
