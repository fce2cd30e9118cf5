import type * as tf from '@tensorflow/tfjs-core';
import type { Pair } from '../layers/geometry.js';
import { activationOf } from './activations.js';
import type { KeptCodes } from './codes.js';
import { type Affine, batchNorm, type Found, type Kept } from './found.js';
import type { OperatorKind } from './operator.js';

/** What is used of a node of tfjs-converter. */
export interface GraphNode {
  name: string;
  op: string;
  category: string;
  inputs: GraphNode[];
  inputNames: string[];
  inputParams: Record<string, unknown>;
  attrParams: Record<string, { value?: unknown }>;
  rawAttrs?: Record<string, unknown>;
  children: GraphNode[];
}

/** What is used of tf.GraphModel. */
export interface GraphModel {
  readonly inputs: { shape?: number[]; dtype: string; name: string }[];
  executor: {
    graph: { nodes: Record<string, GraphNode>; outputs: GraphNode[] };
    weightMap: Record<string, tf.Tensor[]>;
    compiledMap: Map<string, unknown>;
    functionExecutorMap?: Record<string, { graph: { nodes: Record<string, GraphNode> } }>;
  };
  predict(x: tf.Tensor | tf.Tensor[] | tf.NamedTensorMap, config?: object): unknown;
  dispose(): void;
}

/** A chain of nodes that becomes one: the last of them, which then reads what the first one read. */
export interface NodeSite {
  last: GraphNode;
  /** The first input of the operator. */
  input: { node: GraphNode; name: string };
  found: Found;
}

const KINDS: Readonly<Record<string, OperatorKind>> = {
  MatMul: 'matMul',
  _FusedMatMul: 'matMul',
  BatchMatMul: 'matMul',
  BatchMatMulV2: 'matMul',
  Conv2D: 'conv2d',
  _FusedConv2D: 'conv2d',
  DepthwiseConv2d: 'depthwiseConv2d',
  DepthwiseConv2dNative: 'depthwiseConv2d',
  FusedDepthwiseConv2dNative: 'depthwiseConv2d',
};

/** Why an operator stays with tfjs. */
class Refusal extends Error {}

/** What can be replaced in a graph, and what not and why. */
export async function findInGraph(
  model: GraphModel,
  codes: ReadonlyMap<string, KeptCodes>,
): Promise<{ sites: NodeSite[]; kept: Kept[] }> {
  const { graph } = model.executor;
  const sites: NodeSite[] = [];
  const kept: Kept[] = [];
  for (const node of Object.values(graph.nodes)) {
    const kind = KINDS[node.op];
    if (!kind) continue;
    try {
      sites.push(await siteOf(model, node, kind, codes));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      kept.push({ name: node.name, op: node.op, why: error.message });
    }
  }
  for (const [name, inner] of Object.entries(model.executor.functionExecutorMap ?? {})) {
    for (const { name: node, op } of Object.values(inner.graph.nodes)) {
      if (KINDS[op]) kept.push({ name: `${name}/${node}`, op, why: 'it is in a function of the graph' });
    }
  }
  return { sites, kept };
}

/** `name:0` is `name`; other outputs of a node are not constants or results that are followed. */
const bare = (name: string): string => name.replace(/:0$/, '');

interface Constant {
  name: string;
  values: Float32Array;
  shape: readonly number[];
}

/** A constant, seen through nodes that only change its shape. */
async function constantOf(model: GraphModel, node: GraphNode | undefined): Promise<Constant | undefined> {
  if (!node) return undefined;
  const { weightMap } = model.executor;
  if (Object.hasOwn(weightMap, node.name)) {
    const [tensor] = weightMap[node.name];
    if (tensor.dtype !== 'float32') throw new Refusal(`weights of ${tensor.dtype}`);
    return { name: node.name, values: (await tensor.data()) as Float32Array, shape: tensor.shape };
  }
  if (node.op === 'Identity') return constantOf(model, node.inputs[0]);
  if (node.op !== 'ExpandDims') return undefined;
  const inner = await constantOf(model, node.inputs[0]);
  const axis = inner && (await scalarOf(model, node.inputs[1]));
  if (axis === undefined) return undefined;
  const at = axis < 0 ? axis + inner!.shape.length + 1 : axis;
  return { ...inner!, shape: inner!.shape.toSpliced(at, 0, 1) };
}

