"""What CUDA's libraries reach on this GPU, for bench/gpu.ts: prints JSON rows {peer, what, shape, ms}.

usage: gpu_torch.py DENSITY MxKxN ...
Medians of CUDA events around many runs, after a warm-up; f32 products in f32 (TF32 off).
"""

import json
import sys

import torch

if not torch.cuda.is_available():
    sys.exit("torch has no CUDA device")
torch.backends.cuda.matmul.allow_tf32 = False


def milliseconds(run, repeats=20, rounds=7):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeats):
            run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / repeats)
    return sorted(times)[len(times) // 2]


density = float(sys.argv[1])
rows = []
generator = torch.Generator(device="cuda").manual_seed(1)


def uniform(*shape):
    return torch.rand(*shape, generator=generator, device="cuda") * 2 - 1


for shape in sys.argv[2:]:
    m, k, n = map(int, shape.split("x"))

    def add(peer, what, run):
        try:
            rows.append({"peer": peer, "what": what, "shape": shape, "ms": milliseconds(run)})
        except RuntimeError as error:
            print(f"{peer} {shape}: {error}", file=sys.stderr)

    a, w = uniform(m, k), uniform(n, k)
    add("cuBLAS", "f32", lambda: torch.mm(a, w.t()))
    half_a, half_w = a.half(), w.half()
    add("cuBLAS", "f16", lambda: torch.mm(half_a, half_w.t()))
    kept = (torch.rand(n, k, generator=generator, device="cuda") < density) * w
    sparse, columns = kept.to_sparse_csr(), a.t().contiguous()
    add("cuSPARSE", f"CSR {density}", lambda: torch.mm(sparse, columns))
    if m > 16 and k % 8 == 0 and n % 8 == 0:
        codes_a = torch.randint(-127, 127, (m, k), dtype=torch.int8, device="cuda")
        codes_w = torch.randint(-127, 127, (n, k), dtype=torch.int8, device="cuda")
        add("cuBLAS", "int8 _int_mm", lambda: torch._int_mm(codes_a, codes_w.t()))
source = torch.empty(2**28, dtype=torch.uint8, device="cuda")
target = torch.empty_like(source)
copy = milliseconds(lambda: target.copy_(source))
rows.append({"peer": "copy", "what": f"{2 * 2**28 / copy / 1e6:.0f} GB/s read and written", "shape": "", "ms": copy})
print(json.dumps(rows))
