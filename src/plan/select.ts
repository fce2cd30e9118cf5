import type { DType } from '../dtype.js';
import { ThinferError } from '../errors.js';
import { hasRowSums } from '../formats/outputs.js';
import { elementTypes, isMatmul, type MatmulProblem, type Problem } from './problem.js';
import type { Candidate, Device, VariantBase } from './variant.js';

/** One device with the rows of its table. */
export interface Offer<V extends VariantBase = VariantBase> {
  device: Device;
  variants: readonly V[];
}

export interface Selection<V extends VariantBase = VariantBase> {
  variant: V;
  device: Device;
  candidates: Candidate[];
}

const F32: readonly DType[] = ['float32'];

/** What arrives, or becomes of the output, that a row is not made for. */
function wrongDtype({ inputs = F32, outputs = F32 }: VariantBase, p: MatmulProblem): string | undefined {
  const { input, output } = p;
  if (!inputs.includes(input.dtype)) return `takes ${inputs.join(', ')}, not ${input.dtype}`;
  if (input.quantization && !inputs.includes(input.quantization.dtype)) return 'quantises at run time only';
  if (!outputs.includes(output.dtype)) return `gives ${outputs.join(', ')}, not ${output.dtype}`;
  if (output.dtype !== 'float32' && p.nonlinearity) return `applies ${p.nonlinearity} to float32 only`;
  if (output.dtype !== 'float32' && !hasRowSums(p)) return 'weights with a scale a group give float32 only';
  return undefined;
}

/** The same of operators without weights. */
function wrongElements({ inputs = F32, outputs = F32 }: VariantBase, p: Problem): string | undefined {
  const types = elementTypes(p);
  // Indices are f32 whatever is moved.
  const [input] = types.inputs;
  if (!inputs.includes(input)) return `takes ${inputs.join(', ')}, not ${input}`;
  return outputs.includes(types.output) ? undefined : `gives ${outputs.join(', ')}, not ${types.output}`;
}

/** Why a row cannot run `p` on `device`, or undefined when it can. */
export function refusal(variant: VariantBase, p: Problem, device: Device): string | undefined {
  if (!isFor(variant, p)) return `for ${variant.format ?? ''} ${variant.ops.join(', ')}`;
  const missing = variant.requires?.filter((feature) => !device.features.has(feature)) ?? [];
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  const wrong = isMatmul(p) ? wrongDtype(variant, p) : wrongElements(variant, p);
  if (wrong) return wrong;
  const supported = variant.supports?.(p as never, device) ?? true;
  return supported === true ? undefined : supported;
}

function isFor(variant: VariantBase, p: Problem): boolean {
  if (!(variant.ops as readonly string[]).includes(p.op)) return false;
  return isMatmul(p) ? variant.format === p.weights.format : true;
}

/** The rows that are written for the operator and format of `p`, whether or not they can run it here. */
export function rowsFor<V extends VariantBase>(variants: readonly V[], p: Problem): V[] {
  return variants.filter((variant) => isFor(variant, p));
}

/**
 * Chooses the row with the lowest predicted time among those that can run `p`. Pure: the same
 * arguments give the same answer.
 * @param force a variant's name: only that row may be chosen
 * @throws ThinferError `no-kernel` when no row can run it, with each row's reason
 */
export function select<V extends VariantBase>(
  p: Problem,
  offers: readonly Offer<V>[],
  { force = '', place = 'select' } = {},
): Selection<V> {
  const candidates: Candidate[] = [];
  let best: { variant: V; device: Device; candidate: Candidate } | undefined;
  for (const { device, variants } of offers) {
    for (const variant of rowsFor(variants, p)) {
      const why = refusal(variant, p, device);
      const excluded = why ?? (force && variant.name !== force ? `forced to ${force}` : undefined);
      const predictedMs = why ? Number.POSITIVE_INFINITY : variant.cost(p as never, device) + device.runMs;
      const candidate: Candidate = {
        variant: variant.name,
        backend: device.backend,
        device: device.label,
        predictedMs,
        chosen: false,
        reason: excluded ?? '',
      };
      candidates.push(candidate);
      if (excluded === undefined && (!best || predictedMs < best.candidate.predictedMs)) {
        best = { variant, device, candidate };
      }
    }
  }
  if (!best) {
    const what = isMatmul(p) ? `${p.weights.format} ${p.op}` : p.op;
    throw new ThinferError({
      code: 'no-kernel',
      place,
      expected: force ? `a kernel named ${force} that runs ${what}` : `a kernel that runs ${what}`,
      got: candidates.length
        ? candidates.map((c) => `${c.variant} (${c.reason})`).join('; ')
        : 'none in the tables of this runtime',
      hint: force ? 'Names are listed by layer.explain().' : '',
    });
  }
  best.candidate.chosen = true;
  best.candidate.reason = force ? 'forced by name' : 'lowest predicted time';
  for (const candidate of candidates) {
    if (candidate.reason === '') {
      const ratio = candidate.predictedMs / best.candidate.predictedMs;
      candidate.reason = `predicted ${ratio.toFixed(2)} x the chosen one's time`;
    }
  }
  candidates.sort((a, b) => a.predictedMs - b.predictedMs);
  return { variant: best.variant, device: best.device, candidates };
}
