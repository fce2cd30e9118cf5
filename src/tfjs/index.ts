export * from './graph.js';
export {
  ThinConv2D,
  type ThinConv2DArgs,
  ThinDense,
  type ThinDenseArgs,
  ThinDepthwiseConv2D,
  type ThinDepthwiseConv2DArgs,
  thinConv2D,
  thinDense,
  thinDepthwiseConv2D,
  thinReady,
} from './layers.js';
export { type ThinModelOptions, thinModel } from './thin-model.js';
