import * as assert from 'uvu/assert';
import type { Calibration, CompressOptions, Step } from '../../src/compress/index.js';
import { compress } from '../../src/compress/index.js';
import { type ErrorCode, ThinferError } from '../../src/errors.js';
import { type Array32, interpret } from '../../src/graph/interpret.js';
import { type Graph, isLayer, type LayerNode } from '../../src/graph/ir.js';
import { Model } from '../../src/graph/model.js';
import { optimize } from '../../src/graph/passes/index.js';
import { readOnnx } from '../../src/onnx/index.js';
import { createRuntime } from '../../src/runtime.js';
import { OnnxWriter } from './onnx-writer.js';
import { createRandom, normals } from './random.js';

export const runtime = await createRuntime({ backends: ['wasm'], cache: false, tune: 'off', wasm: { threads: 1 } });

type Numbers = ArrayLike<number>;

/** x [N, cols] through linear layers named a, b, ... with a ReLU between two. */
export function linears(...layers: { rows: number; weights: Numbers; bias?: Numbers }[]): Graph {
  const cols = layers[0].weights.length / layers[0].rows;
  const writer = new OnnxWriter().input('x', ['N', cols]);
  let last = 'x';
  for (const [i, { rows, weights, bias }] of layers.entries()) {
    const name = 'abcdef'[i];
    writer.floats(`${name}.w`, [rows, weights.length / rows], weights);
    if (bias) writer.floats(`${name}.b`, [rows], bias);
    writer.node('Gemm', [last, `${name}.w`, ...(bias ? [`${name}.b`] : [])], [`${name}.y`], { transB: 1 }, name);
    last = `${name}.y`;
    if (i === layers.length - 1) continue;
    writer.node('Relu', [last], [`${name}.relu`]);
    last = `${name}.relu`;
  }
  return optimize(readOnnx(writer.output(last).bytes()));
}

/** Which rows of which layer (by name) of `convolutions` are 0, bias and all. */
export type Dead = Readonly<Record<string, readonly number[]>>;

/**
 * Images [N, 2, 8, 8] through a stem, a residual block, a depthwise convolution with batch normalisation, a concatenation,
 * pooling and a classifier.
 */
export function convolutions({ seed = 1, dead = {} as Dead, channels = 8 } = {}): Graph {
  const random = createRandom(seed);
  const writer = new OnnxWriter().input('x', ['N', 2, 8, 8]);
  const conv = (name: string, input: string, rows: number, cols: number, kernel: number, group = 1) => {
    const weights = normals(random, rows * cols * kernel * kernel, 1 / Math.sqrt(cols * kernel * kernel));
    const bias = normals(random, rows, 0.1);
    for (const row of dead[name] ?? []) {
      weights.fill(0, row * cols * kernel * kernel, (row + 1) * cols * kernel * kernel);
      bias[row] = 0;
    }
    writer.floats(`${name}.w`, [rows, cols, kernel, kernel], weights).floats(`${name}.b`, [rows], bias);
    const pad = kernel >> 1;
    writer.node('Conv', [input, `${name}.w`, `${name}.b`], [`${name}.y`], { pads: [pad, pad, pad, pad], group }, name);
    return `${name}.y`;
  };
  const relu = (input: string) => {
    writer.node('Relu', [input], [`${input}.relu`]);
    return `${input}.relu`;
  };
  const c = channels;
  const stem = relu(conv('stem', 'x', c, 2, 3));
  const branch = conv('branch2', relu(conv('branch1', stem, c, c, 3)), c, c, 3);
  writer.node('Add', [branch, stem], ['sum'], {}, 'sum');
  const sum = relu('sum');
  conv('depth', sum, c, 1, 3, c);
  writer.floats('one', [c], new Float32Array(c).fill(1)).floats('zero', [c], new Float32Array(c));
  writer.node('BatchNormalization', ['depth.y', 'one', 'zero', 'zero', 'one'], ['norm']);
  const side = relu(conv('side', sum, c, c, 1));
  writer.node('Concat', [relu('norm'), side], ['both'], { axis: 1 });
  writer.node('MaxPool', ['both'], ['pool'], { kernel_shape: [4, 4], strides: [4, 4] });
  writer.node('Flatten', ['pool'], ['flat']);
  writer.floats('head.w', [5, 8 * c], normals(random, 40 * c, 0.1)).floats('head.b', [5], normals(random, 5));
  writer.node('Gemm', ['flat', 'head.w', 'head.b'], ['y'], { transB: 1 }, 'head').output('y');
  return optimize(readOnnx(writer.bytes()));
}

/** Batches for `convolutions`, of values of either sign. */
export function imageBatches(count = 2, size = 3, seed = 7): Calibration {
  const random = createRandom(seed);
  return { batches: Array.from({ length: count }, () => ({ x: normals(random, size * 128) })) };
}

export const layersOf = (graph: Graph): LayerNode[] => graph.nodes.filter(isLayer);

export function layer(graph: Graph, name: string): LayerNode {
  const found = layersOf(graph).find((node) => node.name === name);
  assert.ok(found, `no layer ${name}`);
  return found!;
}

/** Compresses on one thread; the source must be as it was. */
export async function run(source: Graph, steps: Step[], options: CompressOptions = {}) {
  const before = JSON.stringify(snapshot(source));
  try {
    return await compress(source, steps, { runtime, ...options });
  } finally {
    assert.is(JSON.stringify(snapshot(source)), before, 'the source was changed');
  }
}

function snapshot(graph: Graph): unknown {
  return [graph.nodes, [...graph.values], [...graph.constants], graph.inputs, graph.outputs];
}

/** What a graph's only output is on its only input, computed by the oracles. */
export function answers(graph: Graph, x: Array32): Float32Array {
  return interpret(graph, { x })[graph.outputs[0].name].data;
}

/**
 * Runs a compressed graph on WASM with its weights in no larger form than theirs, and compares with the oracles; the
 * formats of its layers are the answer.
 */
export async function runsAs(graph: Graph, x: Array32): Promise<string[]> {
  const model = await Model.create(runtime, graph, { memory: 'packed' });
  try {
    const { data } = (await model.run({ x: { shape: x.dims, data: x.data } }))[graph.outputs[0].name];
    const expected = answers(graph, x);
    const size = Math.max(...expected.map(Math.abs), 1);
    // Bounds of sums of f32, layer after layer: far below any step of codes.
    for (const [i, y] of expected.entries())
      assert.ok(Math.abs(data[i] - y) <= 1e-4 * size, `${i}: ${data[i]}, not ${y}`);
    return model.explain().flatMap(({ format }) => format ?? []);
  } finally {
    model.free();
  }
}

/** Runs steps that have to be refused. */
export async function throwsWith(code: ErrorCode, pattern: RegExp, steps: () => Step[], graph = convolutions()) {
  try {
    await run(graph, steps());
  } catch (error) {
    assert.instance(error, ThinferError, String(error));
    assert.is((error as ThinferError).code, code);
    return assert.match((error as ThinferError).message, pattern);
  }
  assert.unreachable('an error');
}
