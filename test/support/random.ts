/** Seeded random numbers: the same seed gives the same matrix on every machine, so that a failure can be replayed. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [min, max]. */
  integer(min: number, max: number): number;
  /** Normal with mean 0 and standard deviation 1. */
  normal(): number;
}

/** xorshift32 (Marsaglia 2003), its seed scrambled so that neighbouring seeds are unlike. */
export function createRandom(seed: number): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ (seed >>> 3) || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 8; i++) next();
  return {
    next,
    integer: (min, max) => min + Math.floor(next() * (max - min + 1)),
    // Box-Muller; 1 - next() is never 0.
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}

/** Normal values, [length]. */
export function normals(random: Random, length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, () => scale * random.normal());
}

/** Uniform values in [min, max), [length]. */
export function uniforms(random: Random, length: number, min = -1, max = 1): Float32Array {
  return Float32Array.from({ length }, () => min + (max - min) * random.next());
}

/** A dense matrix of normal values, row-major [rows, cols]. */
export function denseMatrix(random: Random, rows: number, cols: number): Float32Array {
  return normals(random, rows * cols);
}

/**
 * A pruned matrix, row-major [rows, cols]: each weight is kept with probability `density`, and about one row in eight
 * has none, as happens in pruned networks.
 */
export function sparseMatrix(random: Random, rows: number, cols: number, density: number): Float32Array {
  const matrix = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    if (random.next() < 0.125) continue;
    for (let c = 0; c < cols; c++) if (random.next() < density) matrix[r * cols + c] = random.normal();
  }
  return matrix;
}
