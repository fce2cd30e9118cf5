// Compression after training: from a graph to one that the kernels run in fewer bytes and less time.

export type { Graph } from '../graph/ir.js';
export { Model, type ModelOptions } from '../graph/model.js';
export { type AutoOptions, auto, type FrontPoint, type Measured, mixed } from './auto/auto.js';
export { CANDIDATES, type Candidate } from './auto/candidates.js';
export { binarize, ternarize, xnorize } from './binary.js';
export type { Comparison } from './compare.js';
export {
  type Compressed,
  type CompressionReport,
  type CompressOptions,
  compress,
  type LayerReport,
} from './compress.js';
export { cp, type LowRankOptions, type Rank, svd, type TuckerOptions, tucker2 } from './lowrank/lowrank.js';
export { merge } from './merge.js';
export { type ByLayerOptions, pruneByLayer } from './pruning/by-layer.js';
export { type FilterOptions, pruneFilters } from './pruning/filters.js';
export type { Importance } from './pruning/importance.js';
export { type LayerRemovalOptions, removeLayers } from './pruning/layers.js';
export type { PrunePattern } from './pruning/pattern.js';
export { type PruneOptions, prune } from './pruning/prune.js';
export { type ObsOptions, obd, obs, type SecondOrderOptions } from './pruning/second-order.js';
export { type AdaroundOptions, adaround } from './quantisation/adaround.js';
export { biasCorrected } from './quantisation/bias.js';
export { type EqualizeOptions, equalize } from './quantisation/equalize.js';
export type { Grid } from './quantisation/floats.js';
export { type GptqOptions, gptq } from './quantisation/gptq.js';
export { type IntegerFormat, type QuantizeOptions, quantize } from './quantisation/quantize.js';
export type { RangeMethod } from './quantisation/ranges.js';
export { type ClusterOptions, cluster } from './sharing/cluster.js';
export { type DeepCompressionOptions, deepCompression, type StageBytes, stagesOf } from './sharing/deep.js';
export { type HashOptions, hash } from './sharing/hashed.js';
export type { Start } from './sharing/start.js';
export type { Calibration, Job, LayerChoice, Note, Step } from './step.js';
