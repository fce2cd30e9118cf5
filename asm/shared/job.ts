// A job is the argument block of a kernel, written by src/wasm/job.ts field by field in this order. Every kernel
// is `(job, begin, end, scratch)`: it does tiles begin .. end - 1 of its stage, with `scratch` its own (one a thread).

/** What every job has. All are byte addresses but the clamp. */
@unmanaged
export class Job {
  input: usize;
  input2: usize;
  output: usize;
  /** Weights in the order of the layout's operands. */
  w0: usize;
  w1: usize;
  w2: usize;
  w3: usize;
  /** [groups][N padded as the layout says] */
  bias: usize;
  /** Scratch that all tiles and stages of the call see. */
  shared: usize;
  /** At least `channels` f32 zeros. */
  zeros: usize;
  /** The clamp that ends the kernel. */
  low: f32;
  high: f32;
}

/** linear and conv2d: see MatmulProblem in src/plan/problem.ts. */
@unmanaged
export class MatmulJob extends Job {
  M: u32;
  /** Of one group. */
  N: u32;
  /** N padded to whole panels. */
  paddedN: u32;
  K: u32;
  groups: u32;
  channels: u32;
  inHeight: u32;
  inWidth: u32;
  kernelHeight: u32;
  kernelWidth: u32;
  strideHeight: u32;
  strideWidth: u32;
  dilationHeight: u32;
  dilationWidth: u32;
  padTop: u32;
  padLeft: u32;
  outHeight: u32;
  outWidth: u32;
  /** Elements of one sample, and rows of A that one sample becomes. */
  sampleSize: u32;
  rowsPerSample: u32;
  samples: u32;
  padValue: u32;
  /** What an engine of kind `sdot` wants taken off unsigned codes: 128, else 0. */
  dotFlip: u32;
  /** Rows of A that one tile packs. */
  rowBlock: u32;
  /** Formats that become bytes (asm/shared/bytes/): steps of 4 along K, in all and in one group of scales. */
  steps: u32;
  groupSteps: u32;
  scaleGroups: u32;
  /** Steps whose 16-bit sums can't overflow; sparse formats: columns of a block of K. */
  chunk: u32;
  /** Whether some weight zero point in w3 is not 0. */
  weightZeros: u32;
  /** Code of a weight of 0 where weightZeros is 0. */
  zeroCode: u32;
  /** Sparse formats (asm/shared/sparse/spmm.ts): channels of a block, whose sums stay in L1. */
  channelBlock: u32;
  /** Parts of N that tiles of packed rows of A are cut into. */
  parts: u32;
  /** Parts that a sample is quantised in where it is quantised by what it holds. */
  sampleParts: u32;
  /** Of the output, when not 0: applied by a stage of its own, with the clamp that follows it. */
  nonlinearity: u32;
  finalLow: f32;
  finalHigh: f32;
  /** One of InputKind. */
  inputKind: u32;
  /** The Sample (asm/int8/quantize.ts) of all samples where the quantisation is given; its inverse is not used. */
  givenInverse: f32;
  givenScale: f32;
  givenZeroPoint: i32;
  /** One of OutputKind; of integers, the zero point and clamp. */
  outputKind: u32;
  outputZeroPoint: i32;
  outputLow: i32;
  outputHigh: i32;
}

/** What the input is: f32 as such or to be quantised by sample, f32 to be quantised as given, codes, signs. */
export namespace InputKind {
  export const F32: u32 = 0;
  export const GIVEN: u32 = 1;
  /** Codes as the products want them: unsigned, or, where dotFlip is 128, signed. */
  export const CODES: u32 = 2;
  /** Codes whose highest bit is to be inverted first. */
  export const FLIPPED: u32 = 3;
  export const BITS: u32 = 4;
}

/** What the output is. */
export namespace OutputKind {
  export const F32: u32 = 0;
  export const INT32: u32 = 1;
  export const UINT8: u32 = 2;
  export const INT8: u32 = 3;
  export const BITS: u32 = 4;
}
