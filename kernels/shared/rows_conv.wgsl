// Rows of A for conv2d, gathered from NHWC images. Row m is output pixel m = (image, oy, ox); column
// k = tap * CHANNELS + c is channel c of the group at tap = ky * KERNEL_WIDTH + kx:
//   y = oy * STRIDE_HEIGHT + ky * DILATION_HEIGHT - PAD_TOP,  x alike
//   A[m, k] = activation(((image * IN_HEIGHT + y) * IN_WIDTH + x) * GROUPS + group) * CHANNELS + c),
// or padding(image, c) outside the image.
// Constants: the window; CHANNELS = elements of a pixel in a group; DEPTH = taps * CHANNELS; GROUPS;
// ALIGNED: CHANNELS is a multiple of 4.
struct Row {
  image: u32,
  /// Offset of the group's first channel in a pixel.
  channel: u32,
  /// The window's top left corner; wraps below 0, so that one comparison finds what is outside.
  y: u32,
  x: u32,
}

fn row_at(m: u32, group: u32) -> Row {
  let pixel = m % (OUT_HEIGHT * OUT_WIDTH);
  return Row(
    m / (OUT_HEIGHT * OUT_WIDTH),
    group * CHANNELS,
    pixel / OUT_WIDTH * STRIDE_HEIGHT - PAD_TOP,
    pixel % OUT_WIDTH * STRIDE_WIDTH - PAD_LEFT,
  );
}

/// A[m, k], k < DEPTH.
fn row_element(row: Row, k: u32) -> Element {
  let tap = k / CHANNELS;
  let c = k % CHANNELS;
  let y = row.y + tap / KERNEL_WIDTH * DILATION_HEIGHT;
  let x = row.x + tap % KERNEL_WIDTH * DILATION_WIDTH;
  if (y >= IN_HEIGHT || x >= IN_WIDTH) {
    return padding(row.image, c);
  }
  return activation(((row.image * IN_HEIGHT + y) * IN_WIDTH + x) * GROUPS * CHANNELS + row.channel + c);
}

/// A[m, k .. k + 3], k a multiple of 4; 0 from DEPTH on.
fn row_quad(row: Row, k: u32) -> vec4<Element> {
  if (k >= DEPTH) {
    return vec4<Element>();
  }
  if (ALIGNED) {
    let tap = k / CHANNELS;
    let c = k % CHANNELS;
    let y = row.y + tap / KERNEL_WIDTH * DILATION_HEIGHT;
    let x = row.x + tap % KERNEL_WIDTH * DILATION_WIDTH;
    if (y >= IN_HEIGHT || x >= IN_WIDTH) {
      return vec4<Element>(
        padding(row.image, c),
        padding(row.image, c + 1u),
        padding(row.image, c + 2u),
        padding(row.image, c + 3u),
      );
    }
    return activation_quad(((row.image * IN_HEIGHT + y) * IN_WIDTH + x) * GROUPS * CHANNELS + row.channel + c);
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
  let row = row_at(m, 0u);
  let y = row.y + tap / KERNEL_WIDTH * DILATION_HEIGHT;
  let x = row.x + tap % KERNEL_WIDTH * DILATION_WIDTH;
  return y >= IN_HEIGHT || x >= IN_WIDTH;
}
