// Addresses in planes for linear: planes[k, m].
fn base_of(m: u32) -> u32 {
  return m;
}

fn offset_of(k: u32, group: u32) -> u32 {
  return k * params.M;
}
