import * as tf from '@tensorflow/tfjs-core';
import { describe, ThinferError } from '../errors.js';
import { requireChoice } from '../formats/checks.js';
import { EFFORTS } from '../plan/choices.js';
import type { TuneMode } from '../plan/tuner.js';
import type { WasmOptions } from '../wasm/module.js';
import type { CodesHandler, KeptCodes } from './codes.js';
import { type Formats, type Found, type Kept, makeOperator, type Replaced, requireNames } from './found.js';
import { findInGraph, type GraphModel, replaceNode } from './graph-model.js';
import { acquireHost, type Host, releaseHost } from './host.js';
import { applySite, findInLayers, type LayerSite, type LayersModel } from './layers-model.js';
import type { Operator } from './operator.js';

export interface AccelerateOptions {
  /**
   * How weights are stored. `auto` (the default) changes no weight: zeros are left out where that pays (csr), codes that
   * `keepCodes` saw stay codes (int8), the rest is dense. Or a format a layer name, `*` for those that are not named (depthwise convolutions stay `auto`):
   * `{ '*': 'int8', predictions: 'csr' }`, `{ conv1: { format: 'int4', groupSize: 64 } }`.
   */
  formats?: Formats;
  /** The handler that the model was loaded with, if it was one of `keepCodes`. */
  codes?: CodesHandler;
  /**
   * Shapes of the model's inputs, batch first, that are made ready for. Default: those that the model names, with a batch
   * of 1. Other shapes run too; what they need is made at their first run.
   */
  shapes?: readonly number[] | readonly (readonly number[])[];
  /** Times the kernels that may be the fastest for these shapes, now. Default `quick`. */
  tune?: TuneMode;
  /** Of `quick`: after so many milliseconds no further layer is timed, the longest first. Default 1000. */
  tuneMs?: number;
  /** Of our WASM module, when this is the first model on this backend of tfjs. Default: as many threads as cores. */
  wasm?: WasmOptions;
}

export interface Report {
  /** tfjs's backend, and the device of ours. */
  backend: string;
  device: string;
  replaced: Replaced[];
  kept: Kept[];
  /** Why nothing was made ready ahead, and the like. */
  notes: string[];
}

/** A model whose products run on our kernels. */
export interface Accelerated<M> {
  /** The model that was given: it predicts as before, faster. */
  readonly model: M;
  readonly report: Report;
  /** Takes everything back. Disposing of the model does it too. */
  unaccelerate(): void;
}

/** The types of tfjs's models as this package needs them: any tf.LayersModel and tf.GraphModel has them. */
export interface AnyModel {
  predict(x: never, ...rest: never[]): unknown;
  dispose(): unknown;
}

const TUNE_MS = 1000;

/** What a trace of a model saw: which operator met which shape. */
type Trace = Map<Operator, Map<string, readonly number[]>>;

/** One run of `accelerate`. */
interface Work {
  host: Host;
  formats: Formats;
  report: Report;
  operators: Operator[];
  trace: Trace | undefined;
  restore: (() => void)[];
}

const accelerated = new WeakMap<object, { unaccelerate(): void }>();

/**
 * Lets the layers and operators of a model that multiply by weights run on our kernels, inside tfjs and on the device that
 * tfjs uses now. The model stays the same object; tfjs runs all the rest.
 * @throws ThinferError `unsupported` for other backends than wasm, webgpu and cpu; `bad-argument`; `bad-weights` where a
 * format that was asked for by name can't hold a layer's weights
 */
export async function accelerate<M extends AnyModel>(
  model: M,
  options: AccelerateOptions = {},
): Promise<Accelerated<M>> {
  const { formats = 'auto', tune = 'quick', tuneMs = TUNE_MS, wasm } = options;
  requireChoice(tune, ['off', ...EFFORTS], 'accelerate: tune');
  const kind = kindOf(model);
  accelerated.get(model)?.unaccelerate();
  const host = await acquireHost(wasm);
  const work: Work = {
    host,
    formats,
    report: {
      backend: host.name,
      device: host.runtime.backends[0].device.label,
      replaced: [],
      kept: [],
      notes: [...host.runtime.notes],
    },
    operators: [],
    trace: undefined,
    restore: [],
  };
  let done = false;
  const unaccelerate = () => {
    if (done) return;
    done = true;
    accelerated.delete(model);
    for (const restore of work.restore.reverse()) restore();
    for (const operator of work.operators) operator.free();
    releaseHost(host);
  };
  try {
    const codes = options.codes?.codes ?? new Map<string, KeptCodes>();
    if (kind === 'layers') await accelerateLayers(model as unknown as LayersModel, codes, work);
    else await accelerateGraph(model as unknown as GraphModel, codes, work);
    override(model, 'dispose', work, (dispose) => () => {
      unaccelerate();
      return dispose();
    });
    await makeReady(model as unknown as LayersModel | GraphModel, options.shapes, { tune, tuneMs }, work);
  } catch (error) {
    unaccelerate();
    throw error;
  }
  accelerated.set(model, { unaccelerate });
  return { model, report: work.report, unaccelerate };
}

