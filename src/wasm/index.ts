export { createWasmBackend, type WasmBackend } from './backend.js';
export type { WasmOptions } from './module.js';
export { type Engine, type ModuleName, probeEngine } from './probe.js';
