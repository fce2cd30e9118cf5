// Rows of A for linear and for pointwise convolutions: A[m, k] = activation((m * GROUPS + group) * DEPTH + k).
// Constants: GROUPS; DEPTH = elements of a row; ALIGNED: DEPTH is a multiple of 4.
struct Row {
  /// Address of A[m, 0].
  start: u32,
}

fn row_at(m: u32, group: u32) -> Row {
  return Row((m * GROUPS + group) * DEPTH);
}

/// A[m, k], k < DEPTH.
fn row_element(row: Row, k: u32) -> Element {
  return activation(row.start + k);
}

/// A[m, k .. k + 3], k a multiple of 4; 0 from DEPTH on.
fn row_quad(row: Row, k: u32) -> vec4<Element> {
  if (k >= DEPTH) {
    return vec4<Element>();
  }
  if (ALIGNED) {
    return activation_quad(row.start + k);
  }
  var quad = vec4<Element>(row_element(row, k), 0, 0, 0);
  if (k + 1u < DEPTH) {
    quad.y = row_element(row, k + 1u);
  }
  if (k + 2u < DEPTH) {
    quad.z = row_element(row, k + 2u);
  }
  if (k + 3u < DEPTH) {
    quad.w = row_element(row, k + 3u);
  }
  return quad;
}

/// Whether tap (ky * KERNEL_WIDTH + kx) of row m lies outside the image.
fn is_padding(m: u32, tap: u32) -> bool {
  return false;
}
