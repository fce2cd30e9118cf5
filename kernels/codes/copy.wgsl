// Bytes that fill the output in order: output[i] = input[FROM + each index of i times FROM_STRIDES], with DIMS and strides
// as in copy/copy.wgsl. Constants: RANK, DIMS, FROM, FROM_STRIDES. Needs: words.wgsl.
fn prepare(lane: u32) {}

fn byte_of(i: u32) -> u32 {
  var at = FROM;
  var rest = i;
  for (var d = RANK - 1u; d > 0u; d--) {
    at += rest % DIMS[d] * FROM_STRIDES[d];
    rest /= DIMS[d];
  }
  return input_byte(at + rest * FROM_STRIDES[0]);
}
