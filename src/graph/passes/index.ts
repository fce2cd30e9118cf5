import type { Graph } from '../ir.js';
import { fuseActivation } from './activation.js';
import { foldBatchNorm, lowerBatchNorm } from './batchnorm.js';
import { foldBias } from './bias.js';
import { findActivations, findNormalizations, foldAffine } from './composites.js';
import { foldConstants } from './constants.js';
import { foldDynamic } from './dynamic.js';
import { foldFlatten, fuseTransposes, sinkTransposes, toNhwc, transposeToReshape } from './layout.js';
import { foldDequantize, fuseQuantizedFunctions } from './quantized-functions.js';
import { fuseQuantizedLayers } from './quantized-layers.js';
import { moveCodes } from './quantized-moves.js';
import { removeDead } from './rewrite.js';

/** From a graph to one that computes the same with less work. Pure: the argument is not changed. */
export type GraphPass = (graph: Graph) => Graph;

/** Every pass, in the order in which `optimize` runs them. */
export const PASSES: readonly { name: string; run: GraphPass }[] = [
  { name: 'removeDead', run: removeDead },
  { name: 'foldConstants', run: foldConstants },
  { name: 'foldDynamic', run: foldDynamic },
  { name: 'findActivations', run: findActivations },
  { name: 'findNormalizations', run: findNormalizations },
  { name: 'foldAffine', run: foldAffine },
  { name: 'foldBatchNorm', run: foldBatchNorm },
  { name: 'lowerBatchNorm', run: lowerBatchNorm },
  { name: 'foldBias', run: foldBias },
  { name: 'fuseActivation', run: fuseActivation },
  { name: 'moveCodes', run: moveCodes },
  { name: 'fuseQuantizedLayers', run: fuseQuantizedLayers },
  { name: 'fuseQuantizedFunctions', run: fuseQuantizedFunctions },
  { name: 'foldDequantize', run: foldDequantize },
  { name: 'toNhwc', run: toNhwc },
  { name: 'sinkTransposes', run: sinkTransposes },
  { name: 'foldFlatten', run: foldFlatten },
  { name: 'fuseTransposes', run: fuseTransposes },
  { name: 'transposeToReshape', run: transposeToReshape },
];

/** Runs all passes. The result has NHWC images only and no batchNorm: what a model runs. */
export function optimize(graph: Graph): Graph {
  return PASSES.reduce((current, pass) => pass.run(current), graph);
}
