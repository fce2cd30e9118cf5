// Codes of 8 bits: 16 of them in four u32, in the order of the columns.
alias Codes = vec4<u32>;

fn table_entry(code: u32) -> u32 {
  return centroid(code);
}

fn word_of(codes: u32) -> u32 {
  return table[codes & 0xffu] | (table[(codes >> 8u) & 0xffu] << 8u) | (table[(codes >> 16u) & 0xffu] << 16u) |
    (table[codes >> 24u] << 24u);
}

fn decode(quad: Codes) -> vec4<u32> {
  return vec4<u32>(word_of(quad.x), word_of(quad.y), word_of(quad.z), word_of(quad.w));
}
