// Pooling of codes over NHWC images, with windows as in pool/pool.wgsl.
// maximum: the largest code; the least there is where no tap is inside the image.
// average: f32(sum of code - zero point) times table[number of taps counted], half to even, plus the output's zero point.
// Codes are counted from 0 inside.
// Constants: the window; CHANNELS; MAXIMUM, COUNT_PADDING: bool; PAD_BOTTOM, PAD_RIGHT; IN_FLIP, FLIP = 0x80 for signed
// codes; IN_ZERO, ZERO_CODE = the zero points, counted from 0. Needs: words.wgsl.
fn prepare(lane: u32) {}

fn byte_of(i: u32) -> u32 {
  let c = i % CHANNELS;
  let ox = i / CHANNELS % OUT_WIDTH;
  let oy = i / (CHANNELS * OUT_WIDTH) % OUT_HEIGHT;
  let image = i / (CHANNELS * OUT_WIDTH * OUT_HEIGHT);
  var best = 0u;
  var sum = 0;
  var count = 0u;
  for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
    // In the padded image; less the padding it wraps below 0, so that one comparison finds what is outside.
    let py = oy * STRIDE_HEIGHT + ky * DILATION_HEIGHT;
    let y = py - PAD_TOP;
    for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
      let px = ox * STRIDE_WIDTH + kx * DILATION_WIDTH;
      let x = px - PAD_LEFT;
      if (y < IN_HEIGHT && x < IN_WIDTH) {
        let code = input_byte(((image * IN_HEIGHT + y) * IN_WIDTH + x) * CHANNELS + c) ^ IN_FLIP;
        best = max(best, code);
        sum += i32(code) - i32(IN_ZERO);
        count++;
      } else if (COUNT_PADDING && py < PAD_TOP + IN_HEIGHT + PAD_BOTTOM && px < PAD_LEFT + IN_WIDTH + PAD_RIGHT) {
        count++;
      }
    }
  }
  if (MAXIMUM) {
    return best ^ FLIP;
  }
  let steps = f32(sum) * bitcast<f32>(table_at(count));
  return u32(clamp(i32(round(clamp(steps, -512.0, 512.0))) + i32(ZERO_CODE), 0, 255)) ^ FLIP;
}
