import type { DType } from '../dtype.js';
import { ThinferError } from '../errors.js';
import type { Form } from '../formats/forms.js';
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
  /** What was asked for, with the weights in the form that the row takes. */
  problem: Problem;
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
  const obstacle = variant.obstacle?.(device);
  if (obstacle) return obstacle;
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

/** Times on one device, from a contest between rows. */
export interface Measured {
  /** The row that won. */
  variant: string;
  /** Milliseconds of the kernel, by row. */
  ms: Readonly<Record<string, number>>;
}

export interface SelectOptions {
  /** A variant's name: only that row may be chosen. */
  force?: string;
  /** Where the work comes from, for errors. */
  place?: string;
  /** What the weights may be stored as. Default: as the problem says. */
  forms?: readonly Pick<Form, 'facts'>[];
  /** What is known of a device; decides there instead of predictions. */
  measured?: (device: Device) => Measured | undefined;
  /** Milliseconds until the input is on a device. Default: 0, what a device's runMs holds is all. */
  arrivalMs?: (device: Device) => number;
}

/** A row that may be chosen. */
interface Able<V extends VariantBase> {
  variant: V;
  device: Device;
  problem: Problem;
  candidate: Candidate;
}

/**
 * Chooses among the rows that can run `p`: on each device the one that was measured to be the fastest, or else the one
 * with the lowest predicted time, and of the devices the faster. Pure: the same arguments give the same answer.
 * @throws ThinferError `no-kernel` when no row can run it, with each row's reason
 */
export function select<V extends VariantBase>(
  p: Problem,
  offers: readonly Offer<V>[],
  { force = '', place = 'select', forms = [], measured = () => undefined, arrivalMs = () => 0 }: SelectOptions = {},
): Selection<V> {
  const problems = isMatmul(p) && forms.length > 0 ? forms.map(({ facts }) => ({ ...p, weights: facts })) : [p];
  const candidates: Candidate[] = [];
  let best: Able<V> | undefined;
  for (const { device, variants } of offers) {
    const known = measured(device);
    const aroundMs = device.runMs + arrivalMs(device);
    let here: Able<V> | undefined;
    for (const problem of problems) {
      for (const variant of rowsFor(variants, problem)) {
        const why = refusal(variant, problem, device);
        const excluded = why ?? (force && variant.name !== force ? `forced to ${force}` : undefined);
        const ms = known?.ms[variant.name];
        const candidate: Candidate = {
          variant: variant.name,
          backend: device.backend,
          device: device.label,
          predictedMs: why ? Number.POSITIVE_INFINITY : variant.cost(problem as never, device) + aroundMs,
          ...(ms !== undefined && { measuredMs: ms + aroundMs }),
          ...(isMatmul(problem) && { format: problem.weights.format, bytes: problem.weights.bytes }),
          chosen: false,
          reason: excluded ?? '',
        };
        candidates.push(candidate);
        if (excluded !== undefined) continue;
        const able = { variant, device, problem, candidate };
        if (!here || beats(able, here, known)) here = able;
      }
    }
    if (here && (!best || msOf(here.candidate) < msOf(best.candidate))) best = here;
  }
  if (!best) throw noKernel(p, candidates, force, place);
  best.candidate.chosen = true;
  explainChoice(best.candidate, candidates, force);
  return { variant: best.variant, device: best.device, problem: best.problem, candidates: ranked(candidates) };
}

/** Milliseconds of one run, as well as they are known. */
export const msOf = ({ measuredMs, predictedMs }: Candidate): number => measuredMs ?? predictedMs;

/** On one device: the winner of a contest before all, then what is predicted to be faster. */
function beats<V extends VariantBase>(a: Able<V>, b: Able<V>, known: Measured | undefined): boolean {
  if (known?.variant === b.variant.name) return false;
  return known?.variant === a.variant.name || a.candidate.predictedMs < b.candidate.predictedMs;
}

function explainChoice(best: Candidate, candidates: readonly Candidate[], force: string): void {
  const timed = candidates.filter(({ measuredMs }) => measuredMs !== undefined).length;
  const measured = best.measuredMs !== undefined;
  best.reason = force ? 'forced by name' : measured ? `fastest of ${timed} measured` : 'lowest predicted time';
  for (const candidate of candidates) {
    if (candidate.reason !== '') continue;
    const how = candidate.measuredMs === undefined ? 'predicted' : 'measured';
    candidate.reason = `${how} ${(msOf(candidate) / msOf(best)).toFixed(2)} x the chosen one's time`;
  }
}

/** The chosen one, those that were measured, those that were predicted, those that can't run. */
function ranked(candidates: readonly Candidate[]): Candidate[] {
  const group = ({ chosen, measuredMs }: Candidate) => (chosen ? 0 : measuredMs !== undefined ? 1 : 2);
  return [...candidates].sort((a, b) => group(a) - group(b) || msOf(a) - msOf(b) || 0);
}

function noKernel(p: Problem, candidates: readonly Candidate[], force: string, place: string): ThinferError {
  const what = isMatmul(p) ? `${p.weights.format} ${p.op}` : p.op;
  return new ThinferError({
    code: 'no-kernel',
    place,
    expected: force ? `a kernel named ${force} that runs ${what}` : `a kernel that runs ${what}`,
    got: candidates.length
      ? candidates.map((c) => `${c.variant} (${c.reason})`).join('; ')
      : 'none in the tables of this runtime',
    hint: force ? 'Names are listed by layer.explain().' : '',
  });
}
