// Native baselines: compiled from bench/native when a compiler is present, remembered by the text of their sources.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const sources = fileURLToPath(new URL('../../native/', import.meta.url));
const cache = fileURLToPath(new URL('../../../node_modules/.cache/splitring-bench/', import.meta.url));
const FLAGS = ['-O3', '-march=native', '-std=c++17', '-pthread', '-Wall', '-Wextra'];

/** A program ready to run, or why there is none. */
export type NativeProgram = { readonly path: string } | { readonly reason: string };

const known = new Map<string, NativeProgram>();

/** Compile `bench/native/<name>/*.cc` (with `$CXX`, else g++, clang++ or c++) unless the same text was compiled before. */
export function nativeProgram(name: string): NativeProgram {
  const before = known.get(name);
  if (before !== undefined) return before;
  const program = build(name);
  known.set(name, program);
  return program;
}

function build(name: string): NativeProgram {
  const folder = `${sources}${name}/`;
  const files = readdirSync(folder).sort();
  const hash = createHash('sha256')
    .update(FLAGS.join(' '))
    .update(process.arch)
    .update(readFileSync(`${sources}trial.h`));
  for (const file of files) hash.update(file).update(readFileSync(`${folder}${file}`));
  const path = `${cache}${name}-${hash.digest('hex').slice(0, 16)}`;
  if (existsSync(path)) return { path };
  if (process.platform !== 'linux') return { reason: 'native baselines are written for Linux' };
  mkdirSync(cache, { recursive: true });
  const units = files.filter((file) => file.endsWith('.cc')).map((file) => folder + file);
  const temporary = `${path}.${process.pid}`;
  const { CXX } = process.env;
  const compilers = CXX === undefined ? ['g++', 'clang++', 'c++'] : [CXX];
  for (const compiler of compilers) {
    const result = spawnSync(compiler, [...FLAGS, '-o', temporary, ...units], { encoding: 'utf8' });
    if (result.error !== undefined) continue; // not installed
    if (result.status !== 0) return { reason: `${compiler} failed: ${result.stderr.split('\n', 1)[0]}` };
    renameSync(temporary, path);
    return { path };
  }
  return { reason: 'no C++ compiler' };
}
