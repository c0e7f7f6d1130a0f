// The WebAssembly helpers are kept as bytes: they must be what their readable source assembles to, byte for byte.
import { readFileSync } from 'node:fs';
import test from 'ava';
import wabt from 'wabt';

const FEATURES = { threads: true, simd: true, bulk_memory: true, multi_memory: true };
const read = (path: string): string => readFileSync(new URL(`../../../packages/${path}`, import.meta.url), 'utf8');

/** The hexadecimal text of constant `name` in a TypeScript file. */
function bytesOf(typescript: string, name: string): string {
  const [, literal] = new RegExp(`const ${name} =\\n([^;]*);`).exec(typescript) ?? [];
  return (literal ?? '').replace(/[^0-9a-f]/g, '');
}

async function assemble(text: string): Promise<string> {
  const module = (await wabt()).parseWat('helper.wat', text, FEATURES);
  try {
    return Buffer.from(module.toBinary({ canonicalize_lebs: true, write_debug_names: false }).buffer).toString('hex');
  } finally {
    module.destroy();
  }
}

test('the copy helper of the ring is what copy-wasm.wat assembles to', async (t) => {
  const bytes = bytesOf(read('ring/src/copy-wasm.ts'), 'CODE');
  t.is(bytes.length, 2 * 349);
  t.is(bytes, await assemble(read('ring/src/copy-wasm.wat')));
});

test('the copy between two memories is what the comment above its bytes assembles to', async (t) => {
  const typescript = read('hypervisor/src/memory/native-copy.ts');
  const [, comment] = /\n \* \(module\n((?: \* .*\n)+) \*\/\nconst CROSS_CODE/.exec(typescript) ?? [];
  const text = `(module\n${(comment ?? '').replaceAll(/^ \* /gm, '')}`;
  t.is(bytesOf(typescript, 'CROSS_CODE'), await assemble(text));
});
