/**
 * Inputs that thinfer wants constant (weights, shapes, limits), by operator: the ONNX project's node tests have them as
 * inputs of the graph, and get them as initializers here. All others stay inputs.
 */
export const CONSTANT_INPUTS: Readonly<Record<string, readonly number[]>> = {
  BatchNormalization: [1, 2, 3, 4],
  Clip: [1, 2],
  ConstantOfShape: [0],
  Conv: [1, 2],
  ConvTranspose: [1, 2],
  Dropout: [1, 2],
  Expand: [1],
  Gemm: [1, 2],
  Pad: [1, 2, 3],
  Range: [0, 1, 2],
  Reshape: [1],
  Resize: [1, 2, 3],
  Slice: [1, 2, 3, 4],
  Split: [1],
  Squeeze: [1],
  Tile: [1],
  Trilu: [1],
  Unsqueeze: [1],
  GRU: [1, 2, 3, 4],
  LSTM: [1, 2, 3, 4, 7],
  RNN: [1, 2, 3, 4],
  ReduceSum: [1],
};
