// Matrices and tensors as products of smaller ones.

import { EigenvalueDecomposition, Matrix, solve } from 'ml-matrix';
import { mix } from '../../formats/hashed.js';

/** Orthonormal columns that capture most of a matrix' rows' space, those that capture most first. */
export interface Basis {
  /** [size, size]: columns are the left singular vectors. */
  vectors: Matrix;
  /** Squares of the singular values, descending. */
  energies: Float64Array;
}

/**
 * Left singular vectors and squared singular values of `matrix`: the eigenvectors of its product with its own transpose,
 * which is as large as the smaller side asks.
 */
export function leftBasis(matrix: Matrix): Basis {
  const { vectors, values } = eigen(matrix.mmul(matrix.transpose()));
  return { vectors, energies: values };
}

function eigen(symmetric: Matrix): { vectors: Matrix; values: Float64Array } {
  const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(symmetric, { assumeSymmetric: true });
  const order = Array.from(realEigenvalues.keys()).sort((a, b) => realEigenvalues[b] - realEigenvalues[a]);
  const values = Float64Array.from(order, (i) => Math.max(realEigenvalues[i], 0));
  return { vectors: eigenvectorMatrix.subMatrixColumn(order), values };
}

export interface Product {
  /** [rows, rank] */
  left: Matrix;
  /** [rank, cols] */
  right: Matrix;
}

/** A matrix as products of rank 1, 2, ..., each the nearest of its rank (Eckart and Young 1936). */
export interface Decomposition {
  /** Squared singular values, descending. */
  energies: Float64Array;
  /** Both factors share the singular values evenly, so that neither is of large numbers. */
  at(rank: number): Product;
}

export function decompose(matrix: Matrix): Decomposition {
  const wide = matrix.rows <= matrix.columns;
  const { vectors, energies } = leftBasis(wide ? matrix : matrix.transpose());
  const at = (rank: number): Product => {
    const basis = vectors.subMatrix(0, vectors.rows - 1, 0, rank - 1);
    // The other factor is the matrix in this basis: rows as long as their singular values.
    const rest = basis.transpose().mmul(wide ? matrix : matrix.transpose());
    for (let k = 0; k < rank; k++) {
      const root = Math.sqrt(Math.sqrt(energies[k]));
      if (root === 0) continue;
      basis.mulColumn(k, root);
      rest.mulRow(k, 1 / root);
    }
    return wide ? { left: basis, right: rest } : { left: rest.transpose(), right: basis.transpose() };
  };
  return { energies, at };
}

/** A tensor [outputs, taps, inputs], row-major. */
export interface Kernel {
  outputs: number;
  taps: number;
  inputs: number;
  values: ArrayLike<number>;
}

/** Rows are outputs. */
export function byOutput({ outputs, taps, inputs, values }: Kernel): Matrix {
  return Matrix.from1DArray(outputs, taps * inputs, values as number[]);
}

/** Rows are inputs, columns output and tap. */
export function byInput({ outputs, taps, inputs, values }: Kernel): Matrix {
  const matrix = Matrix.zeros(inputs, outputs * taps);
  for (let at = 0; at < outputs * taps * inputs; at++) matrix.set(at % inputs, Math.floor(at / inputs), values[at]);
  return matrix;
}

/** Rows are taps, columns output and input. */
function byTap({ outputs, taps, inputs, values }: Kernel): Matrix {
  const matrix = Matrix.zeros(taps, outputs * inputs);
  for (let o = 0; o < outputs; o++) {
    for (let t = 0; t < taps; t++) {
      for (let i = 0; i < inputs; i++) matrix.set(t, o * inputs + i, values[(o * taps + t) * inputs + i]);
    }
  }
  return matrix;
}

export interface Tucker {
  /** [outputs, outputRank], orthonormal columns. */
  out: Matrix;
  /** A kernel of outputRank outputs and inputRank inputs. */
  core: Kernel;
  /** [inputs, inputRank], orthonormal columns. */
  in: Matrix;
}

/** Rounds in which each of the two bases is found anew for the other. */
const ROUNDS = 4;

/** The kernel in two bases: of outputs and of inputs. */
function inBases(kernel: Kernel, out: Matrix, input: Matrix): Kernel {
  const { taps, inputs } = kernel;
  const reduced = out.transpose().mmul(byOutput(kernel)).to1DArray();
  const values = Matrix.from1DArray(out.columns * taps, inputs, reduced)
    .mmul(input)
    .to1DArray();
  return { outputs: out.columns, taps, inputs: input.columns, values };
}

/**
 * Tucker-2: a kernel as a smaller one between two bases, begun with the singular vectors of both unfoldings and then
 * improved in turns (De Lathauwer, De Moor and Vandewalle 2000, the higher-order orthogonal iteration).
 */
