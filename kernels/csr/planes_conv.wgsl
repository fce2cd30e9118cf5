// Addresses in padded planes [image, c, y, x] for conv2d: row m is output pixel (image, oy, ox), column k is channel
// k % CHANNELS of the group at tap k / CHANNELS = ky * KERNEL_WIDTH + kx. Their sum is the address of A[m, k].
// Constants: the window; CHANNELS = channels of a pixel in a group; GROUPS; PADDED_HEIGHT, PADDED_WIDTH.
fn base_of(m: u32) -> u32 {
  let pixel = m % (OUT_HEIGHT * OUT_WIDTH);
  let image = m / (OUT_HEIGHT * OUT_WIDTH);
  return (image * GROUPS * CHANNELS * PADDED_HEIGHT + pixel / OUT_WIDTH * STRIDE_HEIGHT) * PADDED_WIDTH +
    pixel % OUT_WIDTH * STRIDE_WIDTH;
}

fn offset_of(k: u32, group: u32) -> u32 {
  let tap = k / CHANNELS;
  let c = group * CHANNELS + k % CHANNELS;
  return (c * PADDED_HEIGHT + tap / KERNEL_WIDTH * DILATION_HEIGHT) * PADDED_WIDTH +
    tap % KERNEL_WIDTH * DILATION_WIDTH;
}
