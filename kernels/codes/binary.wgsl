// Codes of a + b or a b, where a and b are what two codes stand for. table: where codes begin, then what each byte of A
// stands for, then of B: the host multiplies by the scales, so that no compiler fuses a product with the sum.
//
// i counts C's dimensions DIMS, the last fastest; operands lie at the sums of each index times A_STRIDES and B_STRIDES.
// Constants: RANK, A_STRIDES, B_STRIDES: array<u32, RANK>; DIMS alike, where the first is not read; MULTIPLIES: bool;
// LEAST, MOST = the clamp, counted from 0; FLIP = 0x80 for signed codes. Needs: code_of.wgsl, words.wgsl.
@group(0) @binding(1) var<storage, read> input2: array<u32>;

var<workgroup> meanings: array<f32, 512>;

fn prepare(lane: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    least[i] = bitcast<i32>(table_at(i));
  }
  for (var i = lane; i < 512u; i += 64u) {
    meanings[i] = bitcast<f32>(table_at(256u + i));
  }
  workgroupBarrier();
}

fn byte_of(i: u32) -> u32 {
  var a_at = 0u;
  var b_at = 0u;
  var rest = i;
  for (var d = RANK - 1u; d > 0u; d--) {
    let at = rest % DIMS[d];
    rest /= DIMS[d];
    a_at += at * A_STRIDES[d];
    b_at += at * B_STRIDES[d];
  }
  a_at += rest * A_STRIDES[0];
  b_at += rest * B_STRIDES[0];
  let a = meanings[input_byte(a_at)];
  let b = meanings[256u + extractBits(input2[b_at / 4u], b_at % 4u * 8u, 8u)];
  var result = a + b;
  if (MULTIPLIES) {
    result = a * b;
  }
  return clamp(code_of(bitcast<u32>(result)), LEAST, MOST) ^ FLIP;
}
