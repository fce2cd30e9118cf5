// The code of a float under a given quantisation, counted from 0: saturate(round half to even(x / scale) + zero point),
// the quotient rounded to f32. GPUs divide floats inexactly, so the host says where each code begins: least[c] is the
// least float, as an ordered integer (see int8/range.wgsl), whose code is c or more. A guess by multiplication is put right
// by comparisons.
// Constants: INVERSE = about 1 / scale; ZERO_CODE = the zero point, counted from 0, which is also the code of NaN.
var<workgroup> least: array<i32, 256>;

fn code_of(bits: u32) -> u32 {
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return ZERO_CODE;
  }
  let value = bitcast<i32>(bits);
  let x = select(value, value ^ 0x7fffffff, value < 0);
  let steps = clamp(bitcast<f32>(bits) * INVERSE, -512.0, 512.0);
  var code = u32(clamp(i32(round(steps)) + i32(ZERO_CODE), 0, 255));
  while (code > 0u && x < least[code]) {
    code--;
  }
  while (code < 255u && x >= least[code + 1u]) {
    code++;
  }
  return code;
}
