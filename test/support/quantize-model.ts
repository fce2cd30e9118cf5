import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { int8 } from '../../src/formats/index.js';
import {
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type TensorProto,
  ValueInfoProtoSchema,
} from '../../src/onnx/generated/onnx_pb.js';
import { loadOnnx } from '../../src/onnx/index.js';
import { readTensor } from '../../src/onnx/tensor.js';
import type { Quantization } from '../../src/plan/problem.js';
import type { Runtime } from '../../src/runtime.js';
import { INT8, INT32, OnnxWriter, UINT8 } from './onnx-writer.js';

/**
 * Writes int8 versions of a float network of convolutions, pooling and linear layers, as quantisers do: `qdq` with pairs
 * activations uint8 with a scale and zero point each, biases int32.
 */
export type Form = 'qdq' | 'qoperator';

/** Smallest and largest value of each tensor that is quantised. */
export type Ranges = ReadonlyMap<string, readonly [min: number, max: number]>;

const parse = (bytes: Uint8Array): ModelProto => fromBinary(ModelProtoSchema, bytes);

const isLayer = ({ opType }: NodeProto): boolean => opType === 'Conv' || opType === 'Gemm';

/** The layers' inputs and outputs (behind a Relu where there is one), in order. */
function quantizedTensors({ node }: { node: readonly NodeProto[] }): string[] {
  const names = node.filter(isLayer).flatMap((layer) => [layer.input[0], outputOf(node, layer)]);
  return [...new Set(names)];
}

function reluBehind(nodes: readonly NodeProto[], layer: NodeProto): NodeProto | undefined {
  return nodes.find(({ opType, input }) => opType === 'Relu' && input[0] === layer.output[0]);
}

const outputOf = (nodes: readonly NodeProto[], layer: NodeProto): string =>
  (reluBehind(nodes, layer) ?? layer).output[0];

/** What the tensors hold on some inputs. */
export async function calibrate(
  runtime: Runtime,
  bytes: Uint8Array,
  batches: readonly Record<string, Float32Array>[],
): Promise<Ranges> {
  const model = parse(bytes);
  const graph = model.graph!;
  const known = new Set(graph.output.map(({ name }) => name));
  const names = quantizedTensors(graph);
  for (const name of names) if (!known.has(name)) graph.output.push(create(ValueInfoProtoSchema, { name }));
  const observed = await loadOnnx(runtime, toBinary(ModelProtoSchema, model));
  const ranges = new Map<string, [number, number]>();
  for (const batch of batches) {
    const outputs = await observed.run(batch);
    for (const name of names) {
      const range = ranges.get(name) ?? [0, 0];
      for (const x of outputs[name].data) {
        range[0] = Math.min(range[0], x);
        range[1] = Math.max(range[1], x);
      }
      ranges.set(name, range);
    }
  }
  observed.free();
  return ranges;
}

function quantizationOf([min, max]: readonly [number, number]): Quantization {
  const scale = Math.fround((max - min) / 255);
  return { dtype: 'uint8', scale, zeroPoint: Math.round(-min / scale) };
}

