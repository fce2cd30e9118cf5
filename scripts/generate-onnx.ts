// Generates src/onnx/generated/onnx_pb.ts from src/onnx/onnx.proto: npx tsx scripts/generate-onnx.ts
// Needs `protoc` on the PATH (Debian: protobuf-compiler); the plugin is @bufbuild/protoc-gen-es.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

execFileSync(
  'protoc',
  [
    '--plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es',
    '--es_out=src/onnx/generated',
    '--es_opt=target=ts,import_extension=js',
    '--proto_path=src/onnx',
    'onnx.proto',
  ],
  { cwd: root, stdio: 'inherit' },
);
