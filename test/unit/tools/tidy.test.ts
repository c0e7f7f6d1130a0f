// The structure check finds each kind of untidiness that it promises to find, and nothing in a tidy file.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import * as rules from '../../../tools/tidy/rules.ts';
import { readSources, type Source } from '../../../tools/tidy/source.ts';

const HEAD = '// What this file is for.\n';
const ROOMS = ['packages/ring', 'packages/hypervisor', 'packages/frontend', 'packages/backend'];

function sourcesOf(files: Readonly<Record<string, string>>): readonly Source[] {
  const root = mkdtempSync(join(tmpdir(), 'tidy-'));
  try {
    for (const room of ROOMS) mkdirSync(join(root, room, 'src'), { recursive: true });
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return readSources(root, ROOMS);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const all = (sources: readonly Source[]) => [
  ...rules.arrows(sources),
  ...rules.cycles(sources),
  ...rules.doors(sources, () => ['.', './io']),
  ...rules.outsideWorld(sources),
  ...rules.sizes(sources),
  ...rules.documented(sources),
  ...rules.unfinished(sources),
];

const mark = ['TO', 'DO'].join('');
const cases: readonly { name: string; files: Readonly<Record<string, string>>; finding: RegExp | undefined }[] = [
  {
    name: 'accepts a tidy file',
    files: { 'packages/ring/src/a.ts': `${HEAD}/** One. */\nexport const one = 1;\n` },
    finding: undefined,
  },
  {
    name: 'refuses an arrow that points up',
    files: { 'packages/ring/src/a.ts': `${HEAD}import '@splitring/hypervisor';\n` },
    finding: /may not import @splitring\/hypervisor/,
  },
  {
    name: 'refuses a front end that imports a back end',
    files: {
      'packages/frontend/src/a.ts': `${HEAD}import type { B } from '@splitring/backend';\nexport type { B };\n`,
    },
    finding: /may not import @splitring\/backend/,
  },
  {
    name: 'refuses a relative import out of the package',
    files: { 'packages/hypervisor/src/a.ts': `${HEAD}import '../../ring/src/b.ts';\n` },
    finding: /go through the door/,
  },
  {
    name: 'refuses an import cycle',
    files: {
      'packages/ring/src/a.ts': `${HEAD}import './b.ts';\n`,
      'packages/ring/src/b.ts': `${HEAD}import './a.ts';\n`,
    },
    finding: /import cycle: packages\/ring\/src\/a.ts → packages\/ring\/src\/b.ts/,
  },
  {
    name: 'refuses a deep import',
    files: { 'packages/hypervisor/src/a.ts': `${HEAD}import 'sharedarraybuffer-ring/src/b.ts';\n` },
    finding: /is no door/,
  },
  {
    name: 'refuses a clock',
    files: { 'packages/backend/src/a.ts': `${HEAD}const t = Date.now();\nvoid t;\n` },
    finding: /uses Date/,
  },
  {
    name: 'refuses a timer',
    files: { 'packages/backend/src/a.ts': `${HEAD}setTimeout(() => {}, 1);\n` },
    finding: /uses setTimeout/,
  },
  {
    name: 'refuses chance',
    files: { 'packages/backend/src/a.ts': `${HEAD}const r = Math.random();\nvoid r;\n` },
    finding: /uses Math.random/,
  },
  {
    name: 'refuses a thread',
    files: { 'packages/backend/src/a.ts': `${HEAD}new Worker('x');\n` },
    finding: /uses Worker/,
  },
  {
    name: 'refuses Node',
    files: { 'packages/hypervisor/src/a.ts': `${HEAD}import 'node:fs';\n` },
    finding: /imports node:fs/,
  },
  {
    name: 'lets an adapter use the outside world',
    files: { 'packages/ring/src/time-adapter.ts': `${HEAD}setTimeout(() => {}, performance.now());\n` },
    finding: undefined,
  },
  {
    name: 'refuses a file of more than 400 lines',
    files: { 'packages/ring/src/a.ts': HEAD + '\n'.repeat(400) },
    finding: /limit 400/,
  },
  {
    name: 'accepts a long file with a reason',
    files: { 'packages/ring/src/a.ts': `// long file: one table.\n${'\n'.repeat(400)}` },
    finding: undefined,
  },
  {
    name: 'refuses a function of more than 70 lines',
    files: { 'packages/ring/src/a.ts': `${HEAD}function f() {${'\n'.repeat(71)}}\nf();\n` },
    finding: /limit 70/,
  },
  {
    name: 'refuses an export without a docstring',
    files: { 'packages/ring/src/a.ts': `${HEAD}export const one = 1;\n` },
    finding: /no docstring: export const one/,
  },
  {
    name: 'refuses a file that does not say what it is for',
    files: { 'packages/ring/src/a.ts': '/** One. */\nexport const one = 1;\n'.slice(12) },
    finding: /no comment on top/,
  },
  {
    name: 'refuses a mark of unfinished work',
    files: { 'packages/ring/src/a.ts': `${HEAD}// ${mark}: later\n` },
    finding: /unfinished mark/,
  },
];

for (const { name, files, finding } of cases) {
  test(`tidy ${name}`, (t) => {
    const findings = all(sourcesOf(files));
    if (finding === undefined) t.deepEqual(findings, []);
    else
      t.true(
        findings.some(({ message }) => finding.test(message)),
        JSON.stringify(findings),
      );
  });
}