export function tucker(kernel: Kernel, outputRank: number, inputRank: number): Tucker {
  const { outputs, taps, inputs } = kernel;
  const first = (basis: Basis, rank: number) => basis.vectors.subMatrix(0, basis.vectors.rows - 1, 0, rank - 1);
  let out = first(leftBasis(byOutput(kernel)), outputRank);
  let input = first(leftBasis(byInput(kernel)), inputRank);
  if (outputRank < outputs || inputRank < inputs) {
    for (let round = 0; round < ROUNDS; round++) {
      const lessInputs = { outputs, taps, inputs: inputRank, values: byTimes(kernel, input) };
      out = first(leftBasis(byOutput(lessInputs)), outputRank);
      const lessOutputs = out.transpose().mmul(byOutput(kernel)).to1DArray();
      input = first(leftBasis(byInput({ outputs: outputRank, taps, inputs, values: lessOutputs })), inputRank);
    }
  }
  return { out, core: inBases(kernel, out, input), in: input };
}

/** The kernel with its inputs in another basis. */
function byTimes({ outputs, taps, inputs, values }: Kernel, basis: Matrix): number[] {
  return Matrix.from1DArray(outputs * taps, inputs, values as number[])
    .mmul(basis)
    .to1DArray();
}

export interface Canonical {
  /** [outputs, rank] */
  out: Matrix;
  /** [taps, rank] */
  taps: Matrix;
  /** [inputs, rank] */
  in: Matrix;
  /** 1 - ||kernel - product||^2 / ||kernel||^2 */
  energy: number;
}

const MOST_SWEEPS = 60;
/** Sweeps end where the captured energy grows by less. */
const SETTLED = 1e-5;
/** Added to the diagonal of the products of factors, as a share of its mean: neighbouring terms would cancel each other. */
const DAMPING = 1e-6;

/**
 * CP: a kernel as a sum of `rank` products of an output, a tap and an input vector, by alternating least squares (Lebedev et
 * al. 2015, Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition). Begins with the singular vectors
 * of the unfoldings, where there are more terms than those with pseudo-random numbers.
 */
export function canonical(kernel: Kernel, rank: number, seed = 1): Canonical {
  const unfolded = [byOutput(kernel), byTap(kernel), byInput(kernel)];
  const total = unfolded[0].to1DArray().reduce((sum, w) => sum + w * w, 0);
  const factors = unfolded.map((matrix, which) => startingFactor(matrix, rank, seed + which));
  let energy = 0;
  if (total === 0) return { out: factors[0].mul(0), taps: factors[1], in: factors[2], energy: 1 };
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let left = 0;
    for (let which = 0; which < 3; which++) {
      const others = factors.filter((_, i) => i !== which);
      // Columns of an unfolding count the first of the others slowest.
      const product = khatriRao(others[0], others[1]);
      const gram = others[0].transpose().mmul(others[0]).mul(others[1].transpose().mmul(others[1]));
      const damping = (DAMPING * gram.trace()) / rank;
      for (let k = 0; k < rank; k++) gram.set(k, k, gram.get(k, k) + damping);
      const moments = unfolded[which].mmul(product);
      factors[which] = solve(gram, moments.transpose()).transpose();
      if (which === 2) {
        const fitted = factors[2].mmul(product.transpose());
        left = Matrix.sub(unfolded[2], fitted)
          .to1DArray()
          .reduce((sum, w) => sum + w * w, 0);
      }
    }
    balance(factors);
    const now = 1 - left / total;
    const grown = now - energy;
    energy = now;
    if (sweep > 2 && grown < SETTLED) break;
  }
  return { out: factors[0], taps: factors[1], in: factors[2], energy };
}

function startingFactor(matrix: Matrix, rank: number, seed: number): Matrix {
  const { vectors } = leftBasis(matrix);
  const factor = Matrix.zeros(matrix.rows, rank);
  for (let r = 0; r < matrix.rows; r++) {
    for (let k = 0; k < rank; k++) {
      const random = mix(seed * 7919 + r * rank + k) / 2 ** 31 - 1;
      factor.set(r, k, k < vectors.columns ? vectors.get(r, k) : random);
    }
  }
  return factor;
}

/** Row (i, j) is the elementwise product of row i and row j. */
function khatriRao(a: Matrix, b: Matrix): Matrix {
  const product = Matrix.zeros(a.rows * b.rows, a.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < b.rows; j++) {
      for (let k = 0; k < a.columns; k++) product.set(i * b.rows + j, k, a.get(i, k) * b.get(j, k));
    }
  }
  return product;
}

/** Makes the three vectors of each term equally long. */
function balance(factors: readonly Matrix[]): void {
  for (let k = 0; k < factors[0].columns; k++) {
    const lengths = factors.map((factor) => Math.sqrt(factor.getColumn(k).reduce((sum, x) => sum + x * x, 0)));
    const product = lengths[0] * lengths[1] * lengths[2];
    if (!(product > 0)) continue;
    for (const [i, factor] of factors.entries()) factor.mulColumn(k, Math.cbrt(product) / lengths[i]);
  }
}