async function scalarOf(model: GraphModel, node: GraphNode | undefined): Promise<number | undefined> {
  const tensor = node && model.executor.weightMap[node.name]?.[0];
  return tensor?.size === 1 ? Number((await tensor.data())[0]) : undefined;
}

async function requireConstant(model: GraphModel, node: GraphNode | undefined, what: string): Promise<Constant> {
  const constant = await constantOf(model, node);
  if (!constant) throw new Refusal(`${what} are computed`);
  return constant;
}

async function siteOf(
  model: GraphModel,
  node: GraphNode,
  kind: OperatorKind,
  codes: ReadonlyMap<string, KeptCodes>,
): Promise<NodeSite> {
  const filter = await requireConstant(model, node.inputs[1], 'weights');
  const found: Found = {
    name: node.name,
    op: node.op,
    kind,
    values: filter.values,
    shape: filter.shape,
    codes: codes.get(filter.name),
    absorbed: [],
    activation: 'none',
  };
  if (kind === 'matMul') {
    if (node.attrParams.transposeA?.value) throw new Refusal('the left operand is transposed');
    // Leading dimensions of size 1 are no batch of matrices.
    if (filter.shape.slice(0, -2).some((dim) => dim !== 1)) throw new Refusal('weights are several matrices');
    found.transposed = Boolean(node.attrParams.transposeB?.value);
  } else {
    found.window = windowOf(node, filter.shape);
    if (kind === 'depthwiseConv2d') found.channels = filter.shape[2];
  }
  const fused = ((node.attrParams.fusedOps?.value ?? []) as string[]).map((name) => name.toLowerCase());
  let next = 2;
  for (const name of fused) {
    if (name === 'biasadd') {
      const bias = await requireConstant(model, node.inputs[next++], 'biases');
      found.bias = bias.values;
    } else {
      const activation = activationOf(name);
      if (activation === undefined) throw new Refusal(`it ends with ${name}`);
      found.activation = activation;
    }
  }
  const rows = kind === 'depthwiseConv2d' ? filter.shape[2] * filter.shape[3] : undefined;
  const outputs = rows ?? (found.transposed ? filter.shape.at(-2)! : filter.shape.at(-1)!);
  if (found.bias && found.bias.length !== outputs) throw new Refusal('its biases are not one a channel');
  const last = await follow(model, node, found, outputs);
  return { last, input: { node: node.inputs[0], name: node.inputNames[0] }, found };
}

function windowOf(node: GraphNode, shape: readonly number[]): Found['window'] {
  const attribute = <T>(name: string) => node.attrParams[name]?.value as T;
  const format = attribute<string | undefined>('dataFormat') ?? 'NHWC';
  if (format.toUpperCase() !== 'NHWC') throw new Refusal('channels come first');
  const inner = (values: number[] | undefined): Pair => (values ? [values[1], values[2]] : 1);
  const pad = String(attribute('pad')).toLowerCase();
  const edges = attribute<number[] | undefined>('explicitPaddings');
  return {
    kernel: [shape[0], shape[1]],
    stride: inner(attribute('strides')),
    dilation: inner(attribute('dilations')),
    padding: pad === 'explicit' ? [edges![2], edges![4], edges![3], edges![5]] : pad === 'same' ? 'same' : 'valid',
  };
}

/** Takes batch norm, a bias and an activation behind a node into what was found. @returns the last node of the chain */
async function follow(model: GraphModel, first: GraphNode, found: Found, outputs: number): Promise<GraphNode> {
  const { graph } = model.executor;
  let last = first;
  while (found.activation === 'none') {
    const next = last.children.length === 1 ? last.children[0] : undefined;
    if (!next || graph.outputs.includes(last)) break;
    // Its product is the first operand, of one of two.
    if (bare(next.inputNames[0]) !== last.name || next.inputs.slice(1).includes(last)) break;
    const activation = next.op === 'LeakyRelu' ? undefined : activationOf(next.op.toLowerCase());
    if (activation !== undefined && next.inputs.length === 1) {
      found.activation = activation;
    } else {
      const affine = await affineOf(model, next, outputs);
      if (!affine) break;
      found.affine = found.affine ? after(found.affine, affine) : affine;
    }
    found.absorbed.push(next.name);
    last = next;
  }
  return last;
}

