export { createWebgpuBackend, WebgpuBackend } from './backend.js';
export type { WebgpuOptions } from './device.js';
export type { Consts, Stage, WebgpuVariant } from './variant.js';
