// Compression after training: from a graph to one that the kernels run in fewer bytes and less time.

export type { Comparison } from './compare.js';
export {
  type Compressed,
  type CompressionReport,
  type CompressOptions,
  compress,
  type LayerReport,
} from './compress.js';
export type { Importance } from './pruning/importance.js';
export type { PrunePattern } from './pruning/pattern.js';
export { type PruneOptions, prune } from './pruning/prune.js';
export { type ObsOptions, obd, obs, type SecondOrderOptions } from './pruning/second-order.js';
export type { Calibration, Job, LayerChoice, Note, Step } from './step.js';
