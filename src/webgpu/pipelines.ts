import { ThinferError } from '../errors.js';
import { type Binding, bindingsOf, type Stage, shaderText } from './variant.js';

/** A compiled shader and the buffers it declares. */
export interface Pipeline {
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  bindings: Binding[];
}

const SHADER_STAGE_COMPUTE = 4;

/** Compiled shaders by their text; those who ask for one at the same time share one compilation. */
export class PipelineCache {
  readonly #byText = new Map<string, Promise<Pipeline>>();
  readonly #ready = new Map<string, Pipeline>();

  constructor(private readonly device: GPUDevice) {}

  get(stage: Stage): Promise<Pipeline> {
    const text = shaderText(stage);
    let pipeline = this.#byText.get(text);
    if (!pipeline) {
      pipeline = this.#compile(text, stage.label);
      this.#byText.set(text, pipeline);
      pipeline.then(
        (ready) => this.#ready.set(text, ready),
        () => this.#byText.delete(text),
      );
    }
    return pipeline;
  }

  /** As `get`, without a promise: one that is not compiled yet is compiled by whoever uses it first, and waits for it. */
  getNow(stage: Stage): Pipeline {
    const text = shaderText(stage);
    let pipeline = this.#ready.get(text);
    if (!pipeline) {
      const { descriptor, layout, bindings } = this.#describe(text, stage.label);
      pipeline = { pipeline: this.device.createComputePipeline(descriptor), layout, bindings };
      this.#ready.set(text, pipeline);
    }
    return pipeline;
  }

  #describe(text: string, label: string) {
    const { device } = this;
    const bindings = bindingsOf(text);
    const module = device.createShaderModule({ code: text, label });
    const layout = device.createBindGroupLayout({
      label,
      entries: bindings.map(({ index, type }) => ({
        binding: index,
        visibility: SHADER_STAGE_COMPUTE,
        buffer: { type },
      })),
    });
    const descriptor: GPUComputePipelineDescriptor = {
      label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    };
    return { descriptor, module, layout, bindings };
  }

  async #compile(text: string, label: string): Promise<Pipeline> {
    const { device } = this;
    // The scope keeps a shader error from the page's console: createComputePipelineAsync reports it as well.
    device.pushErrorScope('validation');
    const { descriptor, module, layout, bindings } = this.#describe(text, label);
    const compiled = device.createComputePipelineAsync(descriptor);
    const scope = device.popErrorScope().catch(() => null);
    try {
      return { pipeline: await compiled, layout, bindings };
    } catch (cause) {
      const info = await module.getCompilationInfo().catch(() => undefined);
      const messages = (info?.messages ?? []).map(
        ({ type, lineNum, linePos, message }) => `${type} at ${lineNum}:${linePos} ${message}`,
      );
      const validation = await scope;
      throw new ThinferError({
        code: 'unsupported',
        place: `WebGPU shader ${label}`,
        expected: 'a shader that this device compiles',
        got: messages.join('; ') || validation?.message || String(cause),
        cause,
      });
    }
  }
}
