// docs/errors.md lists every code that the sources can give an error, and none that they cannot.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';
import { PACKAGES } from '../../../tools/tidy/house.ts';
import { readSources } from '../../../tools/tidy/source.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const ERROR_CLASS = /^(Splitring|Ring|Protocol|Invariant|Hypercall|Medium|Block)Error$/;
/** A code of our own: words in capitals joined by underscores. Errno and GNTST names need no entry of their own. */
const OWN_CODE = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/;

/** Codes that stand as literals where an error is made. */
function codesMade(): Map<string, string> {
  const codes = new Map<string, string>();
  for (const { path, tree } of readSources(root, Object.keys(PACKAGES))) {
    const visit = (node: ts.Node): void => {
      if (ts.isNewExpression(node) && ERROR_CLASS.test(node.expression.getText(tree))) {
        const [code] = node.arguments ?? [];
        if (code !== undefined && ts.isStringLiteral(code) && OWN_CODE.test(code.text)) codes.set(code.text, path);
      }
      ts.forEachChild(node, visit);
    };
    visit(tree);
  }
  return codes;
}

const documented = new Set(
  [...readFileSync(`${root}docs/errors.md`, 'utf8').matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`/g)].map(
    ([, code]) => code,
  ),
);

test('docs/errors.md lists every code that the sources make', (t) => {
  const missing = [...codesMade()].filter(([code]) => !documented.has(code)).map(([code, path]) => `${code} (${path})`);
  t.deepEqual(missing, []);
});

test('docs/errors.md lists no code that the sources do not have', (t) => {
  const text = readSources(root, Object.keys(PACKAGES))
    .map((source) => source.text)
    .join('\n');
  t.deepEqual(
    [...documented].filter((code) => !text.includes(`${code}`)),
    [],
  );
});
