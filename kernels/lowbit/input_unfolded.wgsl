// Activations packed into u32 words by unfold.wgsl. Products are summed in i32.
@group(0) @binding(0) var<storage, read> unfolded: array<u32>;

alias Element = u32;
alias Sum = i32;

fn activation(i: u32) -> u32 {
  return unfolded[i];
}

fn activation_quad(i: u32) -> vec4<u32> {
  return vec4<u32>(unfolded[i], unfolded[i + 1u], unfolded[i + 2u], unfolded[i + 3u]);
}
