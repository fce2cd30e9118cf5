import type { Device } from '../plan/variant.js';
import { MATRICES, matricesOf } from './matrices.js';

export interface WebgpuOptions {
  /** `navigator.gpu` or what stands for it, or a device of the caller's, which is used and never destroyed. */
  gpu?: GPU | GPUDevice;
}

/** A device, and the facts about it that selection reads. */
export interface OpenedDevice {
  gpu: GPUDevice;
  /** False for the caller's own device. */
  owned: boolean;
  facts: Device;
}

/** Used by some rows where present; nothing depends on them. */
const WANTED_FEATURES: readonly string[] = ['shader-f16', 'subgroups', 'timestamp-query', MATRICES];

const WANTED_LIMITS = [
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBuffersPerShaderStage',
] as const;

/** The device to compute on, or why there is none. */
export async function openDevice({ gpu }: WebgpuOptions): Promise<OpenedDevice | string> {
  if (gpu && 'createComputePipelineAsync' in gpu) {
    return { gpu, owned: false, facts: deviceFacts(gpu, (globalThis.navigator?.gpu ?? dawn)?.wgslLanguageFeatures) };
  }
  const entry = gpu ?? (await findGpu());
  if (typeof entry === 'string') return entry;
  try {
    const adapter = await entry.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) return 'WebGPU found no adapter';
    const device = await adapter.requestDevice({
      label: 'thinfer',
      requiredFeatures: WANTED_FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
      requiredLimits: Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]])),
    });
    const facts = deviceFacts(device, entry.wgslLanguageFeatures, adapter.info);
    if (!facts.features.has(MATRICES)) return { gpu: device, owned: true, facts };
    return { gpu: device, owned: true, facts: { ...facts, matrices: await matricesOf(device, adapter.info) } };
  } catch (error) {
    return `WebGPU gave no device: ${error instanceof Error ? error.message : error}`;
  }
}

/**
 * Every kernel writes workgroup memory before it reads it. Without this SwiftShader takes seconds to compile the zeroing
 * of each tile. Subgroup matrices are offered only where what is experimental is allowed.
 */
const DAWN_OPTION = 'enable-dawn-features=disable_workgroup_init,allow_unsafe_apis';

/** Dawn must outlive its devices, or the process aborts: one for all of them, never collected. */
let dawn: GPU | undefined;

/** `navigator.gpu`, or Dawn through the npm package `webgpu` in Node. */
async function findGpu(): Promise<GPU | string> {
  const gpu = globalThis.navigator?.gpu;
  if (gpu) return gpu;
  if (typeof process === 'undefined' || !process.versions?.node) return 'this browser has no WebGPU';
  // Not a literal, so that bundlers leave the optional package alone.
  const optional = 'webgpu';
  try {
    const { create } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ optional)) as {
      create(options: string[]): GPU;
    };
    dawn ??= create([DAWN_OPTION]);
    return dawn;
  } catch {
    return 'the npm package webgpu is not installed';
  }
}

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render|software/i;

function deviceFacts(gpu: GPUDevice, language?: ReadonlySet<string>, info = gpu.adapterInfo): Device {
  const names = [info?.vendor, info?.architecture, info?.description].filter(Boolean);
  const label = names.length > 0 ? names.join(' ') : 'webgpu';
  const software = info?.isFallbackAdapter === true || SOFTWARE.test(`${label} ${info?.device}`);
  const limits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) limits[name] = gpu.limits[name];
  return {
    backend: 'webgpu',
    label,
    features: new Set([...gpu.features, ...(language ?? [])]),
    // Orders of magnitude for the first choice; timing on the device corrects them.
    ...(software
      ? { macsPerNs: 0.5, bytesPerNs: 2, dispatchMs: 0.1, runMs: 5 }
      : { macsPerNs: 2000, bytesPerNs: 200, dispatchMs: 0.008, runMs: 1.5 }),
    // Reading back waits for what was submitted: that is most of a run.
    transfer: software ? { writeMs: 0.1, readMs: 5, bytesPerNs: 2 } : { writeMs: 0.05, readMs: 1.5, bytesPerNs: 5 },
    limits,
  };
}
