// Register tiles: i32 sums [MR][8] of `steps` steps, stored at `to`.

export const NR: u32 = 8;
/** Rows of the register tile: only the dot adds up without a register for the product. */
export const MR: u32 = MODULE == 0 ? 6 : 4;

/** w (signed) times a, summed in fours into c. */
// @ts-ignore: decorator
@inline
export function dot(w: v128, a: v128, c: v128): v128 {
  if (EMULATE_DOT == 0) return i32x4.relaxed_dot_i8x16_i7x16_add_s(w, a, c);
  // Test builds: the same sums spelled out, with `a` unsigned (1) or signed (2).
  const w0 = i16x8.extend_low_i8x16_s(w), w1 = i16x8.extend_high_i8x16_s(w);
  const a0 = EMULATE_DOT == 1 ? i16x8.extend_low_i8x16_u(a) : i16x8.extend_low_i8x16_s(a);
  const a1 = EMULATE_DOT == 1 ? i16x8.extend_high_i8x16_u(a) : i16x8.extend_high_i8x16_s(a);
  const s0 = i32x4.dot_i16x8_s(w0, a0), s1 = i32x4.dot_i16x8_s(w1, a1);
  return i32x4.add(c, i32x4.add(i32x4.shuffle(s0, s1, 0, 2, 4, 6), i32x4.shuffle(s0, s1, 1, 3, 5, 7)));
}

export function tileDot(a: usize, b: usize, steps: u32, to: usize): void {
  if (MODULE != 0) return;
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00;
  let c30 = c00, c31 = c00, c40 = c00, c41 = c00, c50 = c00, c51 = c00;
  const end = a + <usize>steps * 24;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = dot(b0, x, c00);
    c01 = dot(b1, x, c01);
    x = v128.load32_splat(a, 4);
    c10 = dot(b0, x, c10);
    c11 = dot(b1, x, c11);
    x = v128.load32_splat(a, 8);
    c20 = dot(b0, x, c20);
    c21 = dot(b1, x, c21);
    x = v128.load32_splat(a, 12);
    c30 = dot(b0, x, c30);
    c31 = dot(b1, x, c31);
    x = v128.load32_splat(a, 16);
    c40 = dot(b0, x, c40);
    c41 = dot(b1, x, c41);
    x = v128.load32_splat(a, 20);
    c50 = dot(b0, x, c50);
    c51 = dot(b1, x, c51);
    a += 24;
    b += 32;
  } while (a < end);
  v128.store(to, c00, 0);
  v128.store(to, c01, 16);
  v128.store(to, c10, 32);
  v128.store(to, c11, 48);
  v128.store(to, c20, 64);
  v128.store(to, c21, 80);
  v128.store(to, c30, 96);
  v128.store(to, c31, 112);
  v128.store(to, c40, 128);
  v128.store(to, c41, 144);
  v128.store(to, c50, 160);
  v128.store(to, c51, 176);
}

/** w (signed) times a (unsigned), summed in twos, as pmaddubsw does it. */
// @ts-ignore: decorator
@inline
export function maddubs(w: v128, a: v128): v128 {
  if (MODULE == 1) return v128.relaxed_dot<i16>(w, a);
  return w;
}

/** Four channels' 32-bit sums, and their pairs of 16-bit sums. */
// @ts-ignore: decorator
@inline
export function widened(sums: usize, pairs: v128): v128 {
  return i32x4.add(v128.load(sums), i32x4.extadd_pairwise_i16x8_s(pairs));
}

// @ts-ignore: decorator
@inline
export function widenInto(to: usize, pairs: v128): void {
  v128.store(to, widened(to, pairs));
}

