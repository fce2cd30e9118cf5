// Codes of f32. table: where codes begin. Constants: FLIP = 0x80 for signed codes. Needs: code_of.wgsl, words.wgsl.
fn prepare(lane: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    least[i] = bitcast<i32>(table_at(i));
  }
  workgroupBarrier();
}

fn byte_of(i: u32) -> u32 {
  return code_of(input[i]) ^ FLIP;
}
