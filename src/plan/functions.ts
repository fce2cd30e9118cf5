import type { BinaryOperator, UnaryFunction } from './problem.js';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The functions of one number in f64: what kernels are checked against, and what constants are folded by. */
export const UNARY_FUNCTIONS: Readonly<Record<UnaryFunction, (x: number) => number>> = {
  sigmoid,
  tanh: Math.tanh,
  hardSwish: (x) => x * Math.min(Math.max(x / 6 + 0.5, 0), 1),
  silu: (x) => x * sigmoid(x),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  geluTanh: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: (x) => 1 / x,
  abs: Math.abs,
  erf,
  elu: (x) => (x < 0 ? Math.expm1(x) : x),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfToEven,
  sign: Math.sign,
  sin: Math.sin,
  cos: Math.cos,
};

/** The functions of two numbers in f64. */
export const BINARY_FUNCTIONS: Readonly<Record<BinaryOperator, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
  pow: (a, b) => a ** b,
  mod: (a, b) => a - b * Math.floor(a / b),
  rem: (a, b) => a % b,
  prelu: (a, b) => (a < 0 ? a * b : a),
  equal: (a, b) => Number(a === b),
  less: (a, b) => Number(a < b),
  lessOrEqual: (a, b) => Number(a <= b),
  and: (a, b) => Number(a !== 0 && b !== 0),
  or: (a, b) => Number(a !== 0 || b !== 0),
  xor: (a, b) => Number((a !== 0) !== (b !== 0)),
  keep: (a, b) => (b !== 0 ? a : 0),
  drop: (a, b) => (b === 0 ? a : 0),
};

function roundHalfToEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/** erf x: its series 2 / sqrt(pi) sum of (-1)^n x^(2 n + 1) / (n! (2 n + 1)) up to 3, 1 - erfc beyond. */
function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size > 3) return Math.sign(x) * (1 - erfc(size));
  let power = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    power *= (-x * x) / n;
    sum += power / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** erfc x for x > 2: e^(-x^2) / sqrt(pi) over the continued fraction x + (1/2) / (x + (2/2) / (x + (3/2) / ...)). */
function erfc(x: number): number {
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}
