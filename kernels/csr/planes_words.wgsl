// Planes of words of four signed bytes. Products are summed in i32.
@group(0) @binding(0) var<storage, read> planes: array<u32>;

alias Element = u32;
alias Sum = i32;
