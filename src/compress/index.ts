// Compression after training: from a graph to one that the kernels run in fewer bytes and less time.

export type { Comparison } from './compare.js';
export {
  type Compressed,
  type CompressionReport,
  type CompressOptions,
  compress,
  type LayerReport,
} from './compress.js';
export type { Calibration, Job, LayerChoice, Note, Step } from './step.js';