async function affineOf(model: GraphModel, node: GraphNode, outputs: number): Promise<Affine | undefined> {
  const constant = async (index: number) => {
    const found = await constantOf(model, node.inputs[index]).catch(() => undefined);
    const vector = found?.values.length === outputs && found.shape.at(-1) === outputs;
    return vector ? found.values : undefined;
  };
  switch (node.op) {
    case 'BiasAdd':
    case 'Add':
    case 'AddV2': {
      const shift = await constant(1);
      return shift && { scale: new Float32Array(outputs).fill(1), shift };
    }
    case 'Mul': {
      const scale = await constant(1);
      return scale && { scale, shift: new Float32Array(outputs) };
    }
    case 'FusedBatchNorm':
    case 'FusedBatchNormV2':
    case 'FusedBatchNormV3': {
      // Outputs other than the first are statistics.
      if (node.children.some((child) => child.inputNames.some((name) => /:[1-9]/.test(name)))) return undefined;
      const [gamma, beta, mean, variance] = [
        await constant(1),
        await constant(2),
        await constant(3),
        await constant(4),
      ];
      if (!gamma || !beta || !mean || !variance) return undefined;
      return batchNorm(mean, variance, gamma, beta, (node.attrParams.epsilon?.value as number) ?? 0.001);
    }
    default:
      return undefined;
  }
}

/** b behind a. */
const after = (a: Affine, b: Affine): Affine => ({
  scale: a.scale.map((factor, n) => factor * b.scale[n]),
  shift: a.shift.map((shift, n) => shift * b.scale[n] + b.shift[n]),
});

const CUSTOM_OP = 'ThinferOperator';

/** What a node was before. */
type Saved = Pick<GraphNode, 'op' | 'category' | 'inputs' | 'inputNames' | 'inputParams' | 'attrParams' | 'rawAttrs'>;

const applied = new Map<number, (x: tf.Tensor) => tf.Tensor>();
let nextId = 1;
let registered = false;

/**
 * Makes the last node of a site a custom operator that reads the site's input. The nodes before stay what they are, for
 * those who ask for what they give by name.
 * @returns what takes it back
 */
export async function replaceNode(
  model: GraphModel,
  { last, input }: NodeSite,
  apply: (x: tf.Tensor) => tf.Tensor,
): Promise<() => void> {
  if (!registered) {
    const { registerOp } = await import('@tensorflow/tfjs-converter');
    registerOp(CUSTOM_OP, (node) => applied.get(Number(node.attrs.operator))!(node.inputs[0]));
    registered = true;
  }
  const id = nextId++;
  applied.set(id, apply);
  const { op, category, inputs, inputNames, inputParams, attrParams, rawAttrs } = last;
  const saved: Saved = { op, category, inputs, inputNames, inputParams, attrParams, rawAttrs };
  const unlink = (from: readonly GraphNode[]) => {
    for (const { children } of new Set(from)) {
      for (let i = children.indexOf(last); i >= 0; i = children.indexOf(last)) children.splice(i, 1);
    }
  };
  const link = (to: readonly GraphNode[]) => {
    for (const { children } of new Set(to)) children.push(last);
  };
  unlink(inputs);
  Object.assign(last, {
    op: CUSTOM_OP,
    category: 'custom',
    inputs: [input.node],
    inputNames: [input.name],
    inputParams: {},
    attrParams: {},
    rawAttrs: { operator: { i: id } },
  });
  link(last.inputs);
  model.executor.compiledMap.clear();
  return () => {
    unlink(last.inputs);
    Object.assign(last, saved);
    link(last.inputs);
    model.executor.compiledMap.clear();
    applied.delete(id);
  };
}
