// The few functions of each peer that the benchmark calls.

export interface OrtTensor {
  readonly data: ArrayLike<number>;
}
export interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, OrtTensor>, fetches?: readonly string[]): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
export interface Ort {
  env: { wasm: { numThreads?: number; wasmPaths?: string }; logLevel?: string };
  Tensor: new (type: 'float32' | 'uint8', data: Float32Array | Uint8Array, dims: readonly number[]) => OrtTensor;
  InferenceSession: {
    create(
      model: Uint8Array,
      options: {
        executionProviders: string[];
        logSeverityLevel?: number;
        graphOptimizationLevel?: 'disabled';
        extra?: { session: Record<string, string> };
      },
    ): Promise<OrtSession>;
  };
}
export function loadOrt(): Promise<Ort>;

export interface LiteRtTensor {
  toTypedArray(): ArrayLike<number>;
  delete(): void;
}
export interface LiteRtModel {
  run(input: LiteRtTensor): Promise<LiteRtTensor[]>;
  delete(): void;
}
export interface LiteRt {
  loadLiteRt(folder: string, options: { threads: boolean }): Promise<unknown>;
  loadAndCompile(
    model: Uint8Array,
    options: { accelerator: 'wasm'; cpuOptions: { numThreads: number } },
  ): Promise<LiteRtModel>;
  Tensor: new (data: Float32Array, shape: readonly number[]) => LiteRtTensor;
}
export function loadLiteRtModule(): Promise<LiteRt>;

export interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}
export interface Tf {
  env(): { set(flag: string, value: boolean): void };
  setBackend(name: string): Promise<boolean>;
  backend(): unknown;
  ready(): Promise<void>;
  tensor(data: Float32Array | Int32Array, shape: readonly number[], dtype?: 'float32' | 'int32'): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  conv2d(x: TfTensor, filter: TfTensor, strides: number, padding: 'same'): TfTensor;
  depthwiseConv2d(x: TfTensor, filter: TfTensor, strides: number, padding: 'same'): TfTensor;
  softmax(x: TfTensor): TfTensor;
  maxPool(x: TfTensor, kernel: number, stride: number, padding: 'same' | 'valid'): TfTensor;
  avgPool(x: TfTensor, kernel: number, stride: number, padding: 'same' | 'valid'): TfTensor;
  relu(x: TfTensor): TfTensor;
  sigmoid(x: TfTensor): TfTensor;
  tanh(x: TfTensor): TfTensor;
  exp(x: TfTensor): TfTensor;
  erf(x: TfTensor): TfTensor;
  sqrt(x: TfTensor): TfTensor;
  add(a: TfTensor, b: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor): TfTensor;
  div(a: TfTensor, b: TfTensor): TfTensor;
  transpose(x: TfTensor, perm: readonly number[]): TfTensor;
  gather(x: TfTensor, indices: TfTensor): TfTensor;
  slice(x: TfTensor, begin: readonly number[], size: readonly number[]): TfTensor;
  mean(x: TfTensor, axis: number): TfTensor;
  max(x: TfTensor, axis: number): TfTensor;
  image: {
    resizeBilinear(x: TfTensor, size: [number, number], alignCorners: boolean, halfPixelCenters: boolean): TfTensor;
  };
}
export interface TfWasm {
  setWasmPaths(folder: string): void;
  setThreadsCount(threads: number): void;
}
export function loadTfjs(): Promise<{ tf: Tf; wasm: TfWasm }>;
export function loadTfjsWebgpu(): Promise<Tf>;
