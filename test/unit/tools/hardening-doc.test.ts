// docs/hardening.md against the tests: every file it names is there, and plays the advisories that it is named for.
import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';

const root = new URL('../../../', import.meta.url);
const document = readFileSync(new URL('docs/hardening.md', root), 'utf8');
const files = readdirSync(new URL('test', root), { recursive: true, encoding: 'utf8' })
  .map((path) => `test/${path.replaceAll('\\', '/')}`)
  .filter((path) => path.endsWith('.test.ts') && !path.includes('node_modules'));

/** Advisories of the hypervisor and of the xenstore that this project answers, each in the document. */
const ANSWERED =
  '38 57 72 107 115 175 178 206 218 224 226 228 230 232 236 255 284 295 300 302 306 316 318 322 323 324 325 326 330 331 ' +
  '332 340 343 344 349 350 352 353 358 359 379 380 382 384 391 394 396 411 414 415 416 417 418 419 420 421 441 481 483 484 ' +
  '486 496 500 501 505';

/** `XSA-218, 224`, `XSA-331/332` and `XSA-414, XSA-415` name two advisories each. */
function advisories(text: string): string[] {
  const found: string[] = [];
  for (const [, kind = '', list = ''] of text.matchAll(/(XSA|CVE-\d{4})-(\d+(?:(?:, ?|\/)(?:XSA-)?\d+)*)/g)) {
    for (const [number] of list.matchAll(/\d+/g)) found.push(`${kind}-${number}`);
  }
  return found;
}

interface Row {
  /** Whether each advisory has to be named by a test; those of the drivers come in families that one test answers. */
  readonly isStrict: boolean;
  readonly named: readonly string[];
  readonly tests: readonly string[];
}

const drivers = document.indexOf('## Block');
const rows = document.split('\n').flatMap((line): Row[] => {
  const cells = line.split('|').map((cell) => cell.trim());
  const [, first = '', , , last = ''] = cells;
  if (cells.length !== 6 || /^-+$/.test(first) || first === 'advisory') return [];
  const isStrict = document.indexOf(line) < drivers;
  return [{ isStrict, named: advisories(first), tests: [...last.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name) }];
});

/** Titles of tests, where they begin: `test(…`. */
function titles(path: string): string {
  const source = readFileSync(new URL(path, root), 'utf8');
  return [...source.matchAll(/\btest(?:\.serial)?\(\s*(['"`])(.*?)\1/gs)].map(([, , title = '']) => title).join('\n');
}

test('docs/hardening.md names files that exist, and they play the advisories that the row names', (t) => {
  t.true(rows.length > 40);
  for (const { isStrict, named, tests } of rows) {
    const found = tests.map((name) => files.filter((path) => path.endsWith(`/${name}.test.ts`)));
    for (const [i, paths] of found.entries()) t.true(paths.length > 0, `${named.join(' ')}: no test file ${tests[i]}`);
    const played = advisories(found.flat().map(titles).join('\n'));
    const missing = named.filter((one) => !played.includes(one));
    t.true(!isStrict || missing.length === 0, `${missing.join(', ')}: not in the titles of ${tests.join(', ')}`);
  }
});

test('docs/hardening.md answers every advisory of the hypervisor and the xenstore', (t) => {
  const told = advisories(document);
  for (const number of ANSWERED.split(' ')) t.true(told.includes(`XSA-${number}`), `XSA-${number}`);
});
