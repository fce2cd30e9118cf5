// thinfer/tfjs/graph: what needs no tfjs-layers.
export { type Accelerated, type AccelerateOptions, type AnyModel, accelerate, type Report } from './accelerate.js';
export { type CodesHandler, type KeptCodes, keepCodes } from './codes.js';
export type { Formats, Kept, Replaced } from './found.js';
export { type InterceptOptions, interceptKernels } from './intercept.js';
export type { FormatSpec } from './operator.js';