function kindOf(model: unknown): 'layers' | 'graph' {
  if (typeof model === 'object' && model !== null && 'predict' in model) {
    if ('layers' in model && Array.isArray(model.layers)) return 'layers';
    if ('executor' in model) return 'graph';
  }
  throw new ThinferError({
    code: 'bad-argument',
    place: 'accelerate: model',
    expected: 'a tf.LayersModel or a tf.GraphModel that is loaded',
    got: describe(model),
  });
}

/** Puts a method over one of an object, until the work is taken back. */
function override<T extends object, K extends keyof T & string>(
  target: T,
  name: K,
  work: Work,
  make: (original: (...args: unknown[]) => unknown) => (...args: never[]) => unknown,
): void {
  const own = Object.getOwnPropertyDescriptor(target, name);
  const original = (target[name] as (...args: unknown[]) => unknown).bind(target);
  target[name] = make(original) as T[K];
  work.restore.push(() => {
    if (own) Object.defineProperty(target, name, own);
    else delete target[name];
  });
}

/** Makes operators of what was found; where the weights don't suit the format, tfjs keeps the layer. */
function operatorsOf(found: readonly Found[], work: Work): Operator[] | undefined {
  const { formats, report } = work;
  const made: Operator[] = [];
  const replaced: Replaced[] = [];
  for (const one of found) {
    try {
      const { operator, replaced: row } = makeOperator(work.host, one, formats);
      made.push(operator);
      replaced.push(row);
    } catch (error) {
      for (const operator of made) operator.free();
      const named = formats !== 'auto' && Object.hasOwn(formats, one.name);
      if (!(error instanceof ThinferError) || named || error.code === 'bad-argument') throw error;
      report.kept.push({ name: one.name, op: one.op, why: error.message });
      return undefined;
    }
  }
  work.operators.push(...made);
  report.replaced.push(...replaced);
  return made;
}

/** Notes what shape an operator meets, and gives zeros. */
function traced(operator: Operator, x: tf.Tensor, trace: Trace): tf.Tensor {
  const shapes = trace.get(operator) ?? new Map<string, readonly number[]>();
  shapes.set(x.shape.join(), x.shape);
  trace.set(operator, shapes);
  return tf.zeros([...operator.outputShape(x.shape)]);
}

/** An operator, or while shapes are traced what stands for it. */
function stepOf(operator: Operator, work: Work): (x: tf.Tensor) => tf.Tensor {
  return (x) => (work.trace ? traced(operator, x, work.trace) : operator.apply(x));
}

async function accelerateLayers(model: LayersModel, codes: ReadonlyMap<string, KeptCodes>, work: Work): Promise<void> {
  const { sites, kept } = await findInLayers(model, codes);
  work.report.kept.push(...kept);
  requireNames(work.formats, [...sites.map(({ layer }) => layer.name), ...kept.map(({ name }) => name)]);
  // Layers may be parts of other models too, which are not ours to change.
  const running = { depth: 0 };
  for (const site of sites) {
    const operators = operatorsOf(site.found, work);
    if (operators)
      replaceLayer(
        site,
        operators.map((operator) => stepOf(operator, work)),
        running,
        work,
      );
  }
  for (const name of ['predict', 'predictOnBatch', 'execute', 'call', 'evaluate'] as const) {
    if (!(name in model)) continue;
    override(model as unknown as Record<string, () => unknown>, name, work, (original) => (...args) => {
      running.depth++;
      try {
        return original(...args);
      } finally {
        running.depth--;
      }
    });
  }
}