export function tileMaddubs(a: usize, b: usize, steps: u32, chunk: u32, to: usize): void {
  if (MODULE != 1) return;
  const zero = i32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) v128.store(to + i, zero);
  while (steps > 0) {
    const count = min(steps, chunk);
    let c00 = i16x8.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    const end = a + <usize>count * 16;
    do {
      const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
      let x = v128.load32_splat(a, 0);
      c00 = i16x8.add(c00, maddubs(b0, x));
      c01 = i16x8.add(c01, maddubs(b1, x));
      x = v128.load32_splat(a, 4);
      c10 = i16x8.add(c10, maddubs(b0, x));
      c11 = i16x8.add(c11, maddubs(b1, x));
      x = v128.load32_splat(a, 8);
      c20 = i16x8.add(c20, maddubs(b0, x));
      c21 = i16x8.add(c21, maddubs(b1, x));
      x = v128.load32_splat(a, 12);
      c30 = i16x8.add(c30, maddubs(b0, x));
      c31 = i16x8.add(c31, maddubs(b1, x));
      a += 16;
      b += 32;
    } while (a < end);
    widenInto(to, c00);
    widenInto(to + 16, c01);
    widenInto(to + 32, c10);
    widenInto(to + 48, c11);
    widenInto(to + 64, c20);
    widenInto(to + 80, c21);
    widenInto(to + 96, c30);
    widenInto(to + 112, c31);
    steps -= count;
  }
}

export function tilePairs(a: usize, b: usize, steps: u32, to: usize): void {
  if (MODULE == 0) return;
  let c00 = i32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const end = a + <usize>steps * 32;
  do {
    const b0 = v128.load(b, 0), b1 = v128.load(b, 16);
    let x = v128.load32_splat(a, 0);
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 4);
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 8);
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(x, b0));
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(x, b1));
    x = v128.load32_splat(a, 12);
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(x, b0));
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(x, b1));
    a += 16;
    b += 32;
  } while (a < end);
  v128.store(to, c00, 0);
  v128.store(to, c01, 16);
  v128.store(to, c10, 32);
  v128.store(to, c11, 48);
  v128.store(to, c20, 64);
  v128.store(to, c21, 80);
  v128.store(to, c30, 96);
  v128.store(to, c31, 112);
}

/** A panel of bytes as 16-bit pairs with weight zero points removed: int8 [steps][8][4] to i16 [2 * steps][8][2]. */
export function widenPanel(from: usize, steps: u32, zeroW: usize, to: usize): void {
  let z0 = i16x8.splat(0), z1 = z0, z2 = z0, z3 = z0;
  if (zeroW) {
    const z = i16x8.narrow_i32x4_s(v128.load(zeroW, 0), v128.load(zeroW, 16));
    z0 = i16x8.shuffle(z, z, 0, 0, 0, 0, 1, 1, 1, 1);
    z1 = i16x8.shuffle(z, z, 2, 2, 2, 2, 3, 3, 3, 3);
    z2 = i16x8.shuffle(z, z, 4, 4, 4, 4, 5, 5, 5, 5);
    z3 = i16x8.shuffle(z, z, 6, 6, 6, 6, 7, 7, 7, 7);
  }
  const end = from + <usize>steps * 32;
  do {
    const low = v128.load(from, 0), high = v128.load(from, 16);
    const w0 = i16x8.sub(i16x8.extend_low_i8x16_s(low), z0), w1 = i16x8.sub(i16x8.extend_high_i8x16_s(low), z1);
    const w2 = i16x8.sub(i16x8.extend_low_i8x16_s(high), z2), w3 = i16x8.sub(i16x8.extend_high_i8x16_s(high), z3);
    v128.store(to, i32x4.shuffle(w0, w1, 0, 2, 4, 6), 0);
    v128.store(to, i32x4.shuffle(w2, w3, 0, 2, 4, 6), 16);
    v128.store(to, i32x4.shuffle(w0, w1, 1, 3, 5, 7), 32);
    v128.store(to, i32x4.shuffle(w2, w3, 1, 3, 5, 7), 48);
    from += 32;
    to += 64;
  } while (from < end);
}