export function quantizeModel(bytes: Uint8Array, ranges: Ranges, form: Form): Uint8Array<ArrayBuffer> {
  const { graph, opsetImport } = parse(bytes);
  const nodes = graph!.node;
  const tensor = (name: string) => graph!.initializer.find((candidate: TensorProto) => candidate.name === name)!;
  const floats = (name: string) => {
    const { dims, data } = readTensor(tensor(name), name, () => {});
    return { dims, data: Float32Array.from(data) };
  };
  const writer = new OnnxWriter(Number(opsetImport[0].version));
  writer.graph.input.push(...graph!.input);
  /** What stands for a tensor of the float network: codes, and what they mean, or f32 as before. */
  const codes = new Map<string, { name: string; q: [string, string]; quantization: Quantization }>();
  const scalars = (name: string, { scale, zeroPoint }: Quantization): [string, string] => {
    writer.floats(`${name}.scale`, [], [scale]).codes(`${name}.zero`, [], [zeroPoint], UINT8);
    return [`${name}.scale`, `${name}.zero`];
  };
  const quantized = (name: string) => {
    const known = codes.get(name);
    if (known) return known;
    const quantization = quantizationOf(ranges.get(name)!);
    const q = scalars(name, quantization);
    const made = { name: `${name}.codes`, q, quantization };
    writer.node('QuantizeLinear', [name, ...q], [made.name]);
    codes.set(name, made);
    return made;
  };
  /** The tensor as f32. */
  const dequantized = (name: string): string => {
    const known = codes.get(name);
    if (!known) return name;
    const output = `${name}.real${writer.graph.node.length}`;
    writer.node('DequantizeLinear', [known.name, ...known.q], [output]);
    return output;
  };
  for (const node of nodes) {
    const [input] = node.input;
    const [output] = node.output;
    if (isLayer(node)) {
      const from = quantized(input);
      const { dims, data } = floats(node.input[1]);
      const cols = data.length / dims[0];
      const packed = int8.pack(data, { rows: dims[0], cols });
      const w = `${node.input[1]}.int8`;
      const biasScale = packed.scale.map((s) => s * from.quantization.scale);
      const bias = floats(node.input[2]).data.map((x, r) => Math.round(x / biasScale[r]));
      writer.codes(w, dims, packed.codes, INT8).floats(`${w}.scale`, [dims[0]], packed.scale);
      writer.codes(`${w}.zero`, [dims[0]], new Int8Array(dims[0]), INT8);
      writer.codes(`${w}.bias`, [dims[0]], bias, INT32);
      const result = outputOf(nodes, node);
      const to = quantizationOf(ranges.get(result)!);
      const q = scalars(result, to);
      const made = { name: `${result}.codes`, q, quantization: to };
      const weights = [w, `${w}.scale`, `${w}.zero`];
      if (form === 'qoperator') {
        // A zero point of 0 is a Relu, which the range has seen to.
        if (node.opType === 'Conv') {
          emit(writer, node, 'QLinearConv', [from.name, ...from.q, ...weights, ...q, `${w}.bias`], made.name);
        } else {
          const gemm = [from.name, ...from.q, ...weights, `${w}.bias`, ...q];
          writer.node('com.microsoft.QGemm', gemm, [made.name], { transB: 1 });
        }
      } else {
        writer
          .floats(`${w}.bias.scale`, [dims[0]], biasScale)
          .codes(`${w}.bias.zero`, [dims[0]], new Int32Array(dims[0]), INT32);
        writer.node('DequantizeLinear', weights, [`${w}.real`], { axis: 0 });
        const biases = [`${w}.bias`, `${w}.bias.scale`, `${w}.bias.zero`];
        writer.node('DequantizeLinear', biases, [`${w}.bias.real`], { axis: 0 });
        emit(writer, node, node.opType, [dequantized(input), `${w}.real`, `${w}.bias.real`], output);
        if (reluBehind(nodes, node)) writer.node('Relu', [output], [result]);
        writer.node('QuantizeLinear', [result, ...q], [made.name]);
      }
      codes.set(result, made);
    } else if (node.opType === 'Relu' && codes.has(output)) {
      // Written with its layer.
    } else if (codes.has(input)) {
      // What moves codes.
      const from = codes.get(input)!;
      const made = { ...from, name: `${output}.codes` };
      if (form === 'qoperator') emit(writer, node, node.opType, [from.name], made.name);
      else {
        emit(writer, node, node.opType, [dequantized(input)], output);
        writer.node('QuantizeLinear', [output, ...from.q], [made.name]);
      }
      codes.set(output, made);
    } else {
      for (const name of node.input) {
        const constant = tensor(name);
        if (constant) writer.graph.initializer.push(constant);
      }
      writer.graph.node.push(node);
    }
  }
  for (const { name } of graph!.output) {
    const known = codes.get(name)!;
    const output = form === 'qdq' ? `${name}.quantized` : name;
    writer.node('DequantizeLinear', [known.name, ...known.q], [output]).output(output);
  }
  return writer.bytes();
}

/** The node with other inputs and another name of its output. */
function emit(
  writer: OnnxWriter,
  { attribute, name }: NodeProto,
  opType: string,
  input: string[],
  output: string,
): void {
  const graph = create(GraphProtoSchema, { node: [{ opType, name, input, output: [output], attribute }] });
  writer.graph.node.push(...graph.node);
}