function replaceLayer(
  site: LayerSite,
  steps: readonly ((x: tf.Tensor) => tf.Tensor)[],
  running: { depth: number },
  work: Work,
): void {
  const { layer, variables, absorbed } = site;
  // New weights are not ours: with them tfjs computes all that was folded, as it did before.
  const isOurs = (kwargs: Record<string, unknown> | undefined) =>
    running.depth > 0 &&
    !kwargs?.training &&
    tf.engine().backend === work.host.backend &&
    variables.every(({ variable, dataId }) => variable.read().dataId === dataId);
  type Call = (inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>) => tf.Tensor | tf.Tensor[];
  const single = (inputs: tf.Tensor | tf.Tensor[]) => (Array.isArray(inputs) ? inputs[0] : inputs);
  override(layer, 'call', work, (original) => (inputs: Parameters<Call>[0], kwargs: Parameters<Call>[1]) => {
    if (!isOurs(kwargs)) return original(inputs, kwargs);
    layer.invokeCallHook?.(inputs, kwargs);
    return applySite(site, steps, single(inputs));
  });
  for (const one of absorbed) {
    override(one, 'call', work, (original) => (inputs: Parameters<Call>[0], kwargs: Parameters<Call>[1]) => {
      if (!isOurs(kwargs)) return original(inputs, kwargs);
      const x = single(inputs);
      // Another tensor of the same data: tfjs disposes of both.
      return tf.reshape(x, x.shape);
    });
  }
}

async function accelerateGraph(model: GraphModel, codes: ReadonlyMap<string, KeptCodes>, work: Work): Promise<void> {
  const { sites, kept } = await findInGraph(model, codes);
  work.report.kept.push(...kept);
  requireNames(work.formats, [...sites.map(({ found }) => found.name), ...kept.map(({ name }) => name)]);
  for (const site of sites) {
    const [operator] = operatorsOf([site.found], work) ?? [];
    if (operator) work.restore.push(await replaceNode(model, site, stepOf(operator, work)));
  }
}

/** Runs the model once on zeros to learn which shapes the operators meet; prepares those, and times them. */
async function makeReady(
  model: LayersModel | GraphModel,
  shapes: AccelerateOptions['shapes'],
  { tune, tuneMs }: { tune: TuneMode; tuneMs: number },
  work: Work,
): Promise<void> {
  const { host, report } = work;
  if (work.operators.length === 0) return;
  const inputs = inputShapes(model, shapes);
  if (typeof inputs === 'string') {
    report.notes.push(inputs);
    return;
  }
  const trace: Trace = new Map();
  work.trace = trace;
  try {
    const zeros = inputs.map((shape, i) => tf.zeros(shape, model.inputs[i].dtype as 'float32' | 'int32' | 'bool'));
    try {
      tf.tidy(() => void model.predict(zeros.length === 1 ? zeros[0] : zeros));
    } finally {
      tf.dispose(zeros);
    }
  } catch (error) {
    report.notes.push(`Nothing was made ready ahead, as a run on zeros failed: ${(error as Error).message}`);
  } finally {
    work.trace = undefined;
  }
  host.flush();
  const met = [...trace].flatMap(([operator, shapes]) =>
    [...shapes.values()].map((shape) => ({ operator, shape: operator.layerShape(shape) })),
  );
  await Promise.all(met.map(({ operator, shape }) => operator.layer.prepare(shape)));
  if (tune === 'off') return;
  const timeOf = ({ operator, shape }: (typeof met)[number]) => operator.layer.explain(shape)[0].predictedMs;
  const byTime = met.map((one) => ({ ...one, ms: timeOf(one) })).sort((a, b) => b.ms - a.ms);
  const start = performance.now();
  for (const { operator, shape } of byTime) {
    if (tune === 'quick' && performance.now() - start > tuneMs) break;
    await operator.layer.tune(shape, { effort: tune });
  }
}

function inputShapes(model: LayersModel | GraphModel, given: AccelerateOptions['shapes']): number[][] | string {
  if (given) {
    const list = (typeof given[0] === 'number' ? [given] : given) as readonly (readonly number[])[];
    if (list.length === model.inputs.length) return list.map((shape) => [...shape]);
    throw new ThinferError({
      code: 'bad-argument',
      place: 'accelerate: shapes',
      expected: `a shape for each of ${model.inputs.length} inputs`,
      got: `${list.length}`,
    });
  }
  const known = model.inputs.map(({ shape }) =>
    shape?.map((dim, axis) => (dim !== null && dim > 0 ? dim : axis ? 0 : 1)),
  );
  if (known.every((shape) => shape?.every((dim) => dim > 0))) return known as number[][];
  return 'Nothing was made ready ahead, as the model does not say how large its inputs are: pass shapes.';
}
