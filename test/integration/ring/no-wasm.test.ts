// Without WebAssembly, or where it may not be compiled, every copy falls back to plain loops and the same bytes come out.
import test from 'ava';
import { run } from '../../support/command.ts';

interface Outcome {
  readonly memories: readonly string[];
  readonly digest: string;
}

async function streamed(way: string): Promise<Outcome> {
  const { code, lines, stderr } = await run('test/integration/ring/no-wasm-program.ts', [way]);
  if (code !== 0) throw new Error(`${way} ended with ${code}: ${stderr}`);
  return JSON.parse(lines.at(-1) ?? '') as Outcome; // the program prints nothing else
}

const MEMORIES = {
  absent: ['plain'],
  refused: ['plain', 'wasm'],
} as const;

for (const way of ['absent', 'refused'] as const) {
  test(`the same bytes come through all copies when WebAssembly is ${way}`, async (t) => {
    const [native, without] = await Promise.all([streamed('native'), streamed(way)]);
    t.deepEqual(native.memories, ['plain', 'wasm with helper']);
    t.deepEqual(without.memories, MEMORIES[way]);
    t.is(without.digest, native.digest);
  });
}
