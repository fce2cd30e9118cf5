export type { Backend } from './backend.js';
export type { DType } from './dtype.js';
export { type ErrorCode, ThinferError } from './errors.js';
export type { BinaryWeights } from './formats/binary.js';
export type { CodebookWeights } from './formats/codebook.js';
export type { CsrWeights } from './formats/csr.js';
export type { DenseWeights } from './formats/dense.js';
export type { FormatName, MatrixShape, Weights } from './formats/format.js';
export type { Int2Weights, Int4Weights, Int8GroupedWeights } from './formats/grouped.js';
export {
  bcsr,
  binary,
  codebook,
  csr,
  csrCodebook,
  csrInt8,
  dense,
  f16,
  formats,
  int2,
  int4,
  int8,
  int8Grouped,
  nm,
  ternary,
  xnor,
} from './formats/index.js';
export type { Int8Weights } from './formats/int8.js';
export type { TernaryWeights } from './formats/ternary.js';
export type { XnorWeights } from './formats/xnor.js';
export type { MemoryMode } from './layers/forms.js';
export type { Pair, WindowOptions } from './layers/geometry.js';
export type { Layer, LayerInput } from './layers/layer.js';
export type {
  ArithmeticOption,
  Conv2dOptions,
  MatmulOptions,
  OutputOption,
  QuantizationOption,
} from './layers/problem.js';
export type { ChoicesFile, Effort } from './plan/choices.js';
export type { Activation } from './plan/problem.js';
export type { ChoiceStorage } from './plan/storage.js';
export type { TuneMode } from './plan/tuner.js';
export type { BackendName, Candidate, Device } from './plan/variant.js';
export { createRuntime, type LayerOptions, Runtime, type RuntimeOptions } from './runtime.js';
export { Tensor } from './tensor.js';
