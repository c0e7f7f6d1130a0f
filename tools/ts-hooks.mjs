// The `load` hook of ts.mjs: TypeScript in, JavaScript out, one compiled file per source text.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cacheDir = `${root}node_modules/.cache/ts-node`;
const text = (path) => {
  try {
    return readFileSync(`${root}${path}`, 'utf8');
  } catch {
    return '';
  }
};
const salt = createHash('sha256')
  .update(['pnpm-lock.yaml', 'tsconfig.base.json', 'tsconfig.check.json', 'tools/ts-hooks.mjs'].map(text).join('\0'))
  .digest('hex');

let service;
function compile(source, path) {
  if (service === undefined) {
    const { create } = createRequire(import.meta.url)('ts-node');
    service = create({
      cwd: root,
      project: `${root}tsconfig.check.json`,
      transpileOnly: true,
      experimentalResolver: false,
      // A load-only hook: specifiers keep their `.ts`, Node resolves them as written.
      compilerOptions: { rewriteRelativeImportExtensions: false, allowImportingTsExtensions: true, noEmit: false },
    });
  }
  try {
    return service.compile(source, path);
  } catch (error) {
    // A TSError does not survive the way out of the hook thread.
    throw new SyntaxError(error.diagnosticText ?? String(error));
  }
}

/** Compile `.ts` modules, from the cache where the same text was compiled before. */
export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !new URL(url).pathname.endsWith('.ts')) return nextLoad(url, context);
  const path = fileURLToPath(url);
  const source = readFileSync(path, 'utf8');
  const name = `${cacheDir}/${createHash('sha256').update(salt).update(path).update('\0').update(source).digest('hex')}.mjs`;
  let output;
  try {
    output = readFileSync(name, 'utf8');
  } catch {
    output = compile(source, path);
    mkdirSync(cacheDir, { recursive: true });
    const temporary = `${name}.${process.pid}.${Math.random().toString(36).slice(2)}`;
    writeFileSync(temporary, output);
    renameSync(temporary, name);
  }
  return { format: 'module', source: output, shortCircuit: true };
}
