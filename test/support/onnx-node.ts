import { fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Backend } from '../../src/backend.js';
import type { TensorLike } from '../../src/graph/inputs.js';
import { ModelProtoSchema, TensorProtoSchema } from '../../src/onnx/generated/onnx_pb.js';
import { loadOnnx } from '../../src/onnx/index.js';
import { readTensor } from '../../src/onnx/tensor.js';

/**
 * Inputs that thinfer wants constant (weights, shapes, limits), by operator: the ONNX project's node tests have them as
 * inputs of the graph, and get them as initializers here. All others stay inputs.
 */
const CONSTANT_INPUTS: Readonly<Record<string, readonly number[]>> = {
  BatchNormalization: [1, 2, 3, 4],
  Clip: [1, 2],
  ConstantOfShape: [0],
  Conv: [1, 2],
  ConvInteger: [1, 2],
  ConvTranspose: [1, 2],
  CumSum: [1],
  DequantizeLinear: [1, 2],
  Dropout: [1, 2],
  Expand: [1],
  GRU: [1, 2, 3, 4],
  Gemm: [1],
  LSTM: [1, 2, 3, 4, 7],
  MatMulInteger: [1, 2, 3],
  Pad: [1, 2, 3],
  QLinearConv: [1, 2, 3, 4, 5, 6, 7],
  QLinearMatMul: [1, 2, 4, 5, 6, 7],
  QuantizeLinear: [1, 2],
  RNN: [1, 2, 3, 4],
  Range: [0, 1, 2],
  ReduceSum: [1],
  Reshape: [1],
  Resize: [1, 2, 3],
  Slice: [1, 2, 3, 4],
  Split: [1],
  Squeeze: [1],
  Tile: [1],
  TopK: [1],
  Trilu: [1],
  Unsqueeze: [1],
};

interface Floats {
  shape: number[];
  data: Float32Array;
}

/** One test of the ONNX project: its model, and what that gives for which inputs. */
interface NodeTest {
  bytes: Uint8Array<ArrayBuffer>;
  inputs: Record<string, TensorLike>;
  outputs: (Floats & { name: string })[];
}

export function readNodeTest(read: (file: string) => Uint8Array): NodeTest {
  const parse = (file: string) => fromBinary(TensorProtoSchema, read(`test_data_set_0/${file}`));
  const floats = (file: string): Floats => {
    const { dims, data } = readTensor(parse(file), file, () => {});
    return { shape: dims, data: Float32Array.from(data) };
  };
  /** What an input is in the model: codes stay such. */
  const elements = (file: string): TensorLike => {
    const tensor = readTensor(parse(file), file, () => {});
    return tensor.kind === 'codes' ? { shape: tensor.dims, data: tensor.data } : floats(file);
  };
  const proto = fromBinary(ModelProtoSchema, read('model.onnx'));
  // Operators that are older than any set that we read did not change up to the first.
  for (const entry of proto.opsetImport) if (entry.version < 7n) entry.version = 7n;
  const { node, input, output, initializer } = proto.graph!;
  const inputs: Record<string, TensorLike> = {};
  for (const [i, { name }] of input.entries()) {
    const constant = CONSTANT_INPUTS[node[0].opType]?.includes(node[0].input.indexOf(name));
    if (constant) initializer.push({ ...parse(`input_${i}.pb`), name });
    else inputs[name] = elements(`input_${i}.pb`);
  }
  const outputs = output.map(({ name }, i) => ({ name, ...floats(`output_${i}.pb`) }));
  return { bytes: toBinary(ModelProtoSchema, proto), inputs, outputs };
}

/** Runs one test of the ONNX project; what is wrong in words, or undefined. Throws what loading or running throws. */
export async function runNodeTest(backend: Backend, read: (file: string) => Uint8Array): Promise<string | undefined> {
  const { bytes, inputs, outputs } = readNodeTest(read);
  const model = await loadOnnx({ backends: [backend] }, bytes);
  const got = await model.run(inputs);
  model.free();
  for (const { name, shape, data } of outputs) {
    if (got[name].shape.join() !== shape.join()) return `${name} has the shape [${got[name].shape}], not [${shape}]`;
    const wrong = data.findIndex((x, at) => {
      const y = got[name].data[at];
      return !Object.is(x, y) && x !== y && !(Math.abs(x - y) <= 1e-4 * (1 + Math.abs(x)));
    });
    if (wrong >= 0) return `${name}[${wrong}] = ${got[name].data[wrong]}, not ${data[wrong]}`;
  }
  return undefined;
}
